"""tuneline's fine-tune stage in the current project, as `dvc repro` runs it, and the quality of its model on test.

    python benchmarks/ours.py [METRIC]

METRIC is one of the task's; without it the quality is the loss in nats a labelled token. Prints one JSON line as the
peers do. The seconds are those of Trainer.train, checkpoints included.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers import Trainer

from tuneline import layout, packing
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


def main() -> None:
    Trainer.train = timed  # type: ignore[method-assign]
    fine_tune.run(read_params(*fine_tune.SECTIONS))
    record = json.loads(layout.TRAINING.read_text(encoding="utf-8"))
    metric = sys.argv[1] if len(sys.argv) > 1 else None
    facts = {"train_seconds": round(seconds[0], 2), "quality": quality(metric), "steps": record["steps"]}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
