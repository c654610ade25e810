"""ROUGE, BLEU and chrF: by hand, as the reference implementations count them, and over several references."""

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from tuneline.baselines import BASELINES
from tuneline.metrics.generation import Measured, bleu_and_chrf, rouge
from tuneline.metrics.sentences import sentences
from tuneline.metrics.weighted import once

PREDICTIONS = ["the cat sat on the mat .", "there is a dog", "He left. She stayed at home!"]
REFERENCES = [["the cat is on the mat ."], ["a dog is there", "there was a dog"], ["She stayed at home. He left."]]


def metrics(measured: Measured) -> dict[str, float]:
    return {name: once(measure, len(measured.per_row)) for name, measure in measured.measures.items()}


def test_rouge_by_hand() -> None:
    # "a lamp is lit" and "the lamp is lit": 3 of 4 words, 2 of 3 pairs, and a common run of 3 words of 4
    measured = rouge(["a lamp is lit"], [["the lamp is lit"]])
    assert metrics(measured) == pytest.approx({"rouge1": 3 / 4, "rouge2": 2 / 3, "rougeLsum": 3 / 4})
    assert measured.per_row.tolist() == pytest.approx([3 / 4])


def test_rouge_takes_the_best_reference_of_each_row_as_rouge_score_does() -> None:
    scorer = RougeScorer(["rouge1", "rouge2"], use_stemmer=True)
    best = [scorer.score_multi(texts, said) for said, texts in zip(PREDICTIONS, REFERENCES, strict=True)]
    measured = rouge(PREDICTIONS, REFERENCES)
    for name in ("rouge1", "rouge2"):
        assert metrics(measured)[name] == pytest.approx(sum(score[name].fmeasure for score in best) / 3)
    alone = rouge(PREDICTIONS, [texts[:1] for texts in REFERENCES])
    assert measured.per_row[1] > alone.per_row[1] and measured.per_row[0] == alone.per_row[0]


def test_rouge_lsum_does_not_mind_the_order_of_sentences() -> None:
    # Sentence by sentence all six words are found; of the text as one line, the longest common run has four.
    measured = rouge(["He left. She stayed at home!"], [["She stayed at home. He left."]])
    assert measured.per_row.tolist() == [1.0]
    as_one = RougeScorer(["rougeLsum"], use_stemmer=True).score(
        "She stayed at home. He left.", "He left. She stayed at home!"
    )
    assert as_one["rougeLsum"].fmeasure == pytest.approx(4 / 6)


def test_bleu_by_hand() -> None:
    # "the cat sat on the mat" against "the cat is on the mat", with a full stop: 6 of 7, 4 of 6, 2 of 5 and 1 of 4
    # runs of one to four tokens are shared, and the lengths are the same.
    measured = bleu_and_chrf(PREDICTIONS[:1], REFERENCES[:1])
    assert metrics(measured)["bleu"] == pytest.approx((6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)


def test_bleu_and_chrf_are_those_of_sacrebleu() -> None:
    measured = bleu_and_chrf(PREDICTIONS[:1] + PREDICTIONS[2:], [REFERENCES[0], REFERENCES[2]])
    streams = [[REFERENCES[0][0], REFERENCES[2][0]]]
    said = [PREDICTIONS[0], PREDICTIONS[2]]
    assert metrics(measured)["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, streams).score / 100)
    assert metrics(measured)["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, streams).score / 100)
    assert measured.per_row[0] == pytest.approx(sacrebleu.sentence_chrf(said[0], REFERENCES[0]).score / 100)
    assert "tok:13a" in measured.signatures["bleu"] and "nc:6" in measured.signatures["chrf"]


def test_rows_may_have_more_or_fewer_references() -> None:
    measured = bleu_and_chrf(
        ["there was a dog", "one lamp is very lovely"], [REFERENCES[1], ["one lamp is very lovely"]]
    )
    assert metrics(measured) == {"bleu": 1.0, "chrf": 1.0}
    assert measured.per_row.tolist() == [1.0, 1.0]
    assert "nrefs:var" in measured.signatures["bleu"]


def test_lower_case_is_told_by_the_signature() -> None:
    loose = bleu_and_chrf(["EIN HUT IST DA ."], [["ein Hut ist da ."]], lowercase=True)
    assert metrics(loose)["bleu"] == 1.0
    strict = bleu_and_chrf(["EIN HUT IST DA ."], [["ein Hut ist da ."]])
    assert metrics(strict)["bleu"] < 1.0
    assert "case:mixed" in strict.signatures["bleu"]


def test_an_empty_text_scores_nothing() -> None:
    assert metrics(rouge([""], [["a lamp"]]))["rouge1"] == 0.0
    assert metrics(bleu_and_chrf([""], [["a lamp"]])) == {"bleu": 0.0, "chrf": 0.0}


def test_sentences_end_with_their_mark_or_their_line() -> None:
    assert sentences("#P1#: Hi!\n\n#P2#: It is 3.5 m. Is it? ") == ["#P1#: Hi!", "#P2#: It is 3.5 m.", "Is it?"]


def test_baselines_take_the_lead_or_the_source() -> None:
    row = {"source": "One. Two! Three? Four."}
    assert BASELINES["lead-3"]([], [row], []) == [{"text": "One. Two! Three?"}]
    assert BASELINES["copy-source"]([], [row], []) == [{"text": row["source"]}]
