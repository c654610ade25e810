"""Which split a row belongs to, and which rows a limit keeps.

    key of a row: its group, else the column that its task keeps together (a context, for questions), else its id,
                  else its text in lower case with single spaces
    blake2b(key) = eight bytes that decide on test, eight on validation, eight on max_rows

A row's place depends on its own key alone. So rows that are appended never move old ones, and copies of a
text, or the rows of a group, fall on the same side.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tuneline.layout import SPLITS
from tuneline.params import MaxRows, Splits

TRAIN, VALIDATION, TEST = range(len(SPLITS))  # codes of the splits, from the least protected to the most
NO_SPLIT = -1

Draws = NDArray[np.uint64]  # (rows, 3), each uniform over 64 bits: for test, for validation, for max_rows


def draws(keys: pa.StringArray) -> Draws:
    """Three independent draws for each key: its 24 bytes of blake2b, read big-endian."""
    raw = b"".join(hashlib.blake2b(key.encode(), digest_size=24).digest() for key in keys.to_pylist())
    return np.frombuffer(raw, ">u8").reshape(-1, 3).astype(np.uint64)


@dataclass(frozen=True)
class Times:
    """Which rows are at or after `splits.validation_from` and `splits.test_from`. (rows,) each."""

    from_validation: NDArray[np.bool_]
    from_test: NDArray[np.bool_]


def assign(given: NDArray[np.int8], chances: Draws, splits: Splits, times: Times | None) -> NDArray[np.int8]:
    """The split code of every row. given: the split that the file's name tells, or NO_SPLIT.

    What files give is kept. Where no file gives a test split it is taken from the other rows, then
    validation likewise from the rows that are left: by time where params say from when, else by chance.
    """
    assigned = np.where(given == NO_SPLIT, TRAIN, given).astype(np.int8)
    if not (given == TEST).any():
        late = below(chances[:, 0], splits.test) if times is None else times.from_test
        assigned[late & (given != VALIDATION)] = TEST
    if not (given == VALIDATION).any():
        late = below(chances[:, 1], splits.validation) if times is None else times.from_validation
        assigned[late & (assigned == TRAIN)] = VALIDATION
    return assigned


def below(chance: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Whether each draw falls into the first `share` of all that can be drawn."""
    return chance < np.uint64(int(share * 2**64))


def limit(kept: NDArray[np.bool_], assigned: NDArray[np.int8], chances: Draws, max_rows: MaxRows) -> NDArray[np.bool_]:
    """Of the rows kept so far, at most max_rows of each split: those with the lowest third draw."""
    kept = kept.copy()
    for code, split in enumerate(SPLITS):
        most = getattr(max_rows, split)
        rows = np.flatnonzero(kept & (assigned == code))
        if most is not None and len(rows) > most:
            order = np.argsort(chances[rows, 2], kind="stable")
            kept[rows[order[most:]]] = False
    return kept
