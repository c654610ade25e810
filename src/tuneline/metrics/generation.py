"""How near generated texts come to their references: ROUGE, BLEU and chrF, as the reference implementations count.

    "a lamp is lit", reference "the lamp is lit"    rouge1 0.75, rouge2 0.667

All run from 0 to 1; sacreBLEU prints percent. Sources: Lin 2004 (ROUGE), Papineni et al. 2002 (BLEU), Popović 2015
(chrF), Post 2018 (sacreBLEU and its signatures).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from tuneline.metrics.sentences import sentences
from tuneline.metrics.weighted import Measure, Values, divided, mean, of_sums

ROUGES = ("rouge1", "rouge2", "rougeLsum")
References = Sequence[Sequence[str]]  # of each row, one or more


BLEU_ORDER, CHRF_ORDER, CHRF_BETA = 4, 6, 2


@dataclass(frozen=True)
class Measured:
    """Metrics of a whole split, one score per row, and how they were counted."""

    measures: dict[str, Measure]
    per_row: NDArray[Any]
    signatures: dict[str, str]


def rouge(predictions: Sequence[str], references: References) -> Measured:
    """Mean F of ROUGE-1, ROUGE-2 and ROUGE-Lsum, with stemming; per row, ROUGE-Lsum.

    Of several references the best one counts, for each of the three by itself, as rouge-score has it. It looks at the
    letters a to z and at digits alone: of texts in other alphabets it says nothing.
    """
    scorer = RougeScorer(list(ROUGES), use_stemmer=True)
    scores = [
        scorer.score_multi([_by_line(text) for text in texts], _by_line(prediction))
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    points = {name: np.array([score[name].fmeasure for score in scores]) for name in ROUGES}
    signature = f"rouge-score {version('rouge-score')}, stemmer, sentences by line"
    measures: dict[str, Measure] = {name: mean(points[name]) for name in ROUGES}
    return Measured(measures, points["rougeLsum"], dict.fromkeys(ROUGES, signature))


def bleu_and_chrf(predictions: Sequence[str], references: References, *, lowercase: bool = False) -> Measured:
    """BLEU and chrF of the whole, as sacreBLEU counts them; per row, its chrF. References of a row count together."""
    counters = {"bleu": BLEU(lowercase=lowercase), "chrf": CHRF(CHRF_ORDER, beta=CHRF_BETA)}
    most = max(len(texts) for texts in references)
    streams: list[Any] = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    counts = {
        name: np.array(counter._extract_corpus_statistics(predictions, streams)) for name, counter in counters.items()
    }  # (rows, sums): corpus_score adds these and applies the formula
    measures = {"bleu": of_sums(bleu, *counts["bleu"].T), "chrf": of_sums(chrf, *counts["chrf"].T)}
    signatures = {name: str(counter.get_signature()) for name, counter in counters.items()}
    return Measured(measures, chrf(counts["chrf"].T), signatures)


def bleu(sums: NDArray[Any]) -> Values:
    """BLEU from the lengths of predictions and references, then right and all n-grams of each order.

    sums: (2 + 2 * BLEU_ORDER, texts) to (texts,), each text being a whole corpus. Without a right n-gram of some order
    that order counts as half a one, then a quarter, as in mteval-v13a.pl: the smoothing of sacreBLEU's default.
    """
    length, reference_length = sums[:2]
    right, all_ = sums[2 : 2 + BLEU_ORDER], sums[2 + BLEU_ORDER :]
    smoothed = 0.5 ** np.cumsum(right == 0, axis=0)
    precisions = np.where(right > 0, right, smoothed) / np.maximum(all_, 1)
    brevity = np.exp(np.minimum(1 - reference_length / np.maximum(length, 1), 0))
    is_defined = (right > 0).any(axis=0) & (all_ > 0).all(axis=0)  # 0 without a match, or an order without an n-gram
    return np.where(is_defined, brevity * np.exp(np.log(precisions).mean(axis=0)), 0.0)


def chrf(sums: NDArray[Any]) -> Values:
    """chrF from the character n-grams of predictions, of references, and in both, order by order.

    sums: (3 * CHRF_ORDER, texts) to (texts,), each text being a whole corpus. Precision and recall are means over the
    orders that both sides have n-grams of.
    """
    ours, theirs, both = sums.reshape(CHRF_ORDER, 3, -1).swapaxes(0, 1)
    counts = (ours > 0) & (theirs > 0)
    precision, recall = (
        divided((counts * divided(both, side, 0.0)).sum(axis=0), counts.sum(axis=0), 0.0) for side in (ours, theirs)
    )
    factor = CHRF_BETA**2
    score = divided((1 + factor) * precision * recall, factor * precision + recall, 0.0)
    return np.minimum(score, 1.0)  # rounding gives a little more


def _by_line(text: str) -> str:
    """ROUGE-Lsum takes lines for sentences."""
    return "\n".join(sentences(text))
