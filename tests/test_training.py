"""Fine-tuning on a toy model: it learns, it stops, it goes on, and it says the truth about itself."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from tests.conftest import ROOT
from tuneline import curves
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.errors import Diverged
from tuneline.examples import Split
from tuneline.inference import Predictor
from tuneline.losses import balanced
from tuneline.modelling import initial_model
from tuneline.params import Model, Train
from tuneline.resuming import disk_needed, last_whole
from tuneline.tasks import task_class
from tuneline.training import Trained, fine_tune

LABELS = ["bad", "good"]
TASK = task_class("text-classification").model_validate({"name": "text-classification"})


def split(checkpoint: Path, count: int, start: int = 0) -> Split:
    """Rows of very different lengths; the word that decides is the first one."""
    rows = []
    for i in range(start, start + count):
        label = LABELS[i % 2]
        rows.append({"text": f"{label}{' the kettle is very' * (i % 7)}", "label": label})
    return TASK.encode(load_tokenizer(checkpoint), rows, LABELS), rows


def train(checkpoint: Path, folder: Path, callbacks: list[TrainerCallback] | None = None, **params: Any) -> Trained:
    found = find_checkpoint(Model(checkpoint=str(checkpoint)))
    defaults = {
        "learning_rate": 0.005,
        "num_train_epochs": 8,
        "per_device_train_batch_size": 8,
        "threads": 1,
        "bf16": False,
    }
    values = {**defaults, "early_stopping_patience": 8, **params}
    model = initial_model(found, TASK.head(LABELS), Model(dropout=0.1), seed=0)
    return fine_tune(
        model, TASK, LABELS, load_tokenizer(checkpoint), Train.model_validate(values),
        split(checkpoint, 64), split(checkpoint, 30, start=100),
        checkpoints=folder, callbacks=callbacks or [],
    )  # fmt: skip


def weights(trained: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


def test_validation_scores_belong_to_their_rows(toy_checkpoint: Path, tmp_path: Path) -> None:
    trained = train(toy_checkpoint, tmp_path / "c")
    features, rows = split(toy_checkpoint, 30, start=100)
    predictor = Predictor(TASK, LABELS, trained.model, None)
    again = TASK.score(predictor.predict_features(features, rows), rows, LABELS).metrics
    assert trained.best["accuracy"] == again["accuracy"] == 1.0
    assert trained.best["loss"] == pytest.approx(again["loss"], rel=1e-4)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(toy_checkpoint: Path, tmp_path: Path) -> None:
    first, second = train(toy_checkpoint, tmp_path / "a"), train(toy_checkpoint, tmp_path / "b")
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(train(toy_checkpoint, tmp_path / "c", seed=1)))


def test_the_threads_of_the_process_are_afterwards_what_they_were(toy_checkpoint: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    train(toy_checkpoint, tmp_path, num_train_epochs=1, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("lora", [None, {"r": 32, "merge": False}])
def test_the_disk_that_checkpoints_need_is_bounded_and_told_beforehand(
    toy_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lora: dict[str, Any] | None
) -> None:
    trained = train(toy_checkpoint, tmp_path, lora=lora, num_train_epochs=4)
    kept = list(tmp_path.glob("checkpoint-*"))
    large = [file for name in ("*.safetensors", "optimizer.pt") for each in kept for file in each.glob(name)]
    assert (len(kept), len(large)) == (2, 4)
    needed = disk_needed(trained.model)
    assert sum(file.stat().st_size for file in large) == pytest.approx(needed * 2 / 3, rel=0.2)
    assert f"checkpoints take up to {needed / 1e9:.1f} GB in {tmp_path}" in capsys.readouterr().out


class Stop(TrainerCallback):
    """End the process's training at a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(toy_checkpoint: Path, tmp_path: Path) -> None:
    whole = train(toy_checkpoint, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path / "cut", [Stop(21)])
    resumed = train(toy_checkpoint, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(resumed))
    assert curves.from_history(whole.history) == curves.from_history(resumed.history)


def cut_short(checkpoint: Path) -> None:
    (checkpoint / "sealed.json").unlink()
    (checkpoint / "rng_state.pth").unlink()


def without_optimizer(checkpoint: Path) -> None:
    (checkpoint / "optimizer.pt").unlink()


