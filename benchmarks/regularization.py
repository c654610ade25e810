"""What each regularization and LoRA do on a small real set: every fourth intent of BANKING77, a few rows of each.

    python benchmarks/regularization.py --banking77 FOLDER --general FILE [--seeds 2] [--rows 8] [--epochs 4]

FOLDER holds train.csv and test.csv with columns text and category; FILE holds general text, a paragraph a line. The
variants take turns, seed by seed: a seed chooses the training rows, the head and the dropout, alike for all variants.
For each run the accuracy on test rows, and the drift: 1 - cosine between the mean-pooled embedding of general text
that no run has read now and with the start weights. Prints every run, then the table: mean, lowest and highest.
"""

import argparse
import csv
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from tuneline.adapters import merged
from tuneline.batching import PadBatch
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.digests import file_digest
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Model, Train
from tuneline.regularization import embeddings
from tuneline.tasks import task_class
from tuneline.training import fine_tune

MAX_LENGTH = 64
TEST_ROWS = 20  # per intent
PLAIN = {"learning_rate": 2e-4, "per_device_train_batch_size": 16, "threads": 1, "logging_steps": 1000}
Row = dict[str, str]


def variants(replay: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each adds to PLAIN."""
    only: dict[str, dict[str, Any]] = {
        "r_drop_alpha: 1": {"r_drop_alpha": 1.0},
        "layerwise_lr_decay: 0.8": {"layerwise_lr_decay": 0.8},
        "freeze_embeddings": {"freeze_embeddings": True},
        "freeze_layers: 3": {"freeze_layers": 3},
        "gradual_unfreezing: 0.5": {"gradual_unfreezing": 0.5},
        "l2_sp: 250": {"l2_sp": 250.0},
        "replay, weight 10": {"replay": replay},
    }
    return {
        "nothing": {},
        **{name: {"regularization": options} for name, options in only.items()},
        "lora r 8, learning_rate 3e-3": {"lora": {"r": 8}, "learning_rate": 3e-3},
    }


def read(path: Path) -> dict[str, list[Row]]:
    """Rows by intent, of every fourth one."""
    found = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["category"]].append({"text": row["text"], "label": row["category"]})
    return dict(sorted(found.items())[::4])


def some(rows: dict[str, list[Row]], each: int, seed: int) -> list[Row]:
    chooser = random.Random(seed)
    return [row for intent in rows.values() for row in chooser.sample(intent, min(each, len(intent)))]


def paragraphs(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line[:400] for line in lines if len(line) > 200]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--banking77", type=Path, required=True)
    parser.add_argument("--general", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=8, help="training rows per intent")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="*", help="names of variants")
    options = parser.parse_args()

    torch.set_num_threads(1)
    task = task_class("text-classification").model_validate({"name": "text-classification"})
    train, test = read(options.banking77 / "train.csv"), some(read(options.banking77 / "test.csv"), TEST_ROWS, 0)
    labels = task.labels(test)
    checkpoint = find_checkpoint(Model())
    tokenizer = load_tokenizer(checkpoint.folder)
    task.limit(tokenizer, MAX_LENGTH)
    general = paragraphs(options.general)
    replayed, unseen = general[:100], general[100:150]

    def start(seed: int, lora: Any = None) -> Any:
        return initial_model(checkpoint, task.head(labels), Model(), seed, lora)

    def pooled(model: Any) -> torch.Tensor:
        batch = PadBatch(0)([{"input_ids": each.ids} for each in tokenizer.encode_batch(unseen)])
        with torch.no_grad():
            return embeddings(model.eval(), batch)

    before = pooled(start(0))
    results: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "general.txt"
        text.write_text("\n".join(replayed), encoding="utf-8")
        replay = {"text": str(text), "sha256": file_digest(text), "weight": 10.0, "per_device_train_batch_size": 4}
        for seed in range(options.seeds):
            rows = some(train, options.rows, seed)
            for name, added in variants(replay).items():
                if options.only and name not in options.only:
                    continue
                params = Train.model_validate({**PLAIN, "num_train_epochs": options.epochs, "seed": seed, **added})
                model = start(seed, params.lora)
                learning = sum(each.numel() for each in model.parameters() if each.requires_grad)
                began = time.process_time()
                trained = fine_tune(
                    model, task, labels, tokenizer, params, (task.encode(tokenizer, rows, labels), rows), ([], []),
                    checkpoints=Path(folder) / "checkpoints" / name / str(seed), callbacks=[],
                )  # fmt: skip
                seconds = time.process_time() - began
                predictions = Predictor(task, labels, trained.model, tokenizer).predict(test)
                accuracy = task.score(predictions, test, labels).metrics["accuracy"]
                drift = float((1 - torch.cosine_similarity(pooled(merged(trained.model)), before)).mean())
                results[name].append((accuracy, drift, seconds))
                print(f"seed {seed}  {name}: accuracy {accuracy:.4f}, drift {drift:.4f}, {seconds:.0f} s of CPU time, "
                      f"{learning:,} parameters", flush=True)  # fmt: skip
    print(f"\n| {options.rows} rows per intent, {options.epochs} epochs | accuracy | drift | CPU time |")
    print("|---|---|---|---|")
    for name, found in results.items():
        accuracies, drifts, times = zip(*found, strict=True)
        print(f"| {name} | {_spread(accuracies)} | {_spread(drifts)} | {statistics.mean(times):.0f} s |")


def _spread(values: tuple[float, ...]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
