"""One tag per word: entities (NER), or parts of speech.

    {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}

A word's tag stands on its first piece; the others carry no label. A sentence that is longer than
`tokenize.max_length` becomes overlapping windows, so no word is lost: one that stands in two windows is read in
the one where it is farther from the edge.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tuneline.errors import DataError, ParamsError, did_you_mean
from tuneline.metrics import calibration, classification, label_errors, spans
from tuneline.metrics.weighted import Measure, Quotient
from tuneline.tasks.base import (
    IGNORED_LABEL,
    Answer,
    Column,
    Editor,
    Encoder,
    Feature,
    Head,
    LabelError,
    Mistake,
    Prediction,
    Row,
    Score,
    check_labels,
    classes,
)
from tuneline.tasks.calibrated import CalibratedTask
from tuneline.tasks.words import NO_WORD, ToldWords, logits_of_words, tag_codes, told_words

NO_TAG = "(none)"  # in tables, for a word of which the tokenizer leaves nothing
WORD = re.compile(r"\w+|[^\w\s]")  # how words are found in a raw text
ENTITIES = (
    "list<struct<type: string, text: string, score: double, start_word: int64, end_word: int64, start: int64, "
    "end: int64>>"
)


class TokenClassification(CalibratedTask):
    """One tag per word."""

    name: Literal["token-classification"]
    scheme: Literal["BIO", "IOB1", "BIOES", "plain"] = Field(
        "BIO", description="How the tags write entities; plain for tags that do not, such as parts of speech."
    )
    tag_names: list[str] | None = Field(
        None,
        min_length=2,
        description="Every tag that may occur. Without it, the tags found in the training rows are the set.",
    )
    stride: int | None = Field(
        None,
        ge=0,
        description="Tokens that neighbouring windows of a long sentence share. null takes a quarter of "
        "tokenize.max_length.",
    )

    columns: ClassVar = {
        "tokens": Column("the words of a sentence", kind="words"),
        "tags": Column("the gold tag of each word", kind="tags"),
    }
    texts: ClassVar = {"text": Column("the text to find entities or tag words in")}
    feature_types: ClassVar = {
        "window": "int32",
        "input_ids": "list<int32>",
        "token_type_ids": "list<int8>",
        "words": "list<int32>",  # the word whose first piece stands at each position
        "labels": "list<int32>",
    }
    edited: ClassVar = ("tokens",)
    gold_options: ClassVar = ("scheme",)
    windows: ClassVar = True
    compared: ClassVar = "words"
    baseline: ClassVar = "most-frequent-tag"
    answer: ClassVar = "tags"

    @field_validator("tag_names")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        if names and len(set(names)) < len(names):
            raise ValueError("a tag stands in the list twice")
        return names

    @model_validator(mode="after")
    def _tag_names_fit_the_scheme(self) -> "TokenClassification":
        strange = [tag for tag in self.tag_names or () if self.scheme != "plain" and not spans.is_tag(tag, self.scheme)]
        if strange:
            raise ValueError(f"tag_names: {', '.join(strange)} cannot stand in scheme {self.scheme}")
        return self

    @property
    def metrics(self) -> dict[str, bool]:
        names = ("accuracy", "macro_f1") if self.scheme == "plain" else ("f1", "precision", "recall", "accuracy")
        return dict.fromkeys(names, True) | {"ece": False, "brier": False}

    @property
    def answer_types(self) -> dict[str, str]:
        words = {"tokens": "list<string>", "tags": "list<string>", "scores": "list<double>"}
        return words if self.scheme == "plain" else words | {"entities": ENTITIES}

    @property
    def counted(self) -> str:
        return "words" if self.scheme == "plain" else "entities"

    @classmethod
    def fitting(cls, rows: Sequence[Row]) -> dict[str, Any]:
        scheme = spans.likely_scheme([[str(tag) for tag in row["tags"] or ()] for row in rows])
        return {} if scheme == cls.model_fields["scheme"].default else {"scheme": scheme}

    def problem(self, row: Row) -> str | None:
        tokens, tags = row["tokens"], row["tags"]
        if len(tokens) != len(tags):
            return f"tags has {len(tags)} tags for {len(tokens)} tokens. Expected one tag for each token"
        for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), start=1):
            told = self._unknown(tag)
            if told:
                return f"tags: word {number} ({token!r}) is {tag!r}. {told}"
        word = None if self.scheme == "plain" else spans.stray(tags, self.scheme)
        if word is None:
            return None
        before = tags[word - 1] if word else "the start"
        after = tags[word + 1] if word + 1 < len(tags) else "the end"
        rule = spans.SCHEMES[self.scheme].rule.format(type=spans.type_of(tags[word]))
        found = f"tags: word {word + 1} ({tokens[word]!r}) is {tags[word]}, between {before} and {after}"
        return f"{found}. Expected tags in {self.scheme}: {rule}"

    def _unknown(self, tag: str) -> str | None:
        """What is wrong with a tag by itself."""
        if not tag.strip():
            return "Expected a tag"
        if self.tag_names is not None and tag not in self.tag_names:
            return f"Known tags: {', '.join(sorted(self.tag_names))}.{did_you_mean(tag, self.tag_names)}"
        if self.scheme == "plain" or spans.is_tag(tag, self.scheme):
            return None
        prefixes = ", ".join(f"{prefix}-TYPE" for prefix in spans.SCHEMES[self.scheme].prefixes)
        return f"Expected O, {prefixes} (task.scheme {self.scheme}; plain is for tags that write no entities)"

    def labels(self, rows: Iterable[Row]) -> list[str]:
        return sorted(self.tag_names or {tag for row in rows for tag in row["tags"]})

    def inputs(self, row: Row) -> Row:
        """The words of a row; those of a raw text with the text and their places in it."""
        tokens, text = row.get("tokens"), row.get("text")
        if isinstance(tokens, list | tuple | np.ndarray):
            return {"tokens": [str(token) for token in tokens]}
        if isinstance(text, str):
            found = list(WORD.finditer(text))
            return {"tokens": [word.group() for word in found], "places": [word.span() for word in found], "text": text}
        raise DataError(f"tokens is {tokens!r:.60}. Expected a list of words as `tokens`, or a string as `text`.")

    def served(self, row: Row) -> Row:
        return {"text": " ".join(row["tokens"])}

    def limit(self, tokenizer: Encoder, max_length: int) -> None:
        """Window inputs at max_length tokens from now on. ParamsError when the windows would never move on."""
        stride = max_length // 4 if self.stride is None else self.stride
        if 2 * stride > max_length - 2:
            raise ParamsError(
                f"task.stride: is {stride}, more than half of what tokenize.max_length ({max_length}) leaves. Lower it."
            )
        tokenizer.enable_truncation(max_length, stride=stride)

    def augmented(self, row: Row, edit: Editor) -> Row:
        """Words go with their tags, and an entity goes as a whole. A row stays as it is where its new order would need
        a tag that tag_names lacks: in IOB1, B- for an entity that now begins where another one ends."""
        units = self._units(row["tags"])
        edited = edit.groups([row["tokens"][unit.start : unit.end] for unit in units])
        tokens = [word for _, words in edited for word in words]
        tags = [tag for number, _ in edited for tag in row["tags"][units[number].start : units[number].end]]
        if self.scheme != "plain":
            tags = spans.written([units[number] for number, _ in edited], self.scheme)
        if self.tag_names is not None and not set(tags) <= set(self.tag_names):
            return row
        return {**row, "tokens": tokens, "tags": tags}

    def _units(self, tags: Sequence[str]) -> list[spans.Span]:
        """What moves as a whole: each entity, and each word outside (of no type), from left to right."""
        entities = {} if self.scheme == "plain" else {span.start: span for span in spans.spans(tags, self.scheme)}
        units: list[spans.Span] = []
        word = 0
        while word < len(tags):
            units.append(entities.get(word, spans.Span("", word, word + 1)))
            word = units[-1].end
        return units

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        code = {tag: number for number, tag in enumerate(labels)}
        features: list[Feature] = []
        encodings = tokenizer.encode_batch([row["tokens"] for row in rows], is_pretokenized=True)
        for row, encoding in zip(rows, encodings, strict=True):
            before: list[int | None] = []
            for number, window in enumerate((encoding, *encoding.overflowing)):
                words = _first_pieces(window.word_ids, before)
                feature = {"window": number, "input_ids": window.ids, "token_type_ids": window.type_ids, "words": words}
                if row.get("tags") is not None:  # a tag that no training row has cannot be learned, only missed
                    tags = [IGNORED_LABEL if word == NO_WORD else code.get(row["tags"][word], IGNORED_LABEL)
                            for word in words]  # fmt: skip
                    feature["labels"] = tags
                features.append(feature)
                before = window.word_ids
        return features

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForTokenClassification", classes(labels))

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """tags, one per word; scores, their probabilities; probabilities, of every tag; entities (but for plain), each
        as sure as its least sure word. A word without a piece is O, or None where tags are plain, counts as missed and
        has no probabilities.
        """
        logits = logits_of_words(outputs, features, rows)
        return [self._prediction(row, each, labels) for row, each in zip(rows, logits, strict=True)]

    def _prediction(self, row: Row, logits: NDArray[Any], labels: Sequence[str]) -> Prediction:
        """logits: (words, tags), nan for a word without a piece."""
        probabilities = classification.softmax(logits, self.heat)
        has_piece = ~np.isnan(logits).any(axis=1)
        none = None if self.scheme == "plain" else spans.OUTSIDE
        best = zip(has_piece, probabilities.argmax(axis=1), strict=True)
        tags: list[Any] = [labels[code] if known else none for known, code in best]
        scores: list[float] = np.where(has_piece, probabilities.max(axis=1), 0.0).tolist()
        chances = [each.tolist() if known else None for known, each in zip(has_piece, probabilities, strict=True)]
        found: Prediction = {"tokens": row["tokens"]} if "places" in row else {}
        if self.scheme == "plain":
            return {**found, "tags": tags, "scores": scores, "probabilities": chances}
        tags = spans.legal(tags, self.scheme)
        entities = [_entity(span, row, scores) for span in spans.spans(tags, self.scheme)]
        return {**found, "tags": tags, "scores": scores, "probabilities": chances, "entities": entities}

    def worded(self, prediction: Prediction, tokenizer: Encoder) -> Prediction:
        """Without the probabilities of every tag, which would outweigh all the rest."""
        return {name: value for name, value in prediction.items() if name != "probabilities"}

    def fitted(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> "TokenClassification":
        """With the temperature that the words of these rows call for (calibration.temperature). Words without a piece,
        or with a tag that no training row has, are left out."""
        logits = np.concatenate(logits_of_words(outputs, features, rows))
        gold = tag_codes(rows, labels)
        told = (gold >= 0) & ~np.isnan(logits).any(axis=1)
        return self.model_copy(update={"temperature": calibration.temperature(logits[told], gold[told])})

    def observed(self, prediction: Prediction) -> Answer:
        """The tag of each word, without B- and the like, and how sure they are in the mean."""
        scores = prediction["scores"]
        tags = [self._class(tag) for tag in prediction["tags"]]
        return Answer(labels=tags, confidence=float(np.mean(scores)) if scores else None)

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is the share of its words with the right tag."""
        gold, predicted = [row["tags"] for row in rows], [prediction["tags"] for prediction in predictions]
        right = [
            np.array([tag == guess for tag, guess in zip(each, guesses, strict=True)])
            for each, guesses in zip(gold, predicted, strict=True)
        ]
        words_right, words = np.array([each.sum() for each in right]), np.array([len(each) for each in right])
        pairs = self._pairs(gold, predicted)
        known = sorted({name for pair in pairs for name in pair})
        code = {name: number for number, name in enumerate(known)}
        codes = np.array([[code[name] for name in pair] for pair in pairs])
        matrix = classification.confusion_matrix(codes[:, 0], codes[:, 1], len(known))
        accuracy = Quotient(words_right, words)
        measures: dict[str, Measure]
        support = None
        if self.scheme == "plain":
            there, said = (_table(words, each, len(known)) for each in codes.T)
            hits = _table(words, np.where(np.concatenate(right), codes[:, 0], len(known)), len(known) + 1)[:, :-1]
            counts = classification.table_counts(hits, there, said)
            measures = {"accuracy": accuracy, "macro_f1": classification.macro_f1(counts)}
            table = dict(zip(known, classification.per_label(matrix), strict=True))
        else:
            found = [spans.matches(*each, self.scheme) for each in zip(gold, predicted, strict=True)]
            measures = {**spans.measures(found), "accuracy": accuracy}
            table = spans.agreement(found)
            support = np.array([each.there.total() for each in found])
        measures |= calibration.measures(self.claims(predictions, rows, labels))
        details = {"per_label": table, "confusion": matrix.tolist()}
        return Score(measures, words_right / words, details, known, support)

    def claims(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str], heat: float = 1.0
    ) -> calibration.Claims | None:
        """Of each word that has a piece, its likeliest tag."""
        told = told_words(predictions, rows, labels)
        if told is None:
            return None
        return calibration.of_classes(calibration.without(told.probabilities, heat), told.gold, told.row, len(rows))

    def gold_labels(self, row: Row) -> list[str]:
        """The types of its entities; where tags are plain, the tags that occur."""
        outside = set() if self.scheme == "plain" else {spans.OUTSIDE}
        return sorted({self._class(tag) for tag in row["tags"]} - outside)

    def said(self, prediction: Prediction) -> str:
        return " ".join(tag or NO_TAG for tag in prediction["tags"])

    def expectation(self, value: Any, labels: Sequence[str]) -> Prediction:
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            raise ValueError(f"is {value!r}. Expected a list with the tag of each word")
        check_labels(value, labels)
        return {"tags": value}

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        """The words with a wrong tag, under their gold tags and under those predicted."""
        lines = zip(row["tokens"], row["tags"], prediction["tags"], prediction["scores"], strict=True)
        wrong = [line for line in lines if line[1] != line[2]]
        gold = ", ".join(f"{word}: {tag}" for word, tag, _, _ in wrong)
        predicted = ", ".join(f"{word}: {tag or NO_TAG}" for word, _, tag, _ in wrong)
        return Mistake(" ".join(row["tokens"]), gold, predicted, max(score for *_, score in wrong))

    def label_errors(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[LabelError]:
        """Of single words."""
        told = told_words(predictions, rows, labels)
        found = label_errors.suspects(told.gold, told.probabilities) if told else []
        return [_label_error(each, told, rows, labels) for each in found if told]

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        pairs = self._pairs([row["tags"] for row in rows], [prediction["tags"] for prediction in predictions])
        confusion = [{"gold": gold, "predicted": predicted} for gold, predicted in pairs]
        return {
            "confusion": confusion,
            "reliability": calibration.reliability(self.claims(predictions, rows, labels)),
        }

    def _pairs(self, gold: Sequence[spans.Tags], predicted: Sequence[spans.Tags]) -> list[tuple[str, str]]:
        """Gold and predicted of each word: the tag where tags are plain, else the type of its entity."""
        return [
            (self._class(tag), self._class(guess))
            for each, guesses in zip(gold, predicted, strict=True)
            for tag, guess in zip(each, guesses, strict=True)
        ]

    def _class(self, tag: str | None) -> str:
        if tag is None:
            return NO_TAG
        return tag if self.scheme == "plain" else spans.type_of(tag) or spans.OUTSIDE


def _table(words: NDArray[Any], codes: NDArray[Any], count: int) -> NDArray[Any]:
    """How often each code occurs in each row, (rows, count). words: of each row; codes: of all words."""
    row = np.repeat(np.arange(len(words)), words)
    return np.bincount(row * count + codes, minlength=len(words) * count).reshape(-1, count)


def _first_pieces(word_ids: Sequence[int | None], before: Sequence[int | None]) -> list[int]:
    """The word whose first piece stands at each position, else NO_WORD. A window may begin within a word of the
    window before it: such a word counts there alone."""
    begins = next((word for word in word_ids if word is not None), None)
    words, last = [], begins if begins in before else None
    for word in word_ids:
        words.append(NO_WORD if word is None or word == last else word)
        last = last if word is None else word
    return words


def _label_error(
    found: label_errors.Suspect, told: ToldWords, rows: Sequence[Row], labels: Sequence[str]
) -> LabelError:
    position, word = int(told.row[found.item]), int(told.word[found.item])
    row, suggested = rows[position], labels[found.suggested]
    token = row["tokens"][word]
    return LabelError(position, " ".join(row["tokens"]), f"{token}: {row['tags'][word]}", f"{token}: {suggested}",
                      found.confidence)  # fmt: skip


def _entity(span: spans.Span, row: Row, scores: Sequence[float]) -> dict[str, Any]:
    """start_word, end_word count words; start, end characters, where the row is a raw text. Ends are exclusive."""
    score = min(scores[span.start : span.end])
    entity = {"type": span.type, "text": " ".join(row["tokens"][span.start : span.end]), "score": score,
              "start_word": span.start, "end_word": span.end}  # fmt: skip
    if "places" not in row:
        return entity
    start, end = row["places"][span.start][0], row["places"][span.end - 1][1]
    return {**entity, "text": row["text"][start:end], "start": start, "end": end}


TASK = TokenClassification
