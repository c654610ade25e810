"""Simple models that a fine-tuned one has to beat, fitted on the same training rows."""

from collections.abc import Callable, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tuneline.tasks.base import Prediction, Row

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


BASELINES: dict[str, Baseline] = {"bag-of-words": bag_of_words}
