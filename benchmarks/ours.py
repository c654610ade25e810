"""tuneline's fine-tune stage in the current project, as `dvc repro` runs it, and the quality of its model on test.

    python benchmarks/ours.py [METRIC] [--without LEVER]

METRIC is one of the task's; without it the quality is the loss in nats a labelled token. Prints one JSON line as the
peers do. The seconds are those of Trainer.train, checkpoints included. `--without` leaves out a part of what makes it
quick, for levers.py.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn import functional
from transformers import Trainer

from tuneline import dropout, layout, packing, padding_free, training
from tuneline.inference import Predictor
from tuneline.layout import split_file
from tuneline.losses import LOSSES, Shape, terms
from tuneline.params import read_params
from tuneline.parquet import read_rows
from tuneline.stages import fine_tune

seconds: list[float] = []
train = Trainer.train


def timed(trainer: Trainer, *args: Any, **options: Any) -> Any:
    started = time.perf_counter()
    found = train(trainer, *args, **options)
    seconds.append(time.perf_counter() - started)
    return found


def quality(metric: str | None) -> float:
    predictor = Predictor.load(layout.MODEL)
    features = read_rows(split_file(layout.TOKENIZED, "test"))
    if metric is not None:
        rows = read_rows(split_file(layout.VALIDATED, "test"))
        predictions = predictor.predict_features(features, rows)
        return float(predictor.task.score(predictions, rows, predictor.labels).metrics[metric])
    found = []

    def watch(logits: torch.Tensor, gold: torch.Tensor) -> None:
        found.append((float(LOSSES[predictor.head.loss](logits.float(), gold, Shape())), terms(gold)))

    packed = predictor.task.packed and predictor.max_length is not None
    predictor.look(packing.blocks(features, predictor.max_length) if packed else features, 8, watch)
    return sum(loss for loss, _ in found) / sum(count for _, count in found)


def put(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def torchs_dropout() -> None:
    for owner in (dropout, padding_free):
        put(owner, "dropout", functional.dropout)()


def filling(threads: int | None) -> None:
    """As training._compute_alike, but that torch fills fresh memory, as deterministic algorithms have it do."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    training.keep_memory()


LEVERS: dict[str, Callable[[], None]] = {
    "no padding": put(training.padding_free, "freed", lambda *_: nullcontext("it was left out")),
    "bfloat16": put(training, "has_bf16", lambda: False),
    "last layer where the head reads": put(padding_free, "is_as_berts", lambda _: False),
    "dropout by bytes": torchs_dropout,
    "embeddings in use": put(training, "in_use", lambda *_: nullcontext()),
    "allocator that keeps": put(training, "keep_memory", lambda: None),
    "fresh memory left as it is": put(training, "_compute_alike", filling),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metric", nargs="?")
    parser.add_argument("--without", choices=list(LEVERS))
    options = parser.parse_args()
    if options.without:
        LEVERS[options.without]()
    Trainer.train = timed  # type: ignore[method-assign]
    fine_tune.run(read_params(*fine_tune.SECTIONS))
    record = json.loads(layout.TRAINING.read_text(encoding="utf-8"))
    facts = {"train_seconds": round(seconds[0], 2), "quality": quality(options.metric), "steps": record["steps"]}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
