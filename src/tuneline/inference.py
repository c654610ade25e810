"""A fine-tuned model folder, ready to predict. The same code validates, evaluates, serves and scores."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tuneline.batching import by_length, collator, logits_of
from tuneline.generating import generate
from tuneline.tasks import task_class
from tuneline.tasks.base import Feature, Prediction, Row, Task

BATCH_SIZE = 64
Watch = Callable[[torch.Tensor, torch.Tensor], None]  # is shown the logits and the gold of each batch


class Predictor:
    """Task, labels, tokenizer and weights of one model folder."""

    def __init__(self, task: Task, labels: list[str], model: Any, tokenizer: Tokenizer | None) -> None:
        self.task, self.labels, self.model, self.tokenizer = task, labels, model.eval(), tokenizer
        self.head = task.head(labels)
        self.collate = collator(model, self.head)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read a model folder. Nothing is unpickled and no code from the weights' side runs."""
        facts = json.loads((folder / "tuneline.json").read_text(encoding="utf-8"))
        task = task_class(facts["task"]["name"]).model_validate(facts["task"])
        auto_class = getattr(transformers, task.head(facts["labels"]).auto_class)
        model = auto_class.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
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
        """What the task keeps of the logits of every feature, in order. The logits of all would fill the memory.

        Of a head that generates, its texts.
        """
        if self.head.generation is not None:
            if watch is not None:
                self.look(features, batch_size, watch)
            return self._generated(features, batch_size)
        found: list[Any] = [None] * len(features)
        for positions, logits, gold in self._logits(features, batch_size):
            if watch is not None and gold is not None:
                watch(logits, gold)
            for i, kept in zip(positions, self.task.condense(logits.float().cpu().numpy()), strict=True):
                found[i] = kept
        return found

    def look(self, features: Sequence[Feature], batch_size: int, watch: Watch) -> None:
        """Show the logits and the gold of every batch, and keep nothing."""
        for _, logits, gold in self._logits(features, batch_size):
            if gold is not None:
                watch(logits, gold)

    def _logits(
        self, features: Sequence[Feature], batch_size: int
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor | None]]:
        """The positions of a batch, its logits and its gold."""
        for positions in by_length(features, batch_size):
            batch = self._batch([features[i] for i in positions])
            gold = batch.pop("labels", None)
            with torch.inference_mode():
                logits = logits_of(self.head, self.model(**batch), batch["attention_mask"])
            yield positions, logits, gold

    def _generated(self, features: Sequence[Feature], batch_size: int) -> list[Any]:
        if self.tokenizer is None:
            raise ValueError("texts are written with a tokenizer, and this predictor was made without one")
        found: list[Any] = [None] * len(features)
        for positions in by_length(features, batch_size):
            batch = self._batch([{"input_ids": features[i]["input_ids"]} for i in positions])
            with torch.inference_mode():
                texts = generate(self.model, self.tokenizer, batch)
            for i, text in zip(positions, texts, strict=True):
                found[i] = text
        return found

    def _batch(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.model.device) for name, tensor in self.collate(features).items()}
