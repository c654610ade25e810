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

import numpy as np

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)

Overlap = Callable[[str, str], float]


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


def best(overlap: Overlap, predicted: str, answers: Sequence[str]) -> float:
    """The score against the gold answer that fits best. A question without answers wants an empty prediction, and a
    gold answer of which normalising leaves nothing does not count beside others."""
    return max(overlap(predicted, gold) for gold in [each for each in answers if normalised(each)] or [""])


def best_null_threshold(odds: Sequence[float], f1: Sequence[float], is_answerable: Sequence[bool]) -> float:
    """The null threshold with the highest mean F1, as find_best_thresh of evaluate-v2.0.py finds it.

    A question is answered where its odds are not above the threshold. odds: how much likelier no answer is than the
    best one; f1: of that best one; is_answerable: whether the question has a gold answer. The least odds that will do
    are given, or what is below all of them where it is best to answer nothing.
    """
    # Answering a question gains its F1. Where it has no answer, it loses the 1 that silence earns.
    gains = np.where(is_answerable, f1, np.asarray(f1, dtype=float) - 1)
    distinct, which = np.unique(np.asarray(odds, dtype=float), return_inverse=True)
    total = np.cumsum(np.bincount(which, weights=gains))
    best_at = int(total.argmax())
    return float(distinct[best_at] if total[best_at] > 0 else distinct[0] - 1)
