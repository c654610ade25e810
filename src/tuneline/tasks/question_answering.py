"""The answer to a question as a span of a text: extractive question answering, as in SQuAD 1.1 and 2.0.

    {"question": "Who wrote?", "context": "Then Ada wrote.", "answers": [{"text": "Ada", "answer_start": 5}]}

The model reads the question, then the context, in overlapping windows where that is longer than
`tokenize.max_length`. It scores each token as the first and as the last one of the answer. In a window without the
answer both are the first position ([CLS]), which is how it says that there is none.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tuneline.errors import DataError, ParamsError
from tuneline.metrics.classification import softmax
from tuneline.metrics.overlap import best, best_null_threshold, exact_match, token_f1
from tuneline.metrics.weighted import Measure, mean
from tuneline.tasks.base import (
    Answer,
    Column,
    Editor,
    Encoder,
    Feature,
    Head,
    Mistake,
    Prediction,
    Row,
    Score,
    Task,
    by_row,
)

NO_PLACE = -1  # of tokens that are not of the context
SPARE = 16  # tokens of a window for special ones, and for a question whose last word was cut into more pieces
ANSWERABLE, NO_ANSWER = "answerable", "(no answer)"
LEAST = 1e-300  # probability, so that its logarithm is finite


class Span(NamedTuple):
    """A span of a context, in characters, end exclusive, and its probability."""

    score: float
    start: int
    end: int


class QuestionAnswering(Task):
    """The answer to a question as a span of a text."""

    name: Literal["question-answering"]
    unanswerable: bool = Field(
        False, description="Whether questions may have no answer in their context, as in SQuAD 2.0."
    )
    stride: int | None = Field(
        None,
        ge=0,
        description="Tokens of the context that neighbouring windows share. null takes a quarter of "
        "tokenize.max_length.",
    )
    max_question_length: int = Field(64, ge=1, description="Longest question in tokens. What is beyond is cut.")
    max_answer_length: int = Field(30, ge=1, description="Longest answer in tokens.")
    n_best_size: int = Field(
        20, ge=1, description="First and last tokens of each window that are tried with each other: the likeliest."
    )
    candidates: int = Field(
        3, ge=0, description="Likeliest spans that a prediction lists beside its answer; 0 leaves the list out."
    )
    null_threshold: float | None = Field(
        None,
        allow_inf_nan=False,
        description="With unanswerable: how much more likely than the best span no answer must be to be given, in "
        "nats. Higher answers more often. null chooses on the validation split the one with the highest F1.",
    )

    columns: ClassVar = {
        "question": Column("the question"),
        "context": Column("the text that holds the answer"),
        "answers": Column("the gold answers, and the character each begins at", kind="answers"),
    }
    texts: ClassVar = {"question": columns["question"], "context": columns["context"]}
    feature_types: ClassVar = {
        "window": "int32",
        "input_ids": "list<int32>",
        "token_type_ids": "list<int8>",
        "starts": "list<int32>",  # of each token, characters of the context; ends are exclusive
        "ends": "list<int32>",
        "labels": "list<int32>",  # positions of the first and the last token of the answer
    }
    edited: ClassVar = ("question", "context")
    gold_options: ClassVar = ("unanswerable",)
    windows: ClassVar = True
    kept_together: ClassVar = "context"
    loss_options: ClassVar = frozenset()
    answer: ClassVar = "answer"

    @property
    def metrics(self) -> dict[str, bool]:
        split = ("has_answer_f1", "has_answer_exact_match", "no_answer_f1", "no_answer_exact_match")
        return dict.fromkeys(("f1", "exact_match", *(split if self.unanswerable else ())), True)

    @property
    def answer_types(self) -> dict[str, str]:
        span = {"answer": "string", "start": "int64", "end": "int64", "score": "double"}
        listed = f"list<struct<{', '.join(f'{name}: {type_}' for name, type_ in span.items())}>>"
        return {**span, "null_score": "double", **({"candidates": listed} if self.candidates else {})}

    @property
    def fits(self) -> bool:
        return self.unanswerable and self.null_threshold is None

    @classmethod
    def fitting(cls, rows: Sequence[Row]) -> dict[str, Any]:
        cells = [row["answers"] for row in rows]
        texts = [cell["text"] if isinstance(cell, Mapping) else cell for cell in cells]  # the hub's layout, or SQuAD's
        return {} if all(texts) else {"unanswerable": True}

    def problem(self, row: Row) -> str | None:
        if not row["answers"] and not self.unanswerable:
            return "answers is empty. Expected an answer, or task.unanswerable: true for a set like SQuAD 2.0"
        told = (_misplaced(answer, row["context"]) for answer in row["answers"])
        return next((f"answers: {sentence}" for sentence in told if sentence), None)

    def labels(self, rows: Iterable[Row]) -> list[str]:
        """None: positions are predicted, not classes."""
        return []

    def inputs(self, row: Row) -> Row:
        for name in self.texts:
            if not isinstance(row.get(name), str):
                raise DataError(f"{name} is {row.get(name)!r:.60}. Expected a string as `question`, one as `context`.")
        return super().inputs(row)

    def limit(self, tokenizer: Encoder, max_length: int) -> None:
        """Window contexts at max_length tokens from now on. ParamsError when the windows would never move on."""
        stride = max_length // 4 if self.stride is None else self.stride
        if self.max_question_length + stride + SPARE >= max_length:
            raise ParamsError(
                f"tokenize.max_length: is {max_length}, which leaves no room for the context beside "
                f"task.max_question_length ({self.max_question_length}) and task.stride ({stride}). Raise it, or lower "
                "one of them."
            )
        tokenizer.enable_truncation(max_length, stride=stride, strategy="only_second")

    def augmented(self, row: Row, edit: Editor) -> Row:
        """The question is edited, and the context between the words that its answers touch. answer_start follows."""
        context, answers = row["context"], row["answers"]
        read, at = "", 0
        moved: dict[int, int] = {}  # first character of each kept span → where it went
        for start, end in _touched(context, answers):
            read += edit.text(context[at:start])
            moved[start], at = len(read), end
            read += context[start:end]
        read += edit.text(context[at:])
        places = [max(start for start in moved if start <= answer["answer_start"]) for answer in answers]
        answers = [{**answer, "answer_start": answer["answer_start"] - place + moved[place]}
                   for answer, place in zip(answers, places, strict=True)]  # fmt: skip
        return {**row, "question": edit.text(row["question"]), "context": read, "answers": answers}

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        questions = self._cut(tokenizer, [row["question"] for row in rows])
        pairs = [(question, row["context"]) for question, row in zip(questions, rows, strict=True)]
        features: list[Feature] = []
        for row, encoding in zip(rows, tokenizer.encode_batch(pairs), strict=True):
            for number, window in enumerate((encoding, *encoding.overflowing)):
                of_context = [sequence == 1 for sequence in window.sequence_ids]
                places = [place if ours else (NO_PLACE, NO_PLACE)
                          for place, ours in zip(window.offsets, of_context, strict=True)]  # fmt: skip
                starts, ends = (list(each) for each in zip(*places, strict=True))
                feature = {"window": number, "input_ids": window.ids, "token_type_ids": window.type_ids,
                           "starts": starts, "ends": ends}  # fmt: skip
                if row.get("answers") is not None:
                    feature["labels"] = _positions(feature, row["answers"])
                features.append(feature)
        return features

    def _cut(self, tokenizer: Encoder, questions: Sequence[str]) -> list[str]:
        """Questions, each without what is beyond max_question_length tokens. They are encoded as the second text of
        a pair, for only that one is cut."""
        encodings = tokenizer.encode_batch([("", question) for question in questions])
        ends = [[end for (_, end), sequence in zip(each.offsets, each.sequence_ids, strict=True) if sequence == 1]
                for each in encodings]  # fmt: skip
        most = self.max_question_length
        return [
            question[: each[most - 1]] if len(each) > most else question
            for question, each in zip(questions, ends, strict=True)
        ]

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForQuestionAnswering", {"num_labels": 2}, outputs=("start_logits", "end_logits"))

    def condense(self, logits: NDArray[Any]) -> NDArray[Any]:
        """(features, 2, tokens) to (features, tokens, 2)."""
        return logits.swapaxes(1, 2)

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """answer; start and end, in characters of the context; score, its probability; null_score, that of no answer;
        candidates, the likeliest spans in the same words, likeliest first.

        Of several windows the likeliest span counts, and the one that is least sure to hold no answer. Where no answer
        is given it is empty, without start and end.
        """
        remaining = iter(outputs)
        return [
            self._prediction(row["context"], windows, [next(remaining) for _ in windows])
            for row, windows in zip(rows, by_row(features), strict=True)
        ]

    def _prediction(self, context: str, windows: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Prediction:
        spans, nulls = [], []
        for window, output in zip(windows, outputs, strict=True):
            first, last = softmax(output[: len(window["input_ids"])].T)  # (tokens,) each
            nulls.append(float(first[0] * last[0]))
            spans += self._likeliest_spans(window, first, last)
        listed = [
            {"answer": context[span.start : span.end], "start": span.start, "end": span.end, "score": span.score}
            for span in _likeliest_first(spans)
        ]
        best_span = listed[0] if listed else {"answer": "", "start": None, "end": None, "score": 0.0}
        scores = {"score": best_span["score"], "null_score": min(nulls)}
        is_null = self.unanswerable and _null_odds(scores) > (self.null_threshold or 0.0)
        answer = {"answer": "", "start": None, "end": None} if is_null else best_span
        candidates = {"candidates": listed[: self.candidates]} if self.candidates else {}
        return {**answer, **scores, **candidates}

    def fitted(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> "QuestionAnswering":
        """With the null threshold that gives the highest F1 on these rows, where some of them have no answer."""
        if all(row["answers"] for row in rows):
            return self
        always = self.model_copy(update={"null_threshold": math.inf})
        predictions = always.decode(outputs, features, rows, labels)
        f1 = always.score(predictions, rows, labels).per_row
        is_answerable = [bool(row["answers"]) for row in rows]
        chosen = best_null_threshold([_null_odds(each) for each in predictions], f1.tolist(), is_answerable)
        return self.model_copy(update={"null_threshold": chosen})

    def _likeliest_spans(self, window: Feature, first: NDArray[Any], last: NDArray[Any]) -> list[Span]:
        """As many spans of the context in a window as are wanted, likeliest first. first, last: of each token, the
        probability to be that."""
        context = np.flatnonzero(np.array(window["starts"]) != NO_PLACE)
        if not len(context):
            return []
        firsts, lasts = (self._likeliest(context, each) for each in (first, last))
        lengths = lasts - firsts[:, None] + 1
        joint = np.where((lengths > 0) & (lengths <= self.max_answer_length), first[firsts][:, None] * last[lasts], 0)
        wanted = np.argsort(-joint, axis=None, kind="stable")[: max(self.candidates, 1)]
        pairs = zip(*np.unravel_index(wanted, joint.shape), strict=True)
        return [
            Span(float(joint[i, j]), window["starts"][firsts[i]], window["ends"][lasts[j]])
            for i, j in pairs
            if joint[i, j]
        ]

    def _likeliest(self, positions: NDArray[Any], probabilities: NDArray[Any]) -> NDArray[Any]:
        return positions[np.argsort(-probabilities[positions], kind="stable")[: self.n_best_size]]

    def observed(self, prediction: Prediction) -> Answer:
        """number: words of the answer, 0 where none is given."""
        sure = prediction["score"] if prediction["answer"] else prediction["null_score"]
        return Answer(number=float(len(prediction["answer"].split())), confidence=sure)

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is its F1."""
        gold = [[answer["text"] for answer in row["answers"]] for row in rows]
        pairs = [(prediction["answer"], texts) for prediction, texts in zip(predictions, gold, strict=True)]
        per_row = {name: np.array([best(overlap, *pair) for pair in pairs])
                   for name, overlap in (("f1", token_f1), ("exact_match", exact_match))}  # fmt: skip
        parts = {"": np.ones(len(rows), bool)}
        if self.unanswerable:
            parts |= {"has_answer_": np.array([bool(texts) for texts in gold])}
            parts |= {"no_answer_": ~parts["has_answer_"]}
        measures: dict[str, Measure] = {
            f"{part}{name}": mean(points, chosen)
            for part, chosen in parts.items()
            if chosen.any()
            for name, points in per_row.items()
        }
        return Score(measures, per_row["f1"])

    def gold_labels(self, row: Row) -> list[str]:
        """Whether there is an answer, where there may be none."""
        if not self.unanswerable:
            return []
        return [ANSWERABLE if row["answers"] else NO_ANSWER]

    def agrees(self, prediction: Prediction, other: Prediction) -> bool:
        """But for case, punctuation and articles, as SQuAD compares answers."""
        return exact_match(prediction["answer"], other["answer"]) == 1

    def said(self, prediction: Prediction) -> str:
        return prediction["answer"] or NO_ANSWER

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        gold = " | ".join(dict.fromkeys(answer["text"] for answer in row["answers"]))
        score = prediction["score"] if prediction["answer"] else prediction["null_score"]
        text = f"{row['question']}\n{row['context']}"
        return Mistake(text, gold or NO_ANSWER, prediction["answer"] or NO_ANSWER, score)

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """F1 of each row beside the length of its first gold answer, in words; 0 where it has none."""
        points = self.score(predictions, rows, labels).per_row
        lengths = [len(row["answers"][0]["text"].split()) if row["answers"] else 0 for row in rows]
        table = [{"answer_words": n, "f1": round(float(f1), 6)} for n, f1 in zip(lengths, points, strict=True)]
        return {"answer_length": table}


