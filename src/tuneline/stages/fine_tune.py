"""fine-tune: token ids → a model folder, its learning curve and its validation scores.

The checkpoints of a training that is finished stay until another one begins. The outs are not safe before DVC has
committed them, and the same inputs give the same outs again from the last checkpoint, in seconds.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tokenizers import Tokenizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline import curves, devices, host, layout, packaging
from tuneline.checkpoints import Checkpoint, load_tokenizer
from tuneline.errors import CheckpointError
from tuneline.examples import Split
from tuneline.layout import split_file, staged
from tuneline.lineage import inputs_digest
from tuneline.log import report
from tuneline.modelling import initial_model, save_model
from tuneline.params import Sections
from tuneline.parquet import read_rows
from tuneline.starts import find_start
from tuneline.tokenizing import asked_lengths, check_lengths
from tuneline.tracking import LiveRun
from tuneline.training import fine_tune

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
    model = initial_model(checkpoint, task.head(labels), params.model, params.train.seed, params.train.lora)
    check_lengths(asked_lengths(task, params.tokenize.max_length), model.config.to_dict())
    live = LiveRun(EXPERIMENT, digest, params.dump(), layout.STATE / "metrics" / f"{digest}.jsonl")
    checkpoints = layout.STATE / "checkpoints" / digest
    _remove_finished(checkpoints.parent, but=checkpoints)
    if (checkpoints / FINISHED).exists():
        report("fine-tune", "was finished before; takes its last checkpoint")
    elif checkpoints.is_dir():
        report("fine-tune", "goes on from the last checkpoint of a run that was cut short")
    with layout.storage_errors():
        trained = fine_tune(
            model, task, labels, _tokenizer(params), params.train, train, validation,
            checkpoints=checkpoints, callbacks=[_Live(live)], max_length=params.tokenize.max_length,
        )  # fmt: skip
    curve = curves.from_history(trained.history)
    record = {
        "inputs_digest": digest,
        "steps": trained.steps,
        "train_rows": len(train[1]),
        "validation_rows": len(validation[1]),
        "best": trained.best,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": checkpoint.sha256,
    }
    with staged(layout.MODEL, layout.TRAINING, layout.LEARNING_CURVE) as [folder, training, learning_curve]:
        save_model(trained.model, folder, checkpoint)
        packaging.complete(folder, params, trained.task, labels, layout.VOCABULARY, checkpoint, record)
        training.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        curves.write(learning_curve, curve)
    live.finish(curve)
    (checkpoints / FINISHED).touch()
    scores = ", ".join(f"{name} {value:.4f}" for name, value in trained.best.items())
    report("fine-tune", f"{trained.steps:,} steps over {len(train[1]):,} rows; validation: {scores or 'none'}")


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
    """Send each point the Trainer logs to the live run."""

    def __init__(self, live: LiveRun) -> None:
        self.live = live

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if "train_runtime" not in state.log_history[-1]:
            self.live.log(curves.from_history(state.log_history[-1:])[0])