def with_a_flipped_bit(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(bytes(flipped))


@pytest.mark.parametrize("harm", [cut_short, without_optimizer, with_a_flipped_bit])
def test_a_checkpoint_that_is_not_whole_is_told_and_the_one_before_it_taken(
    toy_checkpoint: Path, tmp_path: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(toy_checkpoint, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path / "cut", [Stop(21)])
    harm(tmp_path / "cut/checkpoint-16")
    assert last_whole(tmp_path / "cut") == tmp_path / "cut/checkpoint-8"
    assert "checkpoint-16" in capsys.readouterr().err
    assert not (tmp_path / "cut/checkpoint-16").exists()
    resumed = train(toy_checkpoint, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(resumed))
    assert curves.from_history(whole.history) == curves.from_history(resumed.history)


def test_without_any_whole_checkpoint_training_begins_again(toy_checkpoint: Path, tmp_path: Path) -> None:
    whole = train(toy_checkpoint, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path / "cut", [Stop(21)])
    for checkpoint in (tmp_path / "cut").iterdir():
        without_optimizer(checkpoint)
    assert torch.equal(weights(whole), weights(train(toy_checkpoint, tmp_path / "cut")))


def test_a_checkpoint_whose_best_weights_are_broken_is_none_to_go_on_from(toy_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path, [Stop(60)], num_train_epochs=20, learning_rate=1e-9)  # the first is the best
    before = sorted(each.name for each in tmp_path.iterdir())
    assert before == ["checkpoint-56", "checkpoint-8"]
    with_a_flipped_bit(tmp_path / "checkpoint-8")
    assert last_whole(tmp_path) is None


TOLD_TO_END = """
import os, signal, sys
from pathlib import Path
from transformers import TrainerCallback
from tests.test_training import train

class Told(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 21:
            os.kill(os.getpid(), signal.SIGTERM)

train(Path(sys.argv[1]), Path(sys.argv[2]), [Told()], **eval(sys.argv[3]))
"""


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"gradient_accumulation_steps": 2},
        {"padding_free": False},
        {"bf16": True},
        {"train_sampling_strategy": "random"},
    ],
)
def test_a_training_that_is_told_to_end_saves_and_goes_on_from_the_middle_of_an_epoch(
    toy_checkpoint: Path, tmp_path: Path, params: dict[str, Any]
) -> None:
    values = {"num_train_epochs": 10, **params}  # 8 steps each, or 4
    whole = train(toy_checkpoint, tmp_path / "whole", **values)
    command = [sys.executable, "-c", TOLD_TO_END, str(toy_checkpoint), str(tmp_path / "cut"), repr(values)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "saved step 21" in done.stdout + done.stderr
    assert last_whole(tmp_path / "cut") == tmp_path / "cut/checkpoint-21"
    resumed = train(toy_checkpoint, tmp_path / "cut", **values)
    assert torch.equal(weights(whole), weights(resumed))
    assert curves.from_history(whole.history) == curves.from_history(resumed.history)


@pytest.mark.parametrize("params", [{}, {"early_stopping_patience": 1}, {"max_steps": 21}])
def test_a_run_that_had_ended_gives_the_same_result_again(
    toy_checkpoint: Path, tmp_path: Path, params: dict[str, Any]
) -> None:
    first, again = (train(toy_checkpoint, tmp_path, **params) for _ in range(2))
    assert torch.equal(weights(first), weights(again))
    assert (first.steps, json.dumps([first.history, first.best])) == (
        again.steps, json.dumps([again.history, again.best]),
    )  # fmt: skip


def test_training_stops_when_validation_no_longer_improves(toy_checkpoint: Path, tmp_path: Path) -> None:
    trained = train(toy_checkpoint, tmp_path, num_train_epochs=20, early_stopping_patience=1)
    assert trained.steps < 20 * 8


class RunsAway(TrainerCallback):
    """A step whose gradients are no numbers, and then no weight is one."""

    def __init__(self, step: int) -> None:
        self.before = step - 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.before:
            for weight in model.parameters():
                weight.grad.fill_(torch.nan)


@pytest.mark.parametrize(
    ("step", "found", "kept"),
    [
        (12, "the training loss is nan after step 16 of 64", 8),
        (16, "a weight is no number after step 16 of 64", 8),  # the last step of an epoch: no loss shows it
        (64, "a weight is no number after step 64 of 64", 56),
    ],
)
def test_weights_that_are_no_numbers_end_the_training_and_are_never_saved(
    toy_checkpoint: Path, tmp_path: Path, step: int, found: str, kept: int
) -> None:
    advice = r"Lower train\.learning_rate \(0\.005\) or raise train\.warmup_steps\. Nothing"
    with pytest.raises(Diverged, match=rf"{found} \(seed 0\).*{advice}"):
        train(toy_checkpoint, tmp_path, [RunsAway(step)])
    assert last_whole(tmp_path) == tmp_path / f"checkpoint-{kept}"


def test_a_step_without_any_label_teaches_nothing_and_harms_nothing(toy_checkpoint: Path, tmp_path: Path) -> None:
    task = task_class("token-classification").model_validate({"name": "token-classification"})
    found, tokenizer = find_checkpoint(Model(checkpoint=str(toy_checkpoint))), load_tokenizer(toy_checkpoint)
    model = initial_model(found, task.head(["O", "B-X"]), Model(), seed=0)
    features = [{"input_ids": [2, 7, 3], "labels": [-100, label, -100]} for label in (-100, 1)]
    params = Train(per_device_train_batch_size=1, num_train_epochs=2, logging_steps=1, threads=1)
    trained = fine_tune(
        model, task, ["O", "B-X"], tokenizer, params, (features, [{}, {}]), ([], []),
        checkpoints=tmp_path, callbacks=[],
    )  # fmt: skip
    assert sorted(point["loss"] > 0 for point in trained.history) == [False, False, True, True]
    assert weights(trained).isfinite().all()


def test_without_validation_rows_all_epochs_run(toy_checkpoint: Path, tmp_path: Path) -> None:
    found = find_checkpoint(Model(checkpoint=str(toy_checkpoint)))
    model = initial_model(found, TASK.head(LABELS), Model(), seed=0)
    params = Train(learning_rate=0.01, num_train_epochs=2, per_device_train_batch_size=8, threads=1)
    trained = fine_tune(
        model,
        TASK,
        LABELS,
        load_tokenizer(toy_checkpoint),
        params,
        split(toy_checkpoint, 16),
        ([], []),
        checkpoints=tmp_path / "c",
        callbacks=[],
    )
    assert (trained.steps, trained.best) == (4, {})


def test_balanced_weights_are_inverse_to_frequency() -> None:
    features = [{"labels": 0}] * 6 + [{"labels": 1}] * 2
    assert balanced(features, 2).tolist() == pytest.approx([8 / 12, 8 / 4])


def test_class_weights_and_smoothing_change_the_loss(toy_checkpoint: Path, tmp_path: Path) -> None:
    plain = train(toy_checkpoint, tmp_path / "a", num_train_epochs=1)
    smooth = train(toy_checkpoint, tmp_path / "b", num_train_epochs=1, label_smoothing_factor=0.3)
    assert not torch.equal(weights(plain), weights(smooth))
    assert np.isfinite(weights(smooth).numpy()).all()


def test_dropout_from_params_reaches_the_model(toy_checkpoint: Path) -> None:
    found = find_checkpoint(Model(checkpoint=str(toy_checkpoint)))
    config = initial_model(found, TASK.head(LABELS), Model(dropout=0.33, attention_dropout=0.22), seed=0).config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.33, 0.22)


