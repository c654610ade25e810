"""Simple models that a fine-tuned one has to beat, fitted on the same training rows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tuneline.metrics.sentences import sentences
from tuneline.tasks.base import Prediction, Row

LEAD_SENTENCES = 3

Baseline = Callable[[Sequence[Row], Sequence[Row], Sequence[str]], list[Prediction]]


def bag_of_words(train: Sequence[Row], rows: Sequence[Row], labels: Sequence[str]) -> list[Prediction]:
    """tf-idf over words and word pairs, then logistic regression. Predictions as a classifier task gives them."""
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=1000))
    model.fit([_text(row) for row in train], [row["label"] for row in train])
    position = {label: number for number, label in enumerate(model.classes_)}
    predictions = []
    for probabilities in model.predict_proba([_text(row) for row in rows]):
        each = [float(probabilities[position[label]]) if label in position else 0.0 for label in labels]
        best = max(range(len(labels)), key=each.__getitem__)
        predictions.append({"label": labels[best], "score": each[best], "probabilities": each})
    return predictions


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
    "most-frequent-tag": most_frequent_tag,
    "lead-3": lead,
    "copy-source": copy_source,
}
