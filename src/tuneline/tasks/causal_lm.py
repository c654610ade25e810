"""Causal language modelling: each token of a text is predicted from those before it.

    {"text": "The kettle broke."}   →   reads     [end] the kettle broke .
                                        predicts  the kettle broke . [end]

A text begins and ends with the end token, so its first token is predicted too, and where it ends. In a block the next
text goes on after it, and may look back at the one before.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tuneline.metrics.likelihood import bits_per_byte
from tuneline.metrics.weighted import of_sums
from tuneline.tasks.base import Encoder, Feature, Head, Prediction, Row, Score
from tuneline.tasks.language_models import LanguageModel, first_known

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


class CausalLM(LanguageModel):
    """The next token of a text, from those before it."""

    name: Literal["causal-lm"]
    end_token: str | None = Field(
        None, min_length=1, description="Token between two texts. null takes the tokenizer's, if it has a usual one."
    )
    max_new_tokens: int = Field(
        0, ge=0, le=10_000, description="Tokens by which a text to predict is continued. 0 continues none."
    )
    num_beams: int = Field(
        1, ge=1, le=64, description="Beams that a continuation is searched with; 1 takes the likeliest token each time."
    )

    feature_types: ClassVar = {
        "input_ids": "list<int32>",
        "labels": "list<int32>",  # of each token, the one after it
        "bytes": "int64",  # of the text, in UTF-8
    }
    metrics: ClassVar = {"perplexity": False, "bits_per_byte": False, "loss": False, "accuracy": True}

    @property
    def answer_types(self) -> dict[str, str]:
        continued = {"continuation": "string"} if self.max_new_tokens else {}
        return {**super().answer_types, "bytes": "int64", "bits_per_byte": "double", **continued}

    def _token(self, tokenizer: Encoder) -> int:
        ends = (self.end_token,) if self.end_token else ENDS
        return first_known(tokenizer, ends, "Name the one that ends a text: task.end_token.")

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        end, texts = self._token(tokenizer), [row["text"] for row in rows]
        return [
            {"input_ids": [end, *encoding.ids], "labels": [*encoding.ids, end], "bytes": len(text.encode())}
            for text, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True)
        ]

    def head(self, labels: Sequence[str]) -> Head:
        """An encoder such as BERT becomes a decoder: it no longer sees what comes."""
        settings = {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams}
        return Head(
            "AutoModelForCausalLM",
            {"is_decoder": True, "use_cache": False},
            answers="nats",
            generation=settings if self.max_new_tokens else None,
        )

    def _prediction(self, output: NDArray[Any], feature: Feature) -> Prediction:
        """Also bytes of the text, and bits_per_byte."""
        found, length = super()._prediction(output, feature), feature["bytes"]
        per_byte = float(bits_per_byte(found["nats"], length)) if length else None
        return {**found, "bytes": length, "bits_per_byte": per_byte}

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        score = super().score(predictions, rows, labels)
        nats, length = (np.array([p[name] for p in predictions]) for name in ("nats", "bytes"))
        measure = of_sums(lambda sums: bits_per_byte(*sums), nats, length)
        return replace(score, measures={**score.measures, "bits_per_byte": measure})


TASK = CausalLM
