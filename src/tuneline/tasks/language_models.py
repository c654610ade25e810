"""What the language-model tasks share: texts without gold, the likelihood of their tokens, and how it is scored.

{"text": "The kettle broke after two days."}
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tuneline.errors import DataError, ParamsError
from tuneline.metrics.likelihood import perplexity
from tuneline.metrics.weighted import Quotient, of_sums
from tuneline.tasks.base import IGNORED_LABEL, Answer, Column, Encoder, Feature, Mistake, Prediction, Row, Score, Task


class LanguageModel(Task):
    """Texts in which tokens are predicted. A row is one text; blocks are made of neighbouring ones."""

    columns: ClassVar = {"text": Column("a text: a line, a paragraph or a document")}
    texts: ClassVar = columns
    packed: ClassVar = True
    loss_options: ClassVar = frozenset({"label_smoothing_factor"})
    reserved_for: ClassVar[str]  # what the task writes reserved tokens for

    @property
    def answer_types(self) -> dict[str, str]:
        return {"nats": "double", "tokens": "int64", "correct": "int64", "perplexity": "double"}

    @property
    @abstractmethod
    def reserved(self) -> tuple[str, ...]:
        """Tokens that no text may hold, for the task writes them itself."""

    def problem(self, row: Row) -> str | None:
        held = next((token for token in self.reserved if token in row["text"]), None)
        return f"text holds {held}, which {self.reserved_for}. Expected a text without it" if held else None

    def labels(self, rows: Iterable[Row]) -> list[str]:
        """None: the vocabulary is the tokenizer's."""
        return []

    def inputs(self, row: Row) -> Row:
        if not isinstance(row.get("text"), str):
            raise DataError(f"text is {row.get('text')!r:.60}. Expected a string.")
        return super().inputs(row)

    def limit(self, tokenizer: Encoder, max_length: int) -> None:
        """Nothing is cut. ParamsError when the tokenizer lacks a token that the task cannot do without."""
        tokenizer.no_truncation()
        self._token(tokenizer)

    @abstractmethod
    def _token(self, tokenizer: Encoder) -> int:
        """The id of the token that the task cannot do without."""

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """nats, the loss of all tokens predicted; tokens, how many these were; correct, how many of them the model
        found likeliest; perplexity, where any was predicted."""
        return [self._prediction(*each) for each in zip(outputs, features, strict=True)]

    def _prediction(self, output: NDArray[Any], feature: Feature) -> Prediction:
        gold = np.array([label for label in feature["labels"] if label != IGNORED_LABEL])
        nats, tokens = float(output[:, 0].sum(dtype=np.float64)), len(gold)
        return {
            "nats": nats,
            "tokens": tokens,
            "correct": int((output[:, 1] == gold).sum()),
            "perplexity": float(perplexity(nats, tokens)) if tokens else None,
        }

    def observed(self, prediction: Prediction) -> Answer:
        """confidence: the geometric mean of the probabilities of the tokens, where any was predicted."""
        perplexity_ = prediction["perplexity"]
        return Answer(confidence=1 / perplexity_ if perplexity_ else None)

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Over all tokens predicted. Each row's own score is the geometric mean of their probabilities."""
        nats, tokens, correct = (np.array([p[name] for p in predictions]) for name in ("nats", "tokens", "correct"))
        if not tokens.any():
            raise DataError("no token was predicted, so there is no likelihood to score. Expected texts with words.")
        return Score(
            {
                "perplexity": of_sums(lambda sums: perplexity(*sums), nats, tokens),
                "loss": Quotient(nats, tokens),
                "accuracy": Quotient(correct, tokens),
            },
            np.array([1 / (p["perplexity"] or 1.0) for p in predictions]),
        )

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        """The texts that the model expected least, by their loss per token."""
        said = f"{prediction['correct']} of {prediction['tokens']} tokens; perplexity {prediction['perplexity']:,.1f}"
        return Mistake(row["text"], f"{prediction['tokens']} tokens", said, prediction["nats"] / prediction["tokens"])

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The perplexity of each text beside the number of its tokens that were predicted."""
        seen = [prediction for prediction in predictions if prediction["tokens"]]
        table = [{"tokens": p["tokens"], "perplexity": round(p["perplexity"], 6)} for p in seen]
        return {"text_perplexity": table}


def first_known(tokenizer: Encoder, tokens: Sequence[str], advice: str) -> int:
    """The id of the first of these tokens that a tokenizer has. ParamsError, with the advice, when it has none."""
    ids = [number for number in map(tokenizer.token_to_id, tokens) if number is not None]
    if not ids:
        raise ParamsError(f"model.checkpoint: its tokenizer has no token {' or '.join(tokens)}. {advice}")
    return ids[0]
