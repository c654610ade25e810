"""Exact match and token F1, by hand."""

import string

import numpy as np
import pytest

from tuneline.metrics.overlap import best, best_null_threshold, exact_match, normalised, token_f1


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


# Against the rules as the official scripts' texts state them, written anew without a look at our code: the answer is
# read character by character, and shared words are struck off a list.


def plain_words(answer: str) -> list[str]:
    kept = "".join(letter for letter in answer.lower() if letter not in set(string.punctuation))
    out, word = [], ""
    for letter in [*kept, " "]:
        if letter.isalnum() or letter == "_":
            word += letter
            continue
        out.append(" " if word in ("a", "an", "the") else word)
        out.append(letter)
        word = ""
    return "".join(out).split()


def reference_exact(predicted: str, gold: str) -> float:
    return float(plain_words(predicted) == plain_words(gold))


def reference_f1(predicted: str, gold: str) -> float:
    ours, theirs = plain_words(predicted), plain_words(gold)
    if not ours or not theirs:
        return float(ours == theirs)
    left, shared = list(theirs), 0
    for word in ours:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


PUBLISHED = [  # answers of the first questions of SQuAD 1.1's development set, as annotators gave them
    "Denver Broncos",
    "The Denver Broncos",
    "Carolina Panthers",
    "Santa Clara, California",
    "Levi's Stadium",
    "Levi's Stadium in the San Francisco Bay Area at Santa Clara, California.",
    "gold",
    "golden anniversary",
    '"golden anniversary"',
    "gold-themed",
    "February 7, 2016",
    "February 7",
    "American Football Conference",
    "2015 season",
    "the 2015 season",
    "Super Bowl 50",
    "Super Bowl L",
    "15–1",
    "$5 million",
    "308",
    "Von Miller",
    "a the an",
    "",
    "L'État, c'est moi",
    "naïve_name",
    "U.S. – an overview",
]


@pytest.mark.parametrize("gold", PUBLISHED)
def test_scores_are_those_of_the_official_rules_on_published_answers(gold: str) -> None:
    for predicted in PUBLISHED:
        assert exact_match(predicted, gold) == reference_exact(predicted, gold)
        assert token_f1(predicted, gold) == pytest.approx(reference_f1(predicted, gold))


def test_scores_are_those_of_the_official_rules_on_random_answers() -> None:
    generator = np.random.default_rng(0)
    pieces = ["the", "a", "An", "Denver", "denver", "1986", ",", "—", "'", "-", " ", "  ", "\t", "x_y", "é"]
    for _ in range(2_000):
        predicted, gold = ("".join(generator.choice(pieces, generator.integers(0, 9))) for _ in range(2))
        assert exact_match(predicted, gold) == reference_exact(predicted, gold), (predicted, gold)
        assert token_f1(predicted, gold) == pytest.approx(reference_f1(predicted, gold)), (predicted, gold)


def test_the_published_example_of_the_metric_scores_as_published() -> None:
    """The worked examples of the metric cards `squad` and `squad_v2` of Hugging Face's evaluate."""
    answers = [("1976", "1976"), ("Beyonce", "Beyoncé and Bruno Mars"), ("climate change", "climate change")]
    for measure in (exact_match, token_f1):
        assert 100 * np.mean([best(measure, said, [gold]) for said, gold in answers]) == pytest.approx(
            66.66666666666667
        )
        assert best(measure, "1976", ["1976"]) == 1
        assert best(measure, "1999", ["1976"]) == 0


def first_script_f1(predicted: str, gold: str) -> float:
    """As evaluate-v1.1.py counts it: nothing shared scores 0, also where there is nothing to share."""
    return reference_f1(predicted, gold) if plain_words(predicted) and plain_words(gold) else 0.0


def test_the_two_scripts_differ_where_both_answers_are_empty_and_we_count_as_the_second() -> None:
    # Of "the" and "a" normalising leaves nothing. Exact match: "" is "", in both scripts. F1: nothing is shared, which
    # the script of 1.1 calls 0; that of 2.0 compares the two empty lists, 1. We count as the latter.
    assert exact_match("a", "the") == 1
    assert (first_script_f1("a", "the"), token_f1("a", "the")) == (0, 1)
    for gold in PUBLISHED:
        for predicted in PUBLISHED:
            if plain_words(gold) or plain_words(predicted):
                assert token_f1(predicted, gold) == pytest.approx(first_script_f1(predicted, gold))


def test_an_empty_gold_answer_beside_others_is_left_out_as_in_the_second_script() -> None:
    answers = ["the", "Denver"]
    assert max(exact_match("a", gold) for gold in answers) == 1  # as the script of 1.1 takes the best
    assert best(exact_match, "a", answers) == 0


# The null threshold


def official_best(odds: list[float], f1: list[float], is_answerable: list[bool]) -> tuple[float, float | None]:
    """Best mean F1 and threshold as find_best_thresh of evaluate-v2.0.py walks to them: from the surest answer on."""
    current = best_sum = float(sum(not each for each in is_answerable))
    threshold = None
    for i in sorted(range(len(odds)), key=lambda i: odds[i]):
        current += f1[i] if is_answerable[i] else -1
        if current > best_sum:
            best_sum, threshold = current, odds[i]
    return best_sum / len(odds), threshold


def mean_f1(threshold: float, odds: list[float], f1: list[float], is_answerable: list[bool]) -> float:
    lines = zip(odds, f1, is_answerable, strict=True)
    return float(np.mean([(score if each <= threshold else 0.0) if a else float(each > threshold)
                          for each, score, a in lines]))  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_the_null_threshold_is_that_of_the_official_script(seed: int) -> None:
    generator = np.random.default_rng(seed)
    is_answerable = (generator.random(40) < 0.6).tolist()
    odds = (generator.normal(0, 2, 40) - 2 * np.array(is_answerable)).tolist()
    f1 = (generator.choice([0, 0.5, 1], 40) * is_answerable).tolist()
    best_mean, threshold = official_best(odds, f1, is_answerable)
    found = best_null_threshold(odds, f1, is_answerable)
    assert threshold is None or found == threshold
    assert mean_f1(found, odds, f1, is_answerable) == pytest.approx(best_mean)


def test_a_null_threshold_worked_by_hand() -> None:
    # Silence alone: 2 of 4. With the first answered 3, the second 3.5, the third (no answer) 2.5, the fourth 1.5.
    assert best_null_threshold([-3, -1, 0.5, 2], [1, 0.5, 0, 0], [True, True, False, False]) == -1
    assert best_null_threshold([-3.0, 0.0], [0, 0], [True, False]) == -4  # below all: to answer nothing is best


def test_questions_with_the_same_odds_are_answered_together() -> None:
    # Of the two at 0 the first alone would raise the sum, both together do not: only the one at -1 is answered.
    assert best_null_threshold([-1, 0, 0, 0], [1, 1, 0, 0], [True, True, False, False]) == -1
