"""Simple models that a fine-tuned one has to beat, fitted on the same training rows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from tuneline.metrics.sentences import sentences
from tuneline.tasks.base import Prediction, Row

LEAD_SENTENCES = 3

Baseline = Callable[[Sequence[Row], Sequence[Row], Sequence[str]], list[Prediction]]


def bag_of_words(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """tf-idf over words and word pairs, then logistic regression. Predictions as a classifier task gives them."""
    model = make_pipeline(_words(), LogisticRegression(max_iter=1000))
    model.fit([_text(row) for row in train], [row["label"] for row in train])
    position = {label: number for number, label in enumerate(model.classes_)}
    predictions = []
    for probabilities in model.predict_proba([_text(row) for row in rows]):
        each = [float(probabilities[position[label]]) if label in position else 0.0 for label in labels]
        best = max(range(len(labels)), key=each.__getitem__)
        predictions.append({"label": labels[best], "score": each[best], "probabilities": each})
    return predictions


def bag_of_words_per_label(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """tf-idf over words and word pairs, then a logistic regression for each label against the rest, in which rows with
    and without it count the same. A label is given from a probability of 0.5 on."""
    features = _words().fit([_text(row) for row in train])
    known, asked = (features.transform([_text(row) for row in each]) for each in (train, rows))
    chances = np.array([_chances(known, [label in row["label"] for row in train], asked) for label in labels]).T
    return [
        {
            "labels": [label for label, chance in zip(labels, line, strict=True) if chance >= 0.5],
            "scores": [float(chance) for chance in line if chance >= 0.5],
            "probabilities": dict(zip(labels, line.tolist(), strict=True)),
        }
        for line in chances
    ]


def _chances(known: Any, gold: Sequence[bool], asked: Any) -> Any:
    """The probability that each row asked for has a label, (rows,)."""
    if len(set(gold)) == 1:  # all rows have it, or none does: there is nothing to learn
        return np.full(asked.shape[0], float(gold[0]))
    model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(known, gold)
    return model.predict_proba(asked)[:, 1]


def bag_of_words_ridge(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """tf-idf over words and word pairs, then linear regression with a squared penalty."""
    model = make_pipeline(_words(), Ridge()).fit([_text(row) for row in train], [row["label"] for row in train])
    return [{"value": float(value)} for value in model.predict([_text(row) for row in rows])]


def _words() -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)


def _text(row: Row) -> str:
    return " ".join(part for part in (row["text"], row.get("text_pair")) if part)


def most_frequent_tag(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """The tag that a word has most often, in lower case; of an unknown word, the one that is most frequent at all."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        for word, tag in zip(row["tokens"], row["tags"], strict=True):
            counts[word.lower()][tag] += 1
    usual = Counter(tag for row in train for tag in row["tags"]).most_common(1)[0][0]
    known = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return [{"tags": [known.get(word.lower(), usual) for word in row["tokens"]]} for row in rows]


def lead(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """The first three sentences of a text as its summary; of a dialogue, what is said first."""
    return [{"text": " ".join(sentences(row["source"])[:LEAD_SENTENCES])} for row in rows]


def copy_source(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """The source as its own translation. Names, numbers and kindred words score."""
    return [{"text": row["source"]} for row in rows]


BASELINES: dict[str, Baseline] = {
    "bag-of-words": bag_of_words,
    "bag-of-words-per-label": bag_of_words_per_label,
    "bag-of-words-ridge": bag_of_words_ridge,
    "most-frequent-tag": most_frequent_tag,
    "lead-3": lead,
    "copy-source": copy_source,
}