def _likeliest_first(spans: Sequence[Span]) -> list[Span]:
    """Spans of several windows, the likeliest first. One that stands in two of them counts once, by the surer one."""
    kept: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: -span.score):
        kept.setdefault((span.start, span.end), span)
    return list(kept.values())


def _null_odds(prediction: Prediction) -> float:
    """How much more likely no answer is than the best span, in nats."""
    return math.log(max(prediction["null_score"], LEAST)) - math.log(max(prediction["score"], LEAST))


def _misplaced(answer: Mapping[str, Any], context: str) -> str | None:
    """What is wrong with the place of an answer, in a sentence."""
    text, start = answer["text"], answer["answer_start"]
    if not text.strip():
        return f"the answer at character {start} is blank"
    if start >= 0 and context.startswith(text, start):
        return None
    there = context[start : start + len(text)] if start >= 0 else ""
    found = f"the context has {there!r}" if there else f"which is outside the context (0 to {len(context)})"
    at = context.find(text)
    advice = f"It stands at {at}" if at >= 0 else "It stands nowhere in the context"
    return f"{text!r} should begin at character {start}, {'where ' if there else ''}{found}. {advice}"


def _touched(context: str, answers: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """The spans of the context, in characters, of all words that an answer has a part in; from left to right."""
    spans: list[tuple[int, int]] = []
    for answer in sorted(answers, key=lambda answer: answer["answer_start"]):
        start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        while start and not context[start - 1].isspace():
            start -= 1
        while end < len(context) and not context[end].isspace():
            end += 1
        if spans and start <= spans[-1][1]:
            before = spans.pop()
            start, end = before[0], max(before[1], end)
        spans.append((start, end))
    return spans


def _positions(window: Feature, answers: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions of the first and the last token of the first answer; both 0 where a window does not hold all of it."""
    starts, ends = np.array(window["starts"]), np.array(window["ends"])
    context = np.flatnonzero(starts != NO_PLACE)
    if not answers or not len(context):
        return [0, 0]
    start = answers[0]["answer_start"]
    end = start + len(answers[0]["text"])
    touched = context[(ends[context] > start) & (starts[context] < end)]
    whole = len(touched) and starts[context[0]] <= start and ends[context[-1]] >= end
    return [int(touched[0]), int(touched[-1])] if whole else [0, 0]


TASK = QuestionAnswering
