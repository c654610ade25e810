"""What is noted of every row while the rows stream by: a line of numbers, never the text.

    file  line  given  label  shortest  longest  text (its hash)  chances
       0   417  train      1        64       64  91c2…            0.81, 0.02, 0.55

A row that is wrong by itself gets a Problem: blank, too long, broken in its encoding, not fit for the task.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tuneline.errors import DataError
from tuneline.layout import SPLITS
from tuneline.near_duplicates import Sketches
from tuneline.params import Checks, Data
from tuneline.parquet import schema_of
from tuneline.splitting import NO_SPLIT, Draws, Times, draws
from tuneline.tasks.base import Task, row_types

CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"  # all but tab, newline and carriage return
# A replacement character, or UTF-8 read as Latin-1 or Windows-1252: Ã© for é, â€™ for ’, ðŸ for an emoji.
# Closing quotes and dashes after Ã are left out: «MAÇÃ» is sound Portuguese.
BROKEN = "\ufffd|[\u00c2-\u00f4][\u0080-\u009f]|Ã[€‚ƒ„†‡ˆ‰Š‹ŒŽ‘“•˜™š›œžŸ¡-ª¬\u00ad®-¹º¼-¿]|Â[£©®°´·]|â€|ðŸ|ï»¿"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row by itself."""

    row: int
    check: str
    column: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """All rows in numbers, in raw order. Arrays are (rows,) where nothing else is said."""

    file: NDArray[np.int32]  # index into files
    line: NDArray[np.int64]
    given: NDArray[np.int8]  # the split that the file's name tells
    label: NDArray[np.int32]  # index into labels, -1 without one, or where rows have several
    labelled: NDArray[np.int64]  # (labels of all rows, 2): a row, and the index of a label it has
    gold: NDArray[np.uint64]  # equal where all that is to be predicted is
    shortest: NDArray[np.int32]  # characters, over the row's text columns
    longest: NDArray[np.int32]
    text: NDArray[np.uint64]  # (rows, 2): equal where the texts are, but for case and white space
    ids: NDArray[np.uint64] | None  # (rows, 2), where ids are mapped
    chances: Draws  # (rows, 3)
    times: Times | None
    files: list[str]
    labels: list[str]
    problems: list[Problem]  # by row
    path: Path  # the rows themselves: Parquet with the columns that validated rows have, but for row

    def __len__(self) -> int:
        return len(self.line)

    def place(self, row: int) -> str:
        """`data/raw/reviews/train.csv row 417`"""
        return f"{self.files[self.file[row]]} row {self.line[row]}"


def survey_rows(batches: Iterable[pa.RecordBatch], data: Data, task: Task, sketches: Sketches, path: Path) -> Survey:
    """Note every row, sketch its text, and put the rows into a Parquet file at path."""
    surveyor = _Surveyor(data, task)
    schema = schema_of({name: type_ for name, type_ in row_types(task, data.keep).items() if name != "row"})
    with (
        pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=["file"], write_statistics=False) as writer,
        ThreadPoolExecutor(1) as sketching,
    ):
        sketched: Future[None] | None = None
        for batch in batches:
            table = pa.Table.from_batches([batch]).rename_columns({"row": "line"}).select(schema.names)
            writer.write_table(table.cast(schema))
            words = surveyor.note(batch)
            if sketched:
                sketched.result()  # one batch at a time, or slow sketching would fill the memory
            sketched = sketching.submit(sketches.add, words)
        if sketched:
            sketched.result()
    if not surveyor.rows:
        raise DataError(f"data/raw/{data.name} holds no rows.")
    return surveyor.survey(path)


def text_columns(task: Task) -> list[str]:
    """The columns whose texts are looked at, and compared with those of other rows."""
    return [name for name, column in task.columns.items() if not column.is_gold]


def label_column(task: Task) -> str | None:
    return next((name for name, column in task.columns.items() if column.kind == "label"), None)


