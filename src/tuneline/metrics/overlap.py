"""How much of a gold answer a predicted one has: exact match and token F1, as the official SQuAD scripts count them.

    gold "the Denver Broncos", predicted "Denver Broncos!"   exact match 1, F1 1
    gold "Denver Broncos", predicted "Broncos of Denver"     exact match 0, F1 0.8

Sources: evaluate-v1.1.py (Rajpurkar et al. 2016, arXiv:1606.05250), evaluate-v2.0.py (Rajpurkar et al. 2018,
arXiv:1806.03822). Scores are shares, from 0 to 1; the scripts print percent.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)

Measure = Callable[[str, str], float]


def normalised(answer: str) -> str:
    """Lower case, without punctuation and articles, with single spaces: in this order."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, gold: str) -> float:
    """1 where both are the same once normalised, else 0."""
    return float(normalised(predicted) == normalised(gold))


def token_f1(predicted: str, gold: str) -> float:
    """The harmonic mean of precision and recall over words. Where one side has none: 1 if neither has, else 0."""
    ours, theirs = normalised(predicted).split(), normalised(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def best(measure: Measure, predicted: str, answers: Sequence[str]) -> float:
    """The score against the gold answer that fits best. A question without answers wants an empty prediction, and a
    gold answer of which normalising leaves nothing does not count beside others."""
    return max(measure(predicted, gold) for gold in [each for each in answers if normalised(each)] or [""])
