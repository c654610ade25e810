"""What the peers share: their options, a plain TrainingArguments, and the one JSON line that each prints."""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import Trainer, TrainingArguments, set_seed

# As the scripts in transformers' examples have them, or the classic tutorial: what differs is the padding.
PADDING = {"examples": "longest", "tutorial": "max_length"}


@dataclass(frozen=True)
class Options:
    data: Path  # holds train.parquet and test.parquet
    checkpoint: str
    style: str  # of PADDING
    seed: int
    learning_rate: float
    epochs: float
    max_length: int
    batch_size: int

    @classmethod
    def parse(cls, description: str | None) -> "Options":
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--data", type=Path, required=True)
        parser.add_argument("--checkpoint", required=True)
        parser.add_argument("--style", choices=sorted(PADDING), default="examples")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--learning-rate", type=float, default=5e-5)
        parser.add_argument("--epochs", type=float, default=1)
        parser.add_argument("--max-length", type=int, default=128)
        parser.add_argument("--batch-size", type=int, default=8)
        options = cls(**vars(parser.parse_args()))
        set_seed(options.seed)
        return options

    @property
    def padding(self) -> str:
        return PADDING[self.style]

    def frame(self, split: str) -> pd.DataFrame:
        return pd.read_parquet(self.data / f"{split}.parquet")

    def arguments(self, kind: type[TrainingArguments] = TrainingArguments, **more: Any) -> Any:
        return kind(
            output_dir="peer-out",
            learning_rate=self.learning_rate,
            per_device_train_batch_size=self.batch_size,
            per_device_eval_batch_size=self.batch_size,
            num_train_epochs=self.epochs,
            weight_decay=0.01,
            save_strategy="no",
            report_to=[],
            seed=self.seed,
            use_cpu=True,
            **more,
        )


def train(trainer: Trainer) -> float:
    """Seconds of training."""
    started = time.perf_counter()
    trainer.train()
    return time.perf_counter() - started


def tell(examples: int, seconds: float, quality: float) -> None:
    print(json.dumps({"examples": examples, "train_seconds": round(seconds, 2), "quality": quality}))