class _Surveyor:
    """Collects the numbers of batch after batch."""

    def __init__(self, data: Data, task: Task) -> None:
        self.data, self.task = data, task
        self.rows = 0
        self._noted: list[dict[str, NDArray[Any]]] = []
        self._problems: list[Problem] = []
        self._files: dict[str, int] = {}
        self._labels: dict[str, int] = {}
        self._split_codes = {split: code for code, split in enumerate(SPLITS)}

    def note(self, batch: pa.RecordBatch) -> list[pa.ListArray]:
        """Note a batch; return the words of each text column, in lower case."""
        texts = {name: as_text(batch[name]) for name in text_columns(self.task)}
        words = {name: _words(text) for name, text in texts.items()}
        plain = {name: pc.binary_join(each, " ") for name, each in words.items()}
        self._problems += sorted(self._row_problems(batch, texts, plain), key=lambda problem: problem.row)
        alike = draws(_joined(list(plain.values())))
        ids = draws(batch["id"].fill_null("")) if "id" in self.data.columns else None
        lengths = np.stack([pc.utf8_length(text).fill_null(0).to_numpy() for text in texts.values()])
        required = [self.task.columns[name].required for name in texts]
        label = label_column(self.task)
        noted: dict[str, NDArray[Any]] = {
            "file": _codes(batch["file"], self._files).astype(np.int32),
            "line": batch["row"].to_numpy(),
            "given": _codes(batch["split"], self._split_codes, NO_SPLIT).astype(np.int8),
            "label": _codes(batch[label], self._labels).astype(np.int32)
            if label
            else np.full(len(batch), -1, np.int32),
            "labelled": self._labelled(batch),
            "gold": _hashes(_joined([self._gold(name, batch[name]) for name in self.task.gold]))
            if self.task.gold
            else np.zeros(len(batch), np.uint64),
            "shortest": lengths[required].min(axis=0).astype(np.int32),
            "longest": lengths.max(axis=0).astype(np.int32),
            "text": alike[:, :2].copy(),
            "chances": self._chances(batch, ids, alike, plain),
        }
        if ids is not None:
            noted["ids"] = ids[:, :2].copy()
        splits = self.data.splits
        if splits.test_from is not None:
            time = batch["time"].fill_null("")
            noted["from_validation"] = pc.greater_equal(time, splits.validation_from).to_numpy(zero_copy_only=False)
            noted["from_test"] = pc.greater_equal(time, splits.test_from).to_numpy(zero_copy_only=False)
        self._noted.append(noted)
        self.rows += len(batch)
        return list(words.values())

    def _gold(self, name: str, values: pa.Array) -> pa.StringArray:
        """A gold column as texts, equal where what is to be predicted is: labels have no order."""
        if self.task.columns[name].kind != "labels":
            return as_text(values)
        return pa.array(
            [None if cell is None else "\x1f".join(sorted(cell)) for cell in values.to_pylist()], pa.string()
        )

    def _labelled(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """The rows of a batch that have labels, once for each, and the index of the label: (labels, 2)."""
        found = [np.zeros((0, 2), np.int64)]
        for name, column in self.task.columns.items():
            cells = batch[name]
            if column.kind == "labels":
                rows, values = pc.list_parent_indices(cells).to_numpy(), pc.list_flatten(cells)
            elif column.kind == "label":
                rows, values = np.flatnonzero(~_null(cells)), cells.drop_null()
            else:
                continue
            found.append(np.stack([rows + self.rows, _codes(values, self._labels)], axis=1))
        return np.concatenate(found)

    def survey(self, path: Path) -> Survey:
        all_noted = {name: np.concatenate([noted[name] for noted in self._noted]) for name in self._noted[0]}
        self._noted.clear()
        late = [all_noted.pop(name, None) for name in ("from_validation", "from_test")]
        return Survey(
            ids=all_noted.pop("ids", None),
            **all_noted,
            times=Times(*late) if late[0] is not None else None,  # type: ignore[arg-type]
            files=list(self._files),
            labels=list(self._labels),
            problems=self._problems,
            path=path,
        )

    def _chances(
        self, batch: pa.RecordBatch, ids: Draws | None, alike: Draws, plain: dict[str, pa.StringArray]
    ) -> Draws:
        """Draws by the row's key: its group, else what the task keeps together, else its id, else its text."""
        if self.task.kept_together:
            chances = draws(_joined([plain[self.task.kept_together]]))
        else:
            chances = alike if ids is None else np.where(_null(batch["id"])[:, None], alike, ids)
        if "group" not in self.data.columns:
            return chances
        return np.where(_null(batch["group"])[:, None], chances, draws(batch["group"].fill_null("")))

    def _row_problems(
        self, batch: pa.RecordBatch, texts: dict[str, pa.StringArray], plain: dict[str, pa.StringArray]
    ) -> Iterator[Problem]:
        missing = {
            name: pc.is_null(batch[name])
            for name in (*self.task.columns, *(key for key in ("id", "time") if key in self.data.columns))
            if name not in self.task.columns or self.task.columns[name].required
        }
        for name, nulls in missing.items():
            yield from self._each(nulls, "present", name, f"{name} is missing")
        for name, normalised in plain.items():
            blank = pc.equal(normalised, "")
            if self.task.columns[name].is_list:
                yield from self._blank_words(name, batch[name])
            elif self.task.columns[name].required:
                yield from self._each(blank, "present", name, f"{name} is blank")
            yield from self._text_problems(name, texts[name], blank, self.data.checks)
        for name in self.task.gold:
            if self.task.columns[name].is_text:
                written = as_text(batch[name])
                yield from self._text_problems(name, written, pc.equal(written, ""), self.data.checks)
        whole = ~np.logical_or.reduce([nulls.to_numpy(zero_copy_only=False) for nulls in missing.values()])
        yield from self._task_problems(batch, whole)

    def _blank_words(self, name: str, lists: pa.ListArray) -> Iterator[Problem]:
        yield from self._each(pc.equal(pc.list_value_length(lists), 0), "present", name, f"{name} has no words")
        blank = pc.equal(pc.utf8_trim_whitespace(pc.list_flatten(lists)), "")
        for row in pc.unique(pc.list_parent_indices(lists).filter(blank)).to_pylist():
            first = next(i for i, word in enumerate(lists[row].as_py(), start=1) if not word.strip())
            yield Problem(self.rows + row, "present", name, f"{name}: word {first} is blank")

    def _text_problems(
        self, name: str, text: pa.StringArray, blank: pa.BooleanArray, checks: Checks
    ) -> Iterator[Problem]:
        length = pc.utf8_length(text)
        there = pc.invert(blank)
        for row in _true(pc.and_(there, pc.less(length, checks.min_length))):
            reason = f"{name} has {length[row]} characters, fewer than {checks.min_length}"
            yield Problem(self.rows + row, "length", name, reason)
        for row in _true(pc.and_(there, pc.greater(length, checks.max_length))):
            reason = f"{name} has {length[row]} characters, more than {checks.max_length}"
            yield Problem(self.rows + row, "length", name, reason)
        for row in _true(pc.match_substring_regex(text, CONTROL)):
            found = re.search(CONTROL, text[row].as_py())
            code = f"U+{ord(found.group()):04X}" if found else ""
            yield Problem(self.rows + row, "control_characters", name, f"{name} holds the control character {code}")
        for row in _true(pc.match_substring_regex(text, BROKEN)):
            found = re.search(BROKEN, text[row].as_py())
            sample = found.group() if found else ""
            reason = f"{name} holds {sample!r}: read in another encoding than it was written in"
            yield Problem(self.rows + row, "encoding", name, reason)

    def _task_problems(self, batch: pa.RecordBatch, whole: NDArray[np.bool_]) -> Iterator[Problem]:
        names = list(self.task.columns)
        for row, values in enumerate(zip(*(batch[name].to_pylist() for name in names), strict=True)):
            if not whole[row]:
                continue
            reason = self.task.problem(dict(zip(names, values, strict=True)))
            if reason is not None:
                first = re.split(r"\W", reason, maxsplit=1)[0]
                yield Problem(self.rows + row, "task", first if first in names else names[0], reason)

    def _each(self, found: pa.BooleanArray, check: str, column: str, reason: str) -> Iterator[Problem]:
        for row in _true(found):
            yield Problem(self.rows + row, check, column, reason)


def as_text(values: pa.Array) -> pa.StringArray:
    """A column as texts: the words of a list with a space between them; answers as `Ada (at 0), she (at 12)`."""
    if not pa.types.is_list(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_string(values.type.value_type):
        return pc.binary_join(values, " ")
    cells = [
        None if cell is None else [f"{a['text']} (at {a['answer_start']})" for a in cell] for cell in values.to_pylist()
    ]
    return pc.binary_join(pa.array(cells, pa.list_(pa.string())), ", ")


def _words(text: pa.StringArray) -> pa.ListArray:
    """The words of each text, in lower case; of a blank one, a single empty word."""
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.utf8_lower(text)))


def _true(mask: pa.BooleanArray) -> Sequence[int]:
    """Where a mask holds; null does not."""
    rows: list[int] = np.flatnonzero(mask.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
    return rows


def _null(array: pa.Array) -> NDArray[np.bool_]:
    return pc.is_null(array).to_numpy(zero_copy_only=False)


def _joined(texts: Sequence[pa.StringArray]) -> pa.StringArray:
    """The text columns of each row as one string."""
    if len(texts) == 1:
        return texts[0].fill_null("")
    return pc.binary_join_element_wise(*texts, "\x1f", null_handling="replace", null_replacement="")


def _hashes(values: pa.StringArray) -> NDArray[np.uint64]:
    """A number for each value, equal where values are. Each distinct one is hashed once."""
    encoded = values.dictionary_encode()
    return draws(encoded.dictionary)[encoded.indices.to_numpy(), 0]


def _codes(values: pa.StringArray, known: dict[str, int], none: int = -1) -> NDArray[np.int64]:
    """A number for each value: its place in known, which grows by what is new; `none` for null."""
    encoded = values.dictionary_encode()
    table = np.array([known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()] + [none])
    return table[encoded.indices.fill_null(len(table) - 1).to_numpy()]
