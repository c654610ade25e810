"""Entities and their scores, against seqeval's strict mode and by hand."""

import random
from typing import Any

import pytest
from seqeval import metrics as reference
from seqeval import scheme as schemes

from tuneline.metrics.spans import SCHEMES, Span, agreement, legal, likely_scheme, matches, measures, spans, stray
from tuneline.metrics.weighted import once

THEIRS = {"BIO": schemes.IOB2, "IOB1": schemes.IOB1, "BIOES": schemes.IOBES}


def sequences(scheme: str, seed: int, count: int = 300) -> list[list[str]]:
    """Tags at random, most of them not legal."""
    rng = random.Random(seed)
    tags = ["O", *(f"{prefix}-{type_}" for prefix in SCHEMES[scheme].prefixes for type_ in ("PER", "LOC"))]
    return [rng.choices(tags, k=rng.randint(1, 8)) for _ in range(count)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scores_are_those_of_seqeval_in_strict_mode(scheme: str) -> None:
    gold, predicted = sequences(scheme, 0), sequences(scheme, 1)
    for each, guess in zip(gold[:150], predicted, strict=False):
        guess[: len(each)] = each[: len(guess)]  # some agreement
    predicted = [(guess + ["O"] * len(each))[: len(each)] for each, guess in zip(gold, predicted, strict=True)]
    options: dict[str, Any] = {"mode": "strict", "scheme": THEIRS[scheme], "zero_division": 0}
    table = reference.classification_report(gold, predicted, output_dict=True, **options)
    found = [matches(each, guess, scheme) for each, guess in zip(gold, predicted, strict=True)]
    ours = agreement(found)
    for name in ("PER", "LOC"):
        expected = {key: table[name][key] for key in ("precision", "recall", "support")}
        assert ours[name] == pytest.approx({**expected, "f1": table[name]["f1-score"]})
    together = {name: once(measure, len(gold)) for name, measure in measures(found).items()}
    theirs = table["micro avg"]
    assert together == pytest.approx(
        {"f1": theirs["f1-score"], "precision": theirs["precision"], "recall": theirs["recall"]}
    )
    assert 0 < together["f1"] < 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_entity_is_one_that_seqeval_finds(scheme: str) -> None:
    for tags in sequences(scheme, 2):
        theirs = [entity.to_tuple()[1:] for entity in schemes.Tokens(tags, THEIRS[scheme]).entities]
        assert [(span.type, span.start, span.end) for span in spans(tags, scheme)] == theirs


def test_an_entity_ends_before_another_begins() -> None:
    assert spans(["B-PER", "I-PER", "B-PER", "O", "B-LOC"], "BIO") == [
        Span("PER", 0, 2), Span("PER", 2, 3), Span("LOC", 4, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "tags", "word"),
    [
        ("BIO", ["B-PER", "I-PER", "O"], None),
        ("BIO", ["O", "I-PER"], 1),
        ("BIO", ["B-LOC", "I-PER"], 1),
        ("IOB1", ["O", "I-PER", "I-PER", "B-PER"], None),
        ("IOB1", ["B-PER"], 0),
        ("BIOES", ["B-PER", "E-PER", "S-LOC"], None),
        ("BIOES", ["B-PER", "O"], 0),
        ("BIOES", ["S-PER", "E-PER"], 1),
    ],
)
def test_the_first_tag_outside_every_entity_is_stray(scheme: str, tags: list[str], word: int | None) -> None:
    assert stray(tags, scheme) == word


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_was_made_legal_has_no_stray_tag_and_stays(scheme: str) -> None:
    for tags in sequences(scheme, 3):
        mended = legal(tags, scheme)
        assert stray(mended, scheme) is None
        assert legal(mended, scheme) == mended
        assert [tag == "O" for tag in tags] == [tag == "O" for tag in mended]
        if stray(tags, scheme) is None:
            assert mended == tags


def test_an_i_without_a_b_opens_an_entity() -> None:
    assert legal(["O", "I-PER", "I-PER", "I-LOC"], "BIO") == ["O", "B-PER", "I-PER", "B-LOC"]


def test_a_word_without_a_tag_is_outside() -> None:
    assert spans(["B-PER", None, "I-PER"], "BIO") == [Span("PER", 0, 1)]


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        ([["O", "B-PER", "I-PER"], ["O"]], "BIO"),
        ([["O", "I-PER"], ["I-LOC", "B-LOC"]], "IOB1"),
        ([["O", "S-PER"]], "BIOES"),
        ([["NOUN", "VERB"]], "plain"),
        ([["O", "O"]], "BIO"),
    ],
)
def test_tags_show_the_scheme_they_are_written_in(sequences: list[list[str]], scheme: str) -> None:
    assert likely_scheme(sequences) == scheme
