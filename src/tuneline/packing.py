"""Blocks: the tokens of neighbouring rows as one stream, cut into pieces of one length, without padding.

    features  [a b c d e] [f g] [h i j]
    blocks    [a b c d] [e f g h] [i j]       of 4 tokens

As run_mlm.py and run_clm.py of transformers do it (group_texts).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.tasks.base import IGNORED_LABEL, Feature


def blocks(features: Sequence[Feature], length: int, *, whole: bool = False) -> list[Feature]:
    """The features' lists, one after the other, in blocks of `length` tokens. The last one may be shorter.

    whole: leave out a last block that is shorter, as training does.
    """
    if not features:
        return []
    names = [name for name, value in features[0].items() if isinstance(value, list)]
    streams = {name: np.concatenate([feature[name] for feature in features]).astype(int) for name in names}
    tokens = len(streams["input_ids"])
    end = tokens - tokens % length if whole else tokens
    return [
        {name: stream[start : start + length].tolist() for name, stream in streams.items()}
        for start in range(0, end, length)
    ]


def by_feature(outputs: Sequence[NDArray[Any]], features: Sequence[Feature]) -> list[NDArray[Any]]:
    """Outputs of blocks, in order, given back to the features that the blocks were made of.

    An output has one line for each token of its block that carries a label.
    """
    if not features:
        return []
    counts = [labelled(feature["labels"]) for feature in features]
    return np.split(np.concatenate(outputs), np.cumsum(counts)[:-1])


def labelled(labels: Sequence[int]) -> int:
    """How many tokens carry a label."""
    return len(labels) - list(labels).count(IGNORED_LABEL)
