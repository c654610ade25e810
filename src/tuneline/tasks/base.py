"""What a task answers for. The pipeline asks these questions in the order of a row's life:

    columns · problem · labels · encode · head · decode · score · plots

A task is also the typed `task:` section of params.yaml. A task module imports neither torch nor transformers:
what it says about them, it says by name, so that validate and tokenize never load them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Row = Mapping[str, Any]
Feature = dict[str, Any]
Prediction = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column that a task reads from the raw rows."""

    meaning: str
    required: bool = True
    kind: str = "text"  # "text" (checked as text) or "label" (held to the label set)


@dataclass(frozen=True)
class Head:
    """The transformers class that carries the task's head, and what goes into its config."""

    auto_class: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Scores of a whole split, and one score per row for paired tests (higher is better)."""

    metrics: dict[str, float]
    per_row: NDArray[Any]
    details: dict[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """The part of `tokenizers.Tokenizer` that a task needs."""

    def encode_batch(self, input: Sequence[Any]) -> Sequence[Any]: ...


class Task(BaseModel):
    """A task, and at once the `task:` section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    columns: ClassVar[dict[str, Column]]
    metrics: ClassVar[dict[str, bool]]  # metric name → True when higher is better
    default_metric: ClassVar[str]
    baseline: ClassVar[str | None] = None  # name in baselines.BASELINES

    @abstractmethod
    def problem(self, row: Row) -> str | None:
        """What is wrong with a row that has all its columns, in a sentence; None when it is sound."""

    @abstractmethod
    def labels(self, rows: Sequence[Row]) -> list[str]:
        """The label set, sorted, as found in the training rows (or as params name it)."""

    @abstractmethod
    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        """One feature per row. Rows without gold (serving) give features without `labels`."""

    @abstractmethod
    def head(self, labels: Sequence[str]) -> Head:
        """The model class and config of the head that fits the label set."""

    @abstractmethod
    def decode(self, outputs: NDArray[Any], labels: Sequence[str]) -> list[Prediction]:
        """One prediction per row, in the words of the gold column. outputs: logits, (rows, labels)."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Compare predictions with the gold in rows, row by row."""

    @abstractmethod
    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Tables to plot, by file name without ending."""
