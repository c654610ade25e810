"""A fine-tuned model folder, ready to predict. The same code validates, evaluates, serves and scores."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tuneline import packing, padding_free
from tuneline.batching import by_length, collator, logits_of
from tuneline.generating import continuations, generate
from tuneline.likelihoods import answers, scored
from tuneline.precision import computing, has_bf16
from tuneline.tasks import task_class
from tuneline.tasks.base import IGNORED_LABEL, Feature, Prediction, Row, Task
from tuneline.weights import load_model

BATCH_SIZE = 64
Batch = dict[str, torch.Tensor]
Gold = torch.Tensor | None
Watch = Callable[[torch.Tensor, torch.Tensor], None]  # is shown the logits and the gold of each batch


class Predictor:
    """Task, labels, tokenizer and weights of one model folder.

    max_length: tokens of a block, where the task packs rows into blocks. bf16: compute in bfloat16.
    """

    def __init__(
        self, task: Task, labels: list[str], model: Any, tokenizer: Tokenizer | None, max_length: int | None = None,
        *, bf16: bool = False,
    ) -> None:  # fmt: skip
        self.task, self.labels, self.model, self.tokenizer = task, labels, model.eval(), tokenizer
        self.head, self.max_length, self.bf16 = task.head(labels), max_length, bf16
        self.collate = collator(model, self.head)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read a model folder, of whole weights or of an adapter. Raises CheckpointError as weights.load_model does.

        A model that was trained in bfloat16 computes in it where this host can.
        """
        facts = json.loads((folder / "tuneline.json").read_text(encoding="utf-8"))
        task = task_class(facts["task"]["name"]).model_validate(facts["task"])
        head = task.head(facts["labels"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        task.limit(tokenizer, facts["max_length"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_model(folder, head.auto_class, facts).to(device)
        padding_free.free(model, head)
        bf16 = facts.get("bf16", False) and has_bf16()
        return cls(task, facts["labels"], model, tokenizer, facts["max_length"], bf16=bf16)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction per row of raw columns (gold, if there, is not looked at). No row sees another."""
        inputs, tokenizer = [self.task.inputs(row) for row in rows], self._own_tokenizer()
        features = self.encode(inputs)
        predictions = self.predict_features(features, inputs, together=False)
        if self.head.answers == "nats" and self.head.generation is not None:
            texts = continuations(self.model, tokenizer, features, self.head.generation)
            predictions = [{**each, "continuation": text} for each, text in zip(predictions, texts, strict=True)]
        return [self.task.worded(prediction, tokenizer) for prediction in predictions]

    def encode(self, rows: Sequence[Row]) -> list[Feature]:
        """The features of rows under our names, in order."""
        return self.task.encode(self._own_tokenizer(), rows, self.labels)

    def _own_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("this predictor was made without a tokenizer")
        return self.tokenizer

    def predict_features(
        self,
        features: Sequence[Feature],
        rows: Sequence[Row],
        batch_size: int = BATCH_SIZE,
        watch: Watch | None = None,
        *,
        together: bool = True,
    ) -> list[Prediction]:
        """One prediction per row, in order. features: of these rows, in the same order.

        together: whether neighbouring rows share blocks, where the task packs them.
        """
        outputs = self.outputs(features, batch_size, watch, together=together)
        return self.task.decode(outputs, features, rows, self.labels)

    def outputs(
        self,
        features: Sequence[Feature],
        batch_size: int = BATCH_SIZE,
        watch: Watch | None = None,
        *,
        together: bool = True,
    ) -> list[NDArray[Any]]:
        """What the task keeps of the logits of every feature, in order. The logits of all would fill the memory.

        Of a head that answers in texts, its texts.
        """
        if not self.task.packed or self.max_length is None:
            return self._outputs(features, batch_size, watch)
        parts = [features] if together else [[feature] for feature in features]
        blocks = [block for part in parts for block in packing.blocks(part, self.max_length)]
        return packing.by_feature(self._outputs(blocks, batch_size, watch), features)

    def look(self, features: Sequence[Feature], batch_size: int, watch: Watch) -> None:
        """Show the logits and the gold of every batch, and keep nothing."""
        with self._computing():
            for _, batch, gold in self._batches(features, batch_size):
                if gold is not None:
                    watch(*scored(self.head, self.model, batch, gold))

    def _outputs(self, features: Sequence[Feature], batch_size: int, watch: Watch | None) -> list[Any]:
        found: list[Any] = [None] * len(features)
        with self._computing():
            for positions, batch, gold in self._batches(features, batch_size):
                for i, kept in zip(positions, self._kept(batch, gold, watch), strict=True):
                    found[i] = kept
        return found

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.inference_mode(), computing(self.bf16, self.model.device):
            yield

    def _batches(self, features: Sequence[Feature], batch_size: int) -> Iterator[tuple[list[int], Batch, Gold]]:
        """The positions of the features of a batch, the batch, and its gold."""
        for positions in by_length(features, batch_size):
            batch = self.collate.on(self.model.device, [features[i] for i in positions])
            yield positions, batch, batch.pop("labels", None)

    def _kept(self, batch: Batch, gold: Gold, watch: Watch | None) -> Sequence[Any]:
        """What goes to decode, of each feature of a batch."""
        if self.head.answers == "texts":
            if watch is not None and gold is not None:
                watch(*scored(self.head, self.model, batch, gold))
            return generate(self.model, self._own_tokenizer(), batch)
        if gold is None:
            return self._condensed(logits_of(self.head, self.model(**batch), batch["attention_mask"]))
        logits, asked = scored(self.head, self.model, batch, gold)
        if watch is not None:
            watch(logits, asked)
        if self.head.answers == "logits":
            return self._condensed(logits)
        counts = (gold != IGNORED_LABEL).sum(dim=1).tolist()
        return [each.numpy() for each in answers(logits, asked, self.head.candidates).split(counts)]

    def _condensed(self, logits: torch.Tensor) -> Sequence[NDArray[Any]]:
        return list(self.task.condense(logits.float().cpu().numpy()))