AUGMENTED: dict[str, Any] = {"augmentation": {"word_dropout": 0.1, "word_swap": 0.2, "masking": 0.1, "typos": 0.1}}


def test_an_augmented_run_that_was_cut_short_goes_on_to_the_same_weights(toy_checkpoint: Path, tmp_path: Path) -> None:
    whole = train(toy_checkpoint, tmp_path / "whole", **AUGMENTED)
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path / "cut", [Stop(21)], **AUGMENTED)
    resumed = train(toy_checkpoint, tmp_path / "cut", **AUGMENTED)
    assert torch.equal(weights(whole), weights(resumed))
    assert curves.from_history(whole.history) == curves.from_history(resumed.history)


def test_training_rows_are_augmented_and_validation_rows_never(
    toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited, encoded = [], []
    augmented, encode = type(TASK).augmented, type(TASK).encode
    train_rows, validation_rows = split(toy_checkpoint, 64)[1], split(toy_checkpoint, 30, start=100)[1]

    def watched(task: Any, row: Any, edit: Any) -> Any:
        edited.append(row)
        return augmented(task, row, edit)

    def counted(task: Any, tokenizer: Any, rows: Any, labels: Any) -> Any:
        encoded.extend(rows)
        return encode(task, tokenizer, rows, labels)

    monkeypatch.setattr(type(TASK), "augmented", watched)
    monkeypatch.setattr(type(TASK), "encode", counted)
    trained = train(toy_checkpoint, tmp_path, num_train_epochs=2, **AUGMENTED)
    again = Predictor(TASK, LABELS, trained.model, None).predict_features(*split(toy_checkpoint, 30, start=100))
    scores = TASK.score(again, validation_rows, LABELS).metrics
    assert trained.best["accuracy"] == scores["accuracy"]
    assert trained.best["loss"] == pytest.approx(scores["loss"], rel=1e-4)
    assert 40 <= len(edited) <= 90  # half of 64 rows, twice
    assert all(row in train_rows for row in edited)
    assert len(encoded) == 64 + 30 + 30 + len(edited)  # nothing was encoded but the splits and the edited rows
