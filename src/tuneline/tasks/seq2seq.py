"""One text from another: summarization and translation.

    {"source": "A man in an orange hat.", "target": ["Ein Mann mit einem orangefarbenen Hut."]}

The encoder of the model reads the source. The decoder writes, token by token, and reads what it has written. A row may
have several references: training takes the first, scores take the best one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any, ClassVar, Literal

from pydantic import Field

from tuneline.errors import DataError
from tuneline.tasks.base import Answer, Column, Encoder, Feature, Head, Mistake, Prediction, Row, Score, Task


@dataclass(frozen=True)
class Goal:
    """What texts of a kind are called, and how they are judged."""

    target: str
    metrics: tuple[str, ...]  # the first one decides
    measure: str  # a function of metrics.generation
    baseline: str  # of baselines.BASELINES
    options: tuple[str, ...] = ()  # of the task, that the measure takes


GOALS = {
    "summarization": Goal("summary", ("rougeLsum", "rouge1", "rouge2"), "rouge", "lead-3"),
    "translation": Goal("translation", ("bleu", "chrf"), "bleu_and_chrf", "copy-source", ("lowercase",)),
}
SHORTER = 0.6  # of the source's characters: what is shorter is likely a summary


class Seq2Seq(Task):
    """One text from another."""

    name: Literal["seq2seq"]
    goal: Literal["summarization", "translation"] = Field(
        description="What the target is of the source. It decides on the metrics: ROUGE, or BLEU and chrF."
    )
    prefix: str = Field(
        "", description="Put before each source, as T5 wants it: `summarize: `, `translate English to German: `."
    )
    max_target_length: int = Field(
        128, ge=2, description="Longest target in tokens. Longer ones are cut in training, and none is generated."
    )
    num_beams: int = Field(4, ge=1, description="Beams of the search; 1 always takes the likeliest token.")
    length_penalty: float = Field(
        1.0, description="With beams: the power of the length that scores are divided by. Higher favours longer texts."
    )
    early_stopping: bool = Field(
        False, description="With beams: stop once num_beams texts are complete, even if a better one may come."
    )
    no_repeat_ngram_size: int = Field(0, ge=0, description="No run of so many tokens occurs twice; 0 allows it.")
    repetition_penalty: float = Field(
        1.0, gt=0, description="Above 1, tokens that were written before become less likely."
    )
    lowercase: bool = Field(
        False, description="Translation: compare in lower case. ROUGE always does. The signature says so."
    )

    columns: ClassVar = {
        "source": Column("the text to read"),
        "target": Column("the text to write, or several that are right", kind="references"),
    }
    texts: ClassVar = {"source": columns["source"]}
    edited: ClassVar = ("source",)
    answer: ClassVar = "text"
    feature_types: ClassVar = {"input_ids": "list<int32>", "labels": "list<int32>"}
    answer_types: ClassVar = {"text": "string", "score": "double"}
    loss_options: ClassVar = frozenset({"label_smoothing_factor"})
    metric_in_training: ClassVar = "loss"  # to generate for every validation row takes longer than an epoch, often
    gold_options: ClassVar = ("goal", "lowercase")
    one_gold: ClassVar = False
    cut: ClassVar = {"labels": "max_target_length"}

    @property
    def metrics(self) -> dict[str, bool]:
        return dict.fromkeys(GOALS[self.goal].metrics, True)

    @property
    def baseline(self) -> str:
        return GOALS[self.goal].baseline

    @property
    def pipeline_tag(self) -> str:
        return self.goal

    @classmethod
    def fitting(cls, rows: Sequence[Row]) -> dict[str, Any]:
        targets = [row["target"][0] if isinstance(row["target"], list) else row["target"] for row in rows]
        shares = [
            len(target or "") / max(len(row["source"] or ""), 1) for row, target in zip(rows, targets, strict=True)
        ]
        return {"goal": "summarization" if shares and median(shares) < SHORTER else "translation"}

    def problem(self, row: Row) -> str | None:
        if not row["target"]:
            return "target is empty. Expected a text, or a list of texts"
        blank = [number for number, text in enumerate(row["target"], start=1) if not text.strip()]
        if blank:
            return "target is blank" if len(row["target"]) == 1 else f"target: text {blank[0]} is blank"
        if row["source"].strip() in [text.strip() for text in row["target"]]:
            return f"target is the same as source. Expected its {GOALS[self.goal].target}"
        return None

    def labels(self, rows: Iterable[Row]) -> list[str]:
        """None: texts are written, not classes chosen."""
        return []

    def inputs(self, row: Row) -> Row:
        if not isinstance(row.get("source"), str):
            raise DataError(f"source is {row.get('source')!r:.60}. Expected a string as `source`.")
        return super().inputs(row)

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        sources = tokenizer.encode_batch([self.prefix + row["source"] for row in rows])
        features: list[Feature] = [{"input_ids": encoding.ids} for encoding in sources]
        with_target = [(feature, row["target"][0]) for feature, row in zip(features, rows, strict=True)
                       if row.get("target")]  # fmt: skip
        targets = self._targets(tokenizer, [target for _, target in with_target])
        for (feature, _), ids in zip(with_target, targets, strict=True):
            feature["labels"] = ids
        return features

    def _targets(self, tokenizer: Encoder, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of targets, cut where sources are cut, but at a length of their own."""
        given = tokenizer.truncation
        if given is None:
            return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        tokenizer.enable_truncation(self.max_target_length)
        try:
            return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        finally:
            tokenizer.enable_truncation(**given)

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForSeq2SeqLM", answers="texts", generation=self._generation())

    def _generation(self) -> dict[str, Any]:
        """Nothing is drawn by chance. Settings of beams make sense with beams alone."""
        beams = {"length_penalty": self.length_penalty, "early_stopping": self.early_stopping}
        return {
            "do_sample": False,
            "max_new_tokens": self.max_target_length,
            "min_length": 0,
            "num_beams": self.num_beams,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "repetition_penalty": self.repetition_penalty,
            **(beams if self.num_beams > 1 else {}),
        }

    def decode(
        self, outputs: Sequence[Any], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """text; score, the geometric mean of the probabilities of its tokens."""
        return [{"text": output.text, "score": output.score} for output in outputs]

    def observed(self, prediction: Prediction) -> Answer:
        """number: words of the text."""
        return Answer(number=float(len(prediction["text"].split())), confidence=prediction["score"])

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is its ROUGE-Lsum, or its chrF: BLEU says little of a single sentence."""
        # Loaded here: a model folder predicts where neither rouge-score nor sacreBLEU is installed.
        goal = GOALS[self.goal]
        measure = getattr(import_module("tuneline.metrics.generation"), goal.measure)
        options = {name: getattr(self, name) for name in goal.options}
        measured = measure([p["text"] for p in predictions], [row["target"] for row in rows], **options)
        return Score(measured.measures, measured.per_row, {"signatures": measured.signatures})

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        return Mistake(row["source"], " | ".join(row["target"]), prediction["text"], prediction["score"])

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Words of the first reference beside those of the generated text, and what the row scored."""
        points = self.score(predictions, rows, labels).per_row
        table = [
            {"target_words": len(row["target"][0].split()), "generated_words": len(p["text"].split()),
             "row_score": round(float(point), 6)}
            for row, p, point in zip(rows, predictions, points, strict=True)
        ]  # fmt: skip
        return {"written_length": table}


TASK = Seq2Seq
