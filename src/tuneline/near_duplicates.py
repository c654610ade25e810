"""Near-duplicate rows: MinHash finds candidates, then their real word 3-grams are compared.

    "The plot is thin, the cast is not."  →  {the plot is, plot is thin, is thin the, ...}
    Jaccard similarity = shared 3-grams / all 3-grams of both

One-permutation hashing (Li, Owen, Zhang 2012, arXiv:1208.1259) with densification by rotation (Shrivastava,
Li 2014, arXiv:1406.4784) gives 32 minima per row, and locality-sensitive hashing of bands of them gives
the candidates. No pair is reported whose own 3-grams are not that similar.

Own code, because of Python's share in the libraries: for 1,000,000 IMDB texts on one core, cutting texts into
3-grams in Python takes 90 to 120 s before anything is hashed; then datasketch 2.0 takes 200 s and
rensa 0.5 takes 3 s. Here all of it takes about 30 s and 45 bytes a row, beside a file of 3-grams on disk.
Words are told apart by spaces, so texts of languages written without them are compared as a whole.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BUCKETS = 32
BUCKET_BITS = 5
EMPTY = np.uint32(2**32 - 1)
ROTATED = np.uint32(0x3C6EF35F)  # added for each step that an empty bucket borrows over
RECALL = 0.97  # chance that two rows just as similar as asked become candidates
UPPER, LOWER = (
    np.uint64(32),
    np.uint64(2**32 - 1),
)  # two numbers in one: shift for the upper, mask for the lower
CHUNK = 2_000_000  # 3-grams compared at once

U64 = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicate rows, the earlier row first. (pairs,) each."""

    first: Rows
    second: Rows
    similarity: NDArray[np.float32]


