"""`data:` the raw data, how it is read and split, and what it is held to."""

from collections import Counter
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tuneline.params.section import NAME, Section


class Splits(Section):
    """How rows are split where the files do not say. A stable hash of the row's key decides, so rows
    that are appended later never move the old ones."""

    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the rows outside the test split. 0 trains on all of them, without early stopping."""
    test: float = Field(0.2, gt=0, lt=1)
    """Share of the rows for the test split, where no file gives one."""
    validation_from: str | None = None
    """With columns.time: rows from this time on are validation (compared as text: use ISO 8601)."""
    test_from: str | None = None
    """With columns.time: rows from this time on are test (compared as text: use ISO 8601)."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "Splits":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows to train on")
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("validation_from and test_from go together")
        return self


class MaxRows(Section):
    """At most this many rows of each split, chosen by the same stable hash. null keeps all."""

    train: int | None = Field(None, ge=1)
    """Rows of the training split."""
    validation: int | None = Field(None, ge=1)
    """Rows of the validation split."""
    test: int | None = Field(None, ge=1)
    """Rows of the test split."""


class Checks(Section):
    """What validate holds the raw rows to."""

    max_rejected_share: float = Field(0.02, ge=0, le=1)
    """Share of rows that may be refused before the pipeline stops."""
    min_length: int = Field(1, ge=0)
    """Shortest text, in characters."""
    max_length: int = Field(100_000, ge=1)
    """Longest text, in characters."""
    min_rows_per_label: int = Field(2, ge=1)
    """Fewest training rows that each label needs."""
    min_label_share: float = Field(0.0, ge=0, lt=1)
    """Smallest share of the training rows that each label needs."""
    max_control_characters: float = Field(0.0, ge=0, le=1)
    """Share of rows that may hold control characters (such rows are refused all the same)."""
    near_duplicate_similarity: float = Field(0.85, gt=0, le=1)
    """Two texts are near-duplicates from this Jaccard similarity of their word 3-grams on."""
    max_duplicate_share: float = Field(0.05, ge=0, le=1)
    """Share of training rows that may repeat an earlier row (the repeats are refused all the same)."""
    max_near_duplicate_share: float = Field(0.05, ge=0, le=1)
    """Share of training rows that may be near-duplicates of another one (they are kept)."""
    max_leaked_share: float = Field(0.05, ge=0, le=1)
    """Share of test rows whose text, or nearly, also stands in another split. The copy outside the test
    split is refused all the same."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Checks":
        if self.min_length > self.max_length:
            raise ValueError("min_length is above max_length")
        return self


class Data(Section):
    """The raw data and how to read it."""

    name: str = Field(pattern=NAME)
    """Name of the data set: the folder under data/raw."""
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "text", "conll", "conllu", "squad", "parallel"] | None = (
        None
    )
    """Format of the files. null tells it from their names."""
    encoding: str = "utf-8"
    """Character encoding of text files. A byte-order mark is accepted in UTF-8."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Column delimiter of csv and tsv files. null takes the comma for csv and the tab for tsv."""
    header: bool = True
    """Whether csv and tsv files begin with the column names."""
    column_names: list[str] | None = None
    """Column names of files without a header, from left to right."""
    columns: dict[str, str] = Field({})
    """Where a column has another name in the files: ours to theirs, as in `label: category`.
    Beside the task's own columns: id, group (rows of a group stay in one split), time."""
    keep: list[str] = Field([])
    """Columns of the files beside the task's that stay with the rows, as text. No model reads them: test scores are
    sliced by them (evaluate.slices)."""
    splits: Splits = Splits()
    max_rows: MaxRows = MaxRows()
    checks: Checks = Checks()

    @field_validator("keep")
    @classmethod
    def _keeps_each_once(cls, names: list[str]) -> list[str]:
        """Case counts for nothing, as in the conditions of evaluate.slices.where."""
        twice = sorted(name for name, count in Counter(name.lower() for name in names).items() if count > 1)
        if twice:
            raise ValueError(f"stands in the list twice, but for case: {', '.join(twice)}")
        return names

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding {encoding!r}; utf-8, latin-1, cp1252 and utf-16 are usual") from None
        return encoding
