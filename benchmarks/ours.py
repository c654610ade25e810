"""tuneline's fine-tune stage in the current project, as `dvc repro` runs it, and the quality of its model on test.

    python benchmarks/ours.py [METRIC] [--without LEVER]

METRIC is one of the task's; without it the quality is the loss in nats a labelled token. Prints one JSON line as the
peers do. The seconds are those of Trainer.train, checkpoints included. `--without` leaves out a part of what makes it
quick, for levers.py.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from projects import timed
from torch.nn import functional
from transformers import Trainer

from tuneline import dropout, layout, packing, padding_free, training, within_rows
from tuneline.inference import Predictor
from tuneline.layout import split_file
from tuneline.losses import LOSSES, Shape, terms
from tuneline.params import read_params
from tuneline.parquet import read_rows
from tuneline.stages import fine_tune


def examples(packed: bool) -> int:
    """How many features an epoch has, or whole blocks of them."""
    features = read_rows(split_file(layout.TOKENIZED, "train"))
    return len(
        packing.blocks(features, read_params("tokenize").tokenize.max_length, whole=True) if packed else features
    )


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
    for owner in (dropout, within_rows):
        put(owner, "dropout", functional.dropout)()


LEVERS: dict[str, Callable[[], None]] = {
    "no padding": put(training.padding_free, "freed", lambda *_: nullcontext("it was left out")),
    "bfloat16": put(training, "has_bf16", lambda: False),
    "last layer where the head reads": put(padding_free, "is_as_berts", lambda _: False),
    "dropout by bytes": torchs_dropout,
    "embeddings in use": put(training, "in_use", lambda *_: nullcontext()),
    "allocator that keeps": put(training, "keep_memory", lambda: None),
    "fresh memory left as it is": put(training, "leave_fresh_memory", lambda: None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metric", nargs="?")
    parser.add_argument("--without", choices=list(LEVERS))
    options = parser.parse_args()
    if options.without:
        LEVERS[options.without]()
    seconds: list[float] = []
    Trainer.train = timed(Trainer.train, seconds)  # type: ignore[method-assign]
    params = read_params(*fine_tune.SECTIONS)
    fine_tune.run(params)
    facts = {"examples": examples(params.task.packed), "train_seconds": round(seconds[0], 2)}
    print(json.dumps({**facts, "quality": quality(options.metric)}))


if __name__ == "__main__":
    main()
