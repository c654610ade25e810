"""What a model says of the words of tagged rows: out of windows, and all words of a split in one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.classification import Codes, Scores
from tuneline.tasks.base import Feature, Prediction, Row, by_row

NO_WORD = -1  # at positions that no word's first piece stands on


def logits_of_words(
    outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row]
) -> list[NDArray[Any]]:
    """Of each row, the logits of its words, (words, tags): nan for a word without a piece. One that stands in two
    windows is read in the one where it is farther from the edge."""
    found, remaining = [], iter(outputs)
    for row, windows in zip(rows, by_row(features), strict=True):
        read = [(window["words"], next(remaining)) for window in windows]
        logits = np.full((len(row["tokens"]), read[0][1].shape[-1]), np.nan)
        farthest = [-1] * len(logits)
        for words, output in read:
            for position, word in enumerate(words):
                from_edge = min(position, len(words) - 1 - position)
                if word != NO_WORD and from_edge > farthest[word]:
                    logits[word], farthest[word] = output[position], from_edge
        found.append(logits)
    return found


@dataclass(frozen=True)
class ToldWords:
    """The words that have probabilities."""

    probabilities: Scores  # (words, tags)
    gold: Codes  # (words,), -1 for a tag that no training row has
    row: Codes  # the row of each, (words,)
    word: Codes  # its place in the row, (words,)


def told_words(predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> ToldWords | None:
    """None where no word has probabilities."""
    chances = [each for p, row in zip(predictions, rows, strict=True)
               for each in p.get("probabilities") or [None] * len(row["tokens"])]  # fmt: skip
    kept = np.array([each is not None for each in chances], dtype=bool)
    if not kept.any():
        return None
    lengths = [len(row["tokens"]) for row in rows]
    place = np.array([(number, word) for number, length in enumerate(lengths) for word in range(length)])[kept]
    probabilities = np.array([each for each in chances if each is not None], dtype=np.float64)
    return ToldWords(probabilities, tag_codes(rows, labels)[kept], place[:, 0], place[:, 1])


def tag_codes(rows: Sequence[Row], labels: Sequence[str]) -> Codes:
    """The code of each word's gold tag, row after row; -1 for a tag that no training row has."""
    code = {tag: number for number, tag in enumerate(labels)}
    return np.array([code.get(tag, -1) for row in rows for tag in row["tags"]], dtype=np.int64)
