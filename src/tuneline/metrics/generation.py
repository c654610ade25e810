"""How near generated texts come to their references: ROUGE, BLEU and chrF, by the reference implementations.

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

ROUGES = ("rouge1", "rouge2", "rougeLsum")
References = Sequence[Sequence[str]]  # of each row, one or more


@dataclass(frozen=True)
class Measured:
    """Scores of a whole split, one per row, and how they were counted."""

    metrics: dict[str, float]
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
    means = {name: float(points[name].mean()) for name in ROUGES}
    signature = f"rouge-score {version('rouge-score')}, stemmer, sentences by line"
    return Measured(means, points["rougeLsum"], dict.fromkeys(ROUGES, signature))


def bleu_and_chrf(predictions: Sequence[str], references: References, *, lowercase: bool = False) -> Measured:
    """BLEU and chrF of the whole, as sacreBLEU counts them; per row, its chrF. References of a row count together."""
    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    most = max(len(texts) for texts in references)
    streams: list[Any] = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    percent = {"bleu": bleu.corpus_score(predictions, streams), "chrf": chrf.corpus_score(predictions, streams)}
    metrics = {name: min(score.score / 100, 1.0) for name, score in percent.items()}  # it gives 100.00000000000004
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    rows = [chrf.sentence_score(prediction, texts).score / 100
            for prediction, texts in zip(predictions, references, strict=True)]  # fmt: skip
    return Measured(metrics, np.array(rows), signatures)


def _by_line(text: str) -> str:
    """ROUGE-Lsum takes lines for sentences."""
    return "\n".join(sentences(text))
