"""fine-tune: token ids → a model folder, its learning curve and its validation scores."""

import json
import shutil
from typing import Any

from tokenizers import Tokenizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline import curves, devices, layout, packaging
from tuneline.checkpoints import Checkpoint, find_start, load_tokenizer
from tuneline.digests import inputs_digest
from tuneline.errors import CheckpointError
from tuneline.examples import Split
from tuneline.layout import split_file, staged
from tuneline.log import report
from tuneline.modelling import initial_model
from tuneline.params import Sections
from tuneline.parquet import read_rows
from tuneline.tokenizing import check_max_length
from tuneline.tracking import LiveRun
from tuneline.training import fine_tune

SECTIONS = ("task", "model", "tokenize", "train")
EXPERIMENT = "tuneline"


def run(params: Sections) -> None:
    devices.lease("fine-tune", params.train.device)
    digest = inputs_digest("fine-tune", params.dump())
    checkpoint = find_start(params.model, layout.VOCABULARY)
    _check_tokenized_with(checkpoint)
    labels = json.loads((layout.VOCABULARY / "labels.json").read_text(encoding="utf-8"))
    train, validation = _split("train"), _split("validation")
    model = initial_model(checkpoint, params.task.head(labels), params.model, params.train.seed)
    check_max_length(params.tokenize.max_length, model.config.to_dict())
    live = LiveRun(EXPERIMENT, digest, params.dump(), layout.STATE / "metrics" / f"{digest}.jsonl")
    checkpoints = layout.STATE / "checkpoints" / digest
    if checkpoints.is_dir():
        report("fine-tune", "goes on from the last checkpoint of a run that was cut short")
    with layout.storage_errors():
        trained = fine_tune(
            model, params.task, labels, _tokenizer(params), params.train, train, validation,
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
        trained.model.save_pretrained(folder)
        packaging.complete(folder, params, trained.task, labels, layout.VOCABULARY, checkpoint, record)
        training.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        curves.write(learning_curve, curve)
    live.finish(curve)
    shutil.rmtree(checkpoints, ignore_errors=True)
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
