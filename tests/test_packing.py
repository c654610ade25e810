"""Blocks and back: nothing lost, nothing doubled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tuneline.packing import blocks, by_feature, labelled
from tuneline.tasks.base import IGNORED_LABEL, Feature

LABELS = st.one_of(st.just(IGNORED_LABEL), st.integers(0, 50))
FEATURES = st.lists(st.lists(st.tuples(st.integers(0, 50), LABELS), min_size=1, max_size=30), min_size=1, max_size=20)


def features_of(texts: list[list[tuple[int, int]]]) -> list[Feature]:
    return [
        {"row": row, "input_ids": [a for a, _ in text], "labels": [b for _, b in text]}
        for row, text in enumerate(texts)
    ]


def joined(features: list[Feature], name: str) -> list[int]:
    return [value for feature in features for value in feature[name]]


@given(FEATURES, st.integers(1, 40))
def test_blocks_hold_each_token_once_and_in_order(texts: list[list[tuple[int, int]]], length: int) -> None:
    features = features_of(texts)
    made = blocks(features, length)
    for name in ("input_ids", "labels"):
        assert joined(made, name) == joined(features, name)
    assert all(len(block["input_ids"]) == length for block in made[:-1])
    assert 1 <= len(made[-1]["input_ids"]) <= length


@given(FEATURES, st.integers(1, 40))
def test_training_leaves_out_less_than_a_block(texts: list[list[tuple[int, int]]], length: int) -> None:
    features = features_of(texts)
    made = blocks(features, length, whole=True)
    assert all(len(block["input_ids"]) == length for block in made)
    tokens = joined(features, "input_ids")
    kept = joined(made, "input_ids")
    assert kept == tokens[: len(kept)]
    assert len(tokens) - len(kept) < length


@given(FEATURES, st.integers(1, 40))
def test_outputs_of_blocks_come_back_to_their_features(texts: list[list[tuple[int, int]]], length: int) -> None:
    features = features_of(texts)

    def output(feature: Feature) -> np.ndarray:
        """The labelled tokens themselves, as what a model would answer."""
        pairs = zip(feature["input_ids"], feature["labels"], strict=True)
        return np.array([pair for pair in pairs if pair[1] != IGNORED_LABEL], dtype=float).reshape(-1, 2)

    found = by_feature([output(block) for block in blocks(features, length)], features)
    assert [each.tolist() for each in found] == [output(feature).tolist() for feature in features]
    assert [len(each) for each in found] == [labelled(feature["labels"]) for feature in features]


def test_no_features_are_no_blocks() -> None:
    assert blocks([], 8) == []
    assert by_feature([], []) == []
