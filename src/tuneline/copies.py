"""Rows that are wrong because of other rows: repeated ids and texts, conflicting labels, leaks.

    train.csv row 17   the same text stands in the test split: test.csv row 4

The test split is never altered for a copy, a leak or a conflict: the row outside it is refused.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuneline.layout import SPLITS
from tuneline.near_duplicates import Sketches
from tuneline.params import Data
from tuneline.row_checks import Survey
from tuneline.splitting import TEST, TRAIN, VALIDATION, assign, limit

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Relation:
    """Rows that are refused, or reported, because of another row each. (rows,) each."""

    check: str
    rows: Rows
    others: Rows
    similarity: NDArray[np.float32] | None = None  # for near copies
    refused: bool = True


@dataclass(frozen=True)
class Verdict:
    """Where every row goes, and why some go nowhere."""

    split: NDArray[np.int8]
    kept: Mask
    refused: Mask
    relations: list[Relation]
    leaked: Mask  # test rows whose text, or nearly, also stands in another split
    failed: dict[str, Mask] = field(default_factory=dict)  # by check: the rows that it finds fault with


def judge(survey: Survey, sketches: Sketches, data: Data, *, one_gold: bool = True) -> Verdict:
    """Split the rows, then refuse what is unsound, repeated, contradictory or leaked.

    one_gold: whether rows with the same text and other gold contradict each other.
    """
    failed = {check: _mask(survey, [p.row for p in survey.problems if p.check == check]) for check in ROW_CHECKS}
    sound = ~np.logical_or.reduce(list(failed.values()))
    relations = [_repeated_ids(survey, sound)]
    sound[relations[0].rows] = False
    split = assign(survey.given, survey.chances, data.splits, survey.times)

    texts = _texts(survey, split, sound)
    relations += [_conflicts(texts if one_gold else texts[:0]), _repeats(texts)]
    exact, leaked = _leaks(texts)
    relations.append(exact)
    refused = ~sound
    for relation in relations:
        refused[relation.rows] = True
    near_leaks, near_duplicates, nearly_leaked = _near(sketches, split, ~refused)
    relations += [near_leaks, near_duplicates]
    refused[near_leaks.rows] = True
    leaked = np.concatenate([leaked, nearly_leaked])
    for relation in relations:
        failed[relation.check] = failed.get(relation.check, False) | _mask(survey, relation.rows)
    kept = limit(~refused, split, survey.chances, data.max_rows)
    return Verdict(split, kept, refused, relations, _mask(survey, leaked), failed)


ROW_CHECKS = ("present", "length", "control_characters", "encoding", "task")
SHARED_LIMIT = (
    "present",
    "length",
    "encoding",
    "task",
    "id",
    "conflict",
)  # held together to max_rejected_share


def reason(survey: Survey, verdict: Verdict, relation: Relation, index: int) -> tuple[str | None, str]:
    """The column (None: the text columns) and the sentence for one row of a relation."""
    other = int(relation.others[index])
    place, label = survey.place(other), survey.label[other]
    labelled = f"is labelled {survey.labels[label]!r}" if label >= 0 else "is labelled otherwise"
    split = SPLITS[verdict.split[other]]
    nearly = f" ({relation.similarity[index]:.2f} alike)" if relation.similarity is not None else ""
    sentences: dict[str, tuple[str | None, str]] = {
        "id": ("id", f"id repeats that of {place}"),
        "conflict": (None, f"the same text {labelled} in {place}"),
        "duplicate": (None, f"repeats {place}"),
        "leaked": (
            None,
            f"{'nearly ' if nearly else ''}the same text stands in the {split} split: {place}{nearly}",
        ),
        "near_duplicate": (None, f"nearly repeats {place}{nearly}"),
    }
    return sentences[relation.check]


def _mask(survey: Survey, rows: Any) -> Mask:
    mask = np.zeros(len(survey), bool)
    mask[np.asarray(rows, np.int64)] = True
    return mask


def _repeated_ids(survey: Survey, sound: Mask) -> Relation:
    """Rows whose id an earlier sound row has."""
    if survey.ids is None:
        return Relation("id", np.zeros(0, np.int64), np.zeros(0, np.int64))
    rows = np.flatnonzero(sound)
    ids = pd.DataFrame({"row": rows, "high": survey.ids[rows, 0], "low": survey.ids[rows, 1]})
    first = ids.groupby(["high", "low"], sort=False)["row"].transform("first").to_numpy()
    again = first != rows
    return Relation("id", rows[again], first[again])


def _texts(survey: Survey, split: NDArray[np.int8], sound: Mask) -> pd.DataFrame:
    """The sound rows with a number for each distinct text, in raw order."""
    rows = np.flatnonzero(sound)
    texts = pd.DataFrame({"high": survey.text[rows, 0], "low": survey.text[rows, 1]})
    number = texts.groupby(["high", "low"], sort=False).ngroup()
    return pd.DataFrame({"row": rows, "text": number, "gold": survey.gold[rows], "split": split[rows]})


def _conflicts(texts: pd.DataFrame) -> Relation:
    """Rows outside the test split whose text stands elsewhere with other gold."""
    first = texts.drop_duplicates("text").set_index("text")
    differs = texts["gold"].to_numpy() != first["gold"].reindex(texts["text"]).to_numpy()
    second = texts[differs].drop_duplicates("text").set_index("text")
    conflicting = texts[texts["text"].isin(second.index) & (texts["split"] != TEST)]
    is_first_gold = conflicting["gold"].to_numpy() == first["gold"].reindex(conflicting["text"]).to_numpy()
    other = np.where(
        is_first_gold,
        second["row"].reindex(conflicting["text"]).to_numpy(),
        first["row"].reindex(conflicting["text"]).to_numpy(),
    )
    return Relation("conflict", conflicting["row"].to_numpy(), other.astype(np.int64))


def _repeats(texts: pd.DataFrame) -> Relation:
    """Rows outside the test split whose text and gold an earlier row of their split has."""
    first = texts.groupby(["text", "split", "gold"], sort=False)["row"].transform("first").to_numpy()
    again = (first != texts["row"].to_numpy()) & (texts["split"] != TEST).to_numpy()
    return Relation("duplicate", texts["row"].to_numpy()[again], first[again])


def _leaks(texts: pd.DataFrame) -> tuple[Relation, Rows]:
    """Rows whose text stands in a split more protected than their own; and the test rows so leaked."""
    rows, split = texts["row"].to_numpy(), texts["split"].to_numpy()
    first = {
        code: texts[split == code].drop_duplicates("text").set_index("text")["row"].reindex(texts["text"]).to_numpy()
        for code in (TRAIN, VALIDATION, TEST)
    }
    there = {code: ~np.isnan(rows_of) for code, rows_of in first.items()}
    into_test = there[TEST] & (split != TEST)
    into_validation = there[VALIDATION] & (split == TRAIN) & ~into_test
    other = np.where(into_test, first[TEST], first[VALIDATION])
    refused = into_test | into_validation
    leaked = rows[(split == TEST) & (there[TRAIN] | there[VALIDATION])]
    return Relation("leaked", rows[refused], other[refused].astype(np.int64)), leaked


def _near(sketches: Sketches, split: NDArray[np.int8], among: Mask) -> tuple[Relation, Relation, Rows]:
    """Near leaks (refused), near-duplicates inside the training split (kept), test rows nearly leaked."""
    pairs = sketches.pairs(split, among)
    a, b = split[pairs.first], split[pairs.second]
    swap = a > b  # the less protected row first
    low, high = np.where(swap, pairs.second, pairs.first), np.where(swap, pairs.first, pairs.second)
    order = np.lexsort((high, -np.maximum(a, b), low))
    leak = order[(a != b)[order]]
    leak = leak[np.unique(low[leak], return_index=True)[1]]  # one reason is enough: the most protected split
    within = np.flatnonzero((a == TRAIN) & (b == TRAIN))
    within = within[np.unique(pairs.second[within], return_index=True)[1]]
    into_test = np.unique(high[(a != b) & (split[high] == TEST)])
    return (
        Relation("leaked", low[leak], high[leak], pairs.similarity[leak]),
        Relation(
            "near_duplicate",
            pairs.second[within],
            pairs.first[within],
            pairs.similarity[within],
            refused=False,
        ),
        into_test,
    )
