"""A fine-tuned model folder, ready to predict. The same code evaluates, serves and scores."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tuneline.batching import PadBatch, by_length
from tuneline.tasks import task_class
from tuneline.tasks.base import Feature, Prediction, Row, Task

BATCH_SIZE = 64


class Predictor:
    """Task, labels, tokenizer and weights of one model folder."""

    def __init__(self, task: Task, labels: list[str], model: Any, tokenizer: Tokenizer | None, pad: int) -> None:
        self.task, self.labels, self.model, self.tokenizer = task, labels, model.eval(), tokenizer
        self.collate = PadBatch(pad)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read a model folder. Nothing is unpickled and no code from the weights' side runs."""
        facts = json.loads((folder / "tuneline.json").read_text(encoding="utf-8"))
        task = task_class(facts["task"]["name"]).model_validate(facts["task"])
        auto_class = getattr(transformers, task.head(facts["labels"]).auto_class)
        model = auto_class.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(facts["max_length"], strategy="longest_first")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(task, facts["labels"], model.to(device), tokenizer, model.config.pad_token_id or 0)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction per row of raw columns (gold, if there, is not looked at)."""
        if self.tokenizer is None:
            raise ValueError("this predictor was made without a tokenizer")
        columns = [name for name, column in self.task.columns.items() if column.kind != "label"]
        inputs = [{name: row.get(name) for name in columns} for row in rows]
        return self.predict_features(self.task.encode(self.tokenizer, inputs, self.labels))

    def predict_features(self, features: Sequence[Feature], batch_size: int = BATCH_SIZE) -> list[Prediction]:
        """One prediction per feature, in order."""
        return self.task.decode(self.outputs(features, batch_size), self.labels)

    def outputs(self, features: Sequence[Feature], batch_size: int = BATCH_SIZE) -> NDArray[Any]:
        """Logits of every feature, in order: (rows, ...)."""
        found: list[Any] = [None] * len(features)
        unlabelled = [{**feature, "labels": None} for feature in features]
        with torch.inference_mode():
            for positions in by_length(features, batch_size):
                batch = self.collate([unlabelled[i] for i in positions])
                logits = self.model(**{name: t.to(self.model.device) for name, t in batch.items()}).logits
                for i, row in zip(positions, logits.float().cpu().numpy(), strict=True):
                    found[i] = row
        return np.stack(found) if found else np.zeros((0, len(self.labels)), dtype=np.float32)