class Sketches:
    """Sketches of rows that come in batches. The 3-grams themselves go to a file, to be compared later."""

    def __init__(self, folder: Path, similarity: float, columns: int) -> None:
        self.similarity = similarity
        self.columns = columns
        self.band_rows = band_rows(similarity)
        self._file = (folder / "three_grams").open("w+b")
        self._sizes: list[NDArray[np.uint32]] = []  # 3-grams of every text
        self._bands: list[NDArray[np.uint32]] = []
        self._empty: list[NDArray[np.bool_]] = []

    def __enter__(self) -> "Sketches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, texts: Sequence[pa.ListArray]) -> None:
        """Add a batch of rows: for each text column, the words of every row, in lower case."""
        rows = len(texts[0])
        keys = _distinct(
            np.concatenate([three_grams(words, number, self.columns) for number, words in enumerate(texts)])
        )
        text_of = (keys >> UPPER).astype(np.int64)
        self._sizes.append(np.bincount(text_of, minlength=rows * self.columns).astype(np.uint32))
        self._file.write((keys & LOWER).astype(np.uint32).tobytes())
        if self.columns > 1:
            row_of = (text_of // self.columns).astype(np.uint64)
            keys = np.sort(row_of << UPPER | keys & LOWER)
        minima = signatures(keys, rows)
        self._empty.append(minima[0] == EMPTY)
        self._bands.append(bands(minima, self.band_rows))

    def pairs(self, sides: NDArray[np.int8], among: NDArray[np.bool_]) -> Pairs:
        """Near-duplicates among the chosen rows.

        sides: the split of every row. Of a group of alike rows, each is paired with the first one of every
        split, and where that finds nothing with the one before it, not with all others: enough to know
        which rows have a copy in which split, and linear in the rows.
        """
        self._file.flush()
        eligible = among & ~np.concatenate(self._empty)
        leaders, neighbours = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        for band in range(BUCKETS // self.band_rows):
            members = _members(np.concatenate([batch[band] for batch in self._bands]), eligible)
            leaders = _distinct(np.concatenate([leaders, _with_leaders(*members, sides)]))
            neighbours = _distinct(np.concatenate([neighbours, _with_neighbours(*members)]))
        pairs = self._alike(leaders)
        alone = np.ones(len(sides), bool)
        alone[pairs.first] = alone[pairs.second] = False
        late = (neighbours & LOWER).astype(np.int64)
        more = self._alike(np.setdiff1d(neighbours[alone[late]], leaders))
        return Pairs(*(np.concatenate(both) for both in zip(astuple(pairs), astuple(more), strict=True)))

    def _alike(self, candidates: U64) -> Pairs:
        """Those candidates that are near-duplicates indeed."""
        first = (candidates >> UPPER).astype(np.int64)
        second = (candidates & LOWER).astype(np.int64)
        similarity = self._similarities(first, second)
        alike = similarity >= np.float32(self.similarity)
        return Pairs(first[alike], second[alike], similarity[alike])

    def _similarities(self, first: Rows, second: Rows) -> NDArray[np.float32]:
        """Jaccard similarity of each pair of rows: that of the text column in which they differ most."""
        sizes = np.concatenate(self._sizes).astype(np.int64) if self._sizes else np.zeros(0, np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        lowest = np.ones(len(first), np.float32)
        for column in range(self.columns):
            a, b = first * self.columns + column, second * self.columns + column
            for part in _chunks(sizes[a] + sizes[b]):
                shared = self._shared(a[part], b[part], sizes, offsets)
                union = sizes[a[part]] + sizes[b[part]] - shared
                alike = np.where(union > 0, shared / np.maximum(union, 1), 1)
                lowest[part] = np.minimum(lowest[part], alike)
        return lowest

    def _shared(self, a: Rows, b: Rows, sizes: Rows, offsets: Rows) -> Rows:
        """How many 3-grams the texts a[i] and b[i] share."""
        texts, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        stored = [os.pread(self._file.fileno(), 4 * int(sizes[t]), 4 * int(offsets[t])) for t in texts]
        grams = np.frombuffer(b"".join(stored), np.uint32).astype(np.uint64)
        starts = np.cumsum(sizes[texts]) - sizes[texts]
        lengths = sizes[texts][where]
        number = np.tile(np.arange(len(a), dtype=np.uint64), 2)
        places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - starts[where], lengths)
        keys = np.sort(np.repeat(number, lengths) << UPPER | grams[places])
        twice = keys[1:][keys[1:] == keys[:-1]]
        return np.bincount((twice >> UPPER).astype(np.int64), minlength=len(a))


def three_grams(words: pa.ListArray, column: int = 0, columns: int = 1) -> U64:
    """All word 3-grams of a batch: the number of the text in the upper 32 bits, a hash in the lower 32.

    Texts of one or two words give one shorter gram, texts without words none.
    """
    flat = words.flatten().dictionary_encode()
    spelled = pc.replace_substring_regex(flat.dictionary, r"[^\pL\pM\pN]+", "")
    hashes = pd.util.hash_array(spelled.to_numpy(zero_copy_only=False), categorize=False)
    codes = flat.indices.to_numpy()
    is_word = pc.not_equal(spelled, "").to_numpy(zero_copy_only=False)[codes]
    text = np.repeat(np.arange(len(words), dtype=np.uint64), pc.list_value_length(words).fill_null(0))[is_word]
    word = hashes[codes][is_word]
    two_more = np.zeros((2, len(word)), np.uint64)  # the next two words of the same text, 0 past its end
    for step in (1, 2):
        same = text[step:] == text[:-step]
        two_more[step - 1, :-step] = np.where(same, word[step:], 0)
    whole = (two_more[1] != 0) | _firsts(text)
    gram = mix(word + mix(two_more[0] + mix(two_more[1] + np.uint64(column))))[whole]
    number = text[whole] * np.uint64(columns) + np.uint64(column)
    return number << UPPER | gram >> UPPER


def mix(values: U64) -> U64:
    """splitmix64's finalizer (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)


def signatures(keys: U64, rows: int) -> NDArray[np.uint32]:
    """The least hash of each bucket, (BUCKETS, rows). keys: sorted, row above and hash below 32 bits."""
    slots = keys >> np.uint64(32 - BUCKET_BITS)
    least = _firsts(slots)
    minima = np.full(rows * BUCKETS, EMPTY)
    within = np.uint64(2 ** (32 - BUCKET_BITS) - 1)  # the part of a hash that does not tell its bucket
    minima[slots[least].astype(np.int64)] = (keys[least] & within).astype(np.uint32)
    minima = np.ascontiguousarray(minima.reshape(rows, BUCKETS).T)
    for turn in reversed(range(2 * BUCKETS)):  # twice around, so that the last bucket borrows from the first
        bucket, lender = minima[turn % BUCKETS], minima[(turn + 1) % BUCKETS]
        borrows = (bucket == EMPTY) & (lender != EMPTY)
        bucket[borrows] = lender[borrows] + ROTATED
    return minima


def band_rows(similarity: float) -> int:
    """Minima per band: the most, of 4, 2 and 1, that still finds a pair just this similar with RECALL."""
    for rows in (4, 2):
        if 1 - (1 - similarity**rows) ** (BUCKETS // rows) >= RECALL:
            return rows
    return 1


def bands(minima: NDArray[np.uint32], rows_each: int) -> NDArray[np.uint32]:
    """One hash for each band of minima, (bands, rows)."""
    grouped = minima.astype(np.uint64).reshape(BUCKETS // rows_each, rows_each, -1)
    key = np.zeros((grouped.shape[0], grouped.shape[2]), np.uint64)
    for place in range(rows_each):
        key = mix(key + grouped[:, place] + np.uint64(0x9E3779B97F4A7C15))
    return (key >> UPPER).astype(np.uint32)


def _members(keys: NDArray[np.uint32], eligible: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Rows that share their key with another one, and the number of their group, by group and row."""
    ordered = np.sort(keys[eligible].astype(np.uint64) << UPPER | np.flatnonzero(eligible).astype(np.uint64))
    key, row = ordered >> UPPER, (ordered & LOWER).astype(np.int64)
    first = _firsts(key)
    shared = ~(first & np.append(first[1:], True))
    return row[shared], np.cumsum(first[shared]) - 1


def _with_leaders(row: Rows, group: Rows, sides: NDArray[np.int8]) -> U64:
    """Each row with the first row of its group in every split."""
    found = [np.zeros(0, np.uint64)]
    for side in np.unique(sides):
        of_side = np.flatnonzero(sides[row] == side)
        of_side = of_side[_firsts(group[of_side])]
        leader = np.full(int(group.max(initial=-1)) + 1, -1)
        leader[group[of_side]] = row[of_side]
        other = leader[group]
        met = (other >= 0) & (other != row)
        found.append(_pack(np.minimum(row, other)[met], np.maximum(row, other)[met]))
    return np.concatenate(found)


def _with_neighbours(row: Rows, group: Rows) -> U64:
    """Each row with the one before it in its group."""
    again = np.flatnonzero(group[1:] == group[:-1]) + 1
    return _pack(row[again - 1], row[again])


def _pack(first: Rows, second: Rows) -> U64:
    """A pair of rows as one number: the first in the upper 32 bits, the second in the lower."""
    return first.astype(np.uint64) << UPPER | second.astype(np.uint64)


def _distinct(keys: U64) -> U64:
    keys = np.sort(keys)
    return keys[_firsts(keys)]


def _firsts(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a new value begins in an array whose equal values stand together."""
    return np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])


def _chunks(sizes: Rows) -> Iterator[slice]:
    """Slices whose sizes add up to about CHUNK."""
    if not len(sizes):
        return
    ends = np.flatnonzero(np.diff(np.cumsum(sizes) // CHUNK, append=-1)) + 1
    start = 0
    for end in ends:
        yield slice(start, int(end))
        start = int(end)
