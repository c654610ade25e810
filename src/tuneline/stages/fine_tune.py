"""fine-tune: token ids → a model folder, its learning curve and its validation scores.

The checkpoints of a training that is finished stay until another one begins. The outs are not safe before DVC has
committed them, and the same inputs give the same outs again from the last checkpoint, in seconds.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tokenizers import Tokenizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline import curves, devices, host, layout, packaging, seeds
from tuneline.checkpoints import Checkpoint, load_tokenizer
from tuneline.errors import CheckpointError, Diverged, ParamsError
from tuneline.examples import Split
from tuneline.layout import split_file, staged
from tuneline.lineage import inputs_digest
from tuneline.log import report
from tuneline.modelling import initial_model, save_model
from tuneline.params import Sections
from tuneline.parquet import read_rows
from tuneline.starts import find_start
from tuneline.tasks.base import Task
from tuneline.tokenizing import asked_lengths, check_lengths
from tuneline.tracking import LiveRun
from tuneline.training import Trained, fine_tune

SECTIONS = ("task", "model", "tokenize", "train")
EXPERIMENT = "tuneline"
FINISHED = "finished"  # a file beside the checkpoints of a training that wrote its outs


def run(params: Sections) -> None:
    devices.lease("fine-tune", params.train.device)
    digest = inputs_digest("fine-tune", params.dump())
    checkpoint = find_start(params.model, layout.VOCABULARY)
    _check_tokenized_with(checkpoint)
    labels = json.loads((layout.VOCABULARY / "labels.json").read_text(encoding="utf-8"))
    train, validation = _split("train"), _split("validation")
    task = params.task.informed(train[1])
    if params.train.seeds and not validation[1]:
        raise ParamsError(
            f"train.seeds: there is no validation row to choose one of {_listed(params.train.seeds)} by. Leave it out, "
            "or set data.splits.validation."
        )
    start = _Start(params, checkpoint, task, labels, train, validation)
    model = start.model(params.train.seed)  # what is wrong with it shows before a run begins
    live = LiveRun(EXPERIMENT, digest, params.dump(), layout.STATE / "metrics" / f"{digest}.jsonl")
    checkpoints = layout.STATE / "checkpoints" / digest
    _remove_finished(checkpoints.parent, but=checkpoints)
    if (checkpoints / FINISHED).exists():
        report("fine-tune", "was finished before; takes its last checkpoint")
    elif checkpoints.is_dir():
        report("fine-tune", "goes on from the last checkpoint of a run that was cut short")
    of_seeds: dict[str, Any] = {}
    with layout.storage_errors(), live.failed_by(Diverged):
        if params.train.seeds is None:
            trained = start.train(model, params.train.seed, checkpoints, _Live(live))
        else:
            del model  # each seed begins with one of its own
            trained, of_seeds = _best_of_seeds(start, params.train.seeds, checkpoints, live)
    curve = curves.from_history(trained.history)
    record = {
        "inputs_digest": digest,
        "steps": trained.steps,
        "train_rows": len(train[1]),
        "validation_rows": len(validation[1]),
        "best": trained.best,
        "bf16": trained.bf16,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": checkpoint.sha256,
        **of_seeds,
    }
    with staged(layout.MODEL, layout.TRAINING, layout.LEARNING_CURVE) as [folder, training, learning_curve]:
        save_model(trained.model, folder, checkpoint)
        packaging.complete(folder, params, trained.task, labels, layout.VOCABULARY, checkpoint, record)
        training.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        curves.write(learning_curve, curve)
    live.finish(curve)
    (checkpoints / FINISHED).touch()
    scores = ", ".join(f"{name} {_with_spread(name, value, of_seeds)}" for name, value in trained.best.items())
    chosen = f"; seed {of_seeds['chosen']} of {_listed(params.train.seeds or ())}" if of_seeds else ""
    report("fine-tune", f"{trained.steps:,} steps over {len(train[1]):,} rows{chosen}; validation: {scores or 'none'}")


@dataclass(frozen=True)
class _Start:
    """All that a training begins with, but its seed."""

    params: Sections
    checkpoint: Checkpoint
    task: Task
    labels: list[str]
    rows: Split
    validation: Split

    def model(self, seed: int) -> Any:
        """The model before the first step. CheckpointError or ParamsError when it cannot be, or cannot read as much."""
        params = self.params
        model = initial_model(self.checkpoint, self.task.head(self.labels), params.model, seed, params.train.lora)
        check_lengths(asked_lengths(self.task, params.tokenize.max_length), model.config.to_dict())
        return model

    def train(self, model: Any, seed: int, checkpoints: Path, live: TrainerCallback) -> Trained:
        params = self.params
        return fine_tune(
            model, self.task, self.labels, _tokenizer(params), params.train.model_copy(update={"seed": seed}),
            self.rows, self.validation, checkpoints=checkpoints, callbacks=[live],
            max_length=params.tokenize.max_length,
        )  # fmt: skip


def _best_of_seeds(
    start: _Start, asked: Sequence[int], checkpoints: Path, live: LiveRun
) -> tuple[Trained, dict[str, Any]]:
    """The training whose seed is best on validation, and the record of all. Each keeps checkpoints of its own."""
    train, task = start.params.train, start.task
    metric = train.metric_for_best_model or task.metric_in_training

    def train_with(seed: int) -> Trained:
        return start.train(start.model(seed), seed, checkpoints / f"seed-{seed}", _Live(live, f"seed_{seed}_"))

    return seeds.best_of(asked, train_with, metric, higher_is_better=task.metrics.get(metric, False))


def _with_spread(name: str, value: float, of_seeds: dict[str, Any]) -> str:
    """`0.8865`, or with several seeds `0.8865 (mean 0.8790 ± 0.0061)`"""
    if name not in of_seeds.get("mean", {}):
        return f"{value:.4f}"
    return f"{value:.4f} (mean {of_seeds['mean'][name]:.4f} ± {of_seeds['standard_deviation'][name]:.4f})"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _check_tokenized_with(checkpoint: Checkpoint) -> None:
    """CheckpointError when the name in params meant other weights in tokenize: a branch or an alias moves."""
    known = json.loads(layout.CHECKPOINT.read_text(encoding="utf-8"))
    if known["sha256"] != checkpoint.sha256:
        raise CheckpointError(
            f"model.checkpoint: is {checkpoint.name} now, with other weights than {known['name']} had in tokenize. "
            "Name a version, which does not move, or run dvc repro --force tokenize and then dvc repro."
        )


def _tokenizer(params: Sections) -> Tokenizer:
    tokenizer = load_tokenizer(layout.VOCABULARY)
    params.task.limit(tokenizer, params.tokenize.max_length)
    return tokenizer


def _remove_finished(folder: Path, *, but: Path) -> None:
    """Remove the checkpoints of other trainings that are finished. Those whose lock is held stay: a flow has still to
    commit what they gave."""
    for marker in set(folder.glob(f"[!.]*/{FINISHED}")) - {but / FINISHED}:
        lock = FileLock(host.stage_lock_file("fine-tune", marker.parent.name))
        with suppress(Timeout), lock.acquire(timeout=0):
            host.remove(marker.parent)


def _split(name: str) -> Split:
    """Features of a split and the rows they came from."""
    features = read_rows(split_file(layout.TOKENIZED, name))
    rows = read_rows(split_file(layout.VALIDATED, name))
    return features, rows


class _Live(TrainerCallback):
    """Send each point the Trainer logs to the live run. prefix: of the names of its metrics."""

    def __init__(self, live: LiveRun, prefix: str = "") -> None:
        self.live, self.prefix = live, prefix

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "train_runtime" not in state.log_history[-1]:
            self.live.log(curves.from_history(state.log_history[-1:])[0], self.prefix)
