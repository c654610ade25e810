"""Exact match and token F1, by hand."""

import pytest

from tuneline.metrics.overlap import best, exact_match, normalised, token_f1


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The  Denver Broncos!", "denver broncos"),
        ("an 'A' and a B", "and b"),
        ("theatre", "theatre"),  # an article is a whole word
        ("U.S.", "us"),  # punctuation goes first, and leaves no space
        ("the.", ""),
        ("«Été»", "«été»"),  # the scripts know ASCII punctuation alone
    ],
)
def test_an_answer_is_normalised_as_the_scripts_do(answer: str, plain: str) -> None:
    assert normalised(answer) == plain


@pytest.mark.parametrize(
    ("predicted", "gold", "exact", "f1"),
    [
        ("Denver Broncos!", "the Denver Broncos", 1, 1),
        # 2 words are shared; precision 2/3, recall 2/2: 2 · (2/3) · 1 / (2/3 + 1) = 0.8
        ("Broncos of Denver", "Denver Broncos", 0, 0.8),
        # `to` stands twice in one and once in the other: 1 shared; precision 1/2, recall 1/1
        ("to to", "to", 0, 2 / 3),
        ("Denver", "Carolina", 0, 0),
        ("", "Denver", 0, 0),
        ("Denver", "", 0, 0),
        ("", "", 1, 1),
    ],
)
def test_scores_worked_by_hand(predicted: str, gold: str, exact: float, f1: float) -> None:
    assert exact_match(predicted, gold) == exact
    assert token_f1(predicted, gold) == pytest.approx(f1)


def test_of_several_gold_answers_the_best_counts() -> None:
    assert best(exact_match, "1986", ["the year 1986", "1986"]) == 1
    # Shared with the first: 1 of 1 and 1 of 2, F1 2/3; with the second nothing.
    assert best(token_f1, "1986", ["year 1986", "then"]) == pytest.approx(2 / 3)


def test_a_question_without_answers_wants_an_empty_prediction() -> None:
    assert [best(measure, "", []) for measure in (exact_match, token_f1)] == [1, 1]
    assert [best(measure, "Denver", []) for measure in (exact_match, token_f1)] == [0, 0]


def test_a_gold_answer_of_articles_alone_does_not_count_beside_others() -> None:
    assert best(exact_match, "", ["the", "Denver"]) == 0
    assert best(exact_match, "", ["the"]) == 1  # evaluate-v2.0.py: no answer is left, so the empty one is right
