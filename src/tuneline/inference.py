"""A fine-tuned model folder, ready to predict. The same code validates, evaluates, serves and scores."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tuneline.batching import PadBatch, by_length, logits_of
from tuneline.tasks import task_class
from tuneline.tasks.base import Feature, Prediction, Row, Task
from tuneline.weights import load_model

BATCH_SIZE = 64
Watch = Callable[[torch.Tensor, torch.Tensor], None]  # is shown the logits and the gold of each batch


class Predictor:
    """Task, labels, tokenizer and weights of one model folder."""

    def __init__(self, task: Task, labels: list[str], model: Any, tokenizer: Tokenizer | None) -> None:
        self.task, self.labels, self.model, self.tokenizer = task, labels, model.eval(), tokenizer
        self.collate = PadBatch(model.config.pad_token_id or 0)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read a model folder, of whole weights or of an adapter. Raises CheckpointError as weights.load_model does."""
        facts = json.loads((folder / "tuneline.json").read_text(encoding="utf-8"))
        task = task_class(facts["task"]["name"]).model_validate(facts["task"])
        model = load_model(folder, task.head(facts["labels"]).auto_class, facts)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        task.limit(tokenizer, facts["max_length"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(task, facts["labels"], model.to(device), tokenizer)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction per row of raw columns (gold, if there, is not looked at)."""
        if self.tokenizer is None:
            raise ValueError("this predictor was made without a tokenizer")
        inputs = [self.task.inputs(row) for row in rows]
        return self.predict_features(self.task.encode(self.tokenizer, inputs, self.labels), inputs)

    def predict_features(
        self,
        features: Sequence[Feature],
        rows: Sequence[Row],
        batch_size: int = BATCH_SIZE,
        watch: Watch | None = None,
    ) -> list[Prediction]:
        """One prediction per row, in order. features: of these rows, in the same order."""
        return self.task.decode(self.outputs(features, batch_size, watch), features, rows, self.labels)

    def outputs(
        self, features: Sequence[Feature], batch_size: int = BATCH_SIZE, watch: Watch | None = None
    ) -> list[NDArray[Any]]:
        """What the task keeps of the logits of every feature, in order. The logits of all would fill the memory."""
        found: list[Any] = [None] * len(features)
        head = self.task.head(self.labels)
        with torch.inference_mode():
            for positions in by_length(features, batch_size):
                collated = self.collate([features[i] for i in positions])
                batch = {name: tensor.to(self.model.device) for name, tensor in collated.items()}
                gold = batch.pop("labels", None)
                logits = logits_of(head, self.model(**batch), batch["attention_mask"])
                if watch is not None and gold is not None:
                    watch(logits, gold)
                for i, kept in zip(positions, self.task.condense(logits.float().cpu().numpy()), strict=True):
                    found[i] = kept
        return found
