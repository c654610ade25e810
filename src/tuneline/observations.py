"""What drift looks at in a row. Rows of earlier days and of today are compared by these alone, without their texts.

    {"words": 4, "characters": 22, "vocabulary": ["after", "broke", "days", "two"], "labels": ["negative"],
     "number": null, "confidence": 0.97, "embedding": [0.03, -0.11, ...]}

evaluate keeps those of a model's own rows: test rows as `tuneline score` would read them, and of training rows the
vocabulary. score keeps those of a sample of its input.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.embedding import mean_states
from tuneline.inference import BATCH_SIZE, Predictor
from tuneline.parquet import schema_of
from tuneline.tasks.base import Prediction, Row, by_row

ROWS = 2_000  # as many are observed of a file, and of each split that is kept
SEED = 0
WORDS_READ = 1_000  # of a row, for the vocabulary
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
HELD_OUT, TRAINED_ON = "test", "train"
Observation = dict[str, Any]

TYPES = {
    "words": "int64",
    "characters": "int64",
    "vocabulary": "list<string>",  # its distinct words in lower case, sorted
    "labels": "list<string>",  # these three as task.answer gives them
    "number": "double",
    "confidence": "double",
    "embedding": "list<halffloat>",  # of length 1
}
SCHEMA, REFERENCE_SCHEMA = schema_of(TYPES), schema_of({"split": "string", **TYPES})


def sample(count: int, most: int = ROWS) -> list[int]:
    """Which of so many rows are observed, in order. It depends on their number alone."""
    if count <= most:
        return list(range(count))
    return sorted(np.random.default_rng(SEED).choice(count, most, replace=False).tolist())


def observe(predictor: Predictor, rows: Sequence[Row], predictions: Sequence[Prediction]) -> list[Observation]:
    """One observation of each row. rows: the texts to predict, under our names; predictions: as they are served."""
    if not rows:
        return []
    task = predictor.task
    return [
        {**text_facts(list(row.values())), **task.observed(prediction)._asdict(), "embedding": embedding}
        for row, prediction, embedding in zip(rows, predictions, _embeddings(predictor, rows), strict=True)
    ]


def text_facts(texts: Sequence[str | None]) -> Observation:
    """Lengths, and the vocabulary of the first WORDS_READ words."""
    text = " ".join(filter(None, texts))
    words = [word.group().lower() for word, _ in zip(WORD.finditer(text), range(WORDS_READ), strict=False)]
    return {"words": len(text.split()), "characters": len(text), "vocabulary": sorted(set(words))}


def _embeddings(predictor: Predictor, rows: Sequence[Row]) -> NDArray[np.float16]:
    """Mean of the encoder's last states over the tokens of each row, of length 1: (rows, d). Of a text that is read in
    windows, the mean of theirs; of one that goes into blocks, its first block."""
    encoded = predictor.encode([predictor.task.inputs(row) for row in rows])
    most = predictor.max_length if predictor.task.packed else None
    parts = ("input_ids", "token_type_ids")
    features = [{name: feature[name][:most] for name in parts if name in feature} for feature in encoded]
    means = mean_states(predictor.model, predictor.collate, features, BATCH_SIZE, first_layer=-1)[:, 0]
    starts = np.cumsum([0, *map(len, by_row(encoded))])[:-1]
    sums = np.add.reduceat(means, starts)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)).astype(np.float16)


def reference(predictor: Predictor, training: Sequence[Row], held_out: Sequence[Row]) -> Iterator[Observation]:
    """The observations that a version is known by, of at most ROWS rows of each split.

    A model is surer of rows it was trained on and sets them farther apart, and it was chosen on validation rows. So
    only test rows tell what it says of new text. They are read as a file to score is.
    """
    rows = [predictor.task.served(held_out[i]) for i in sample(len(held_out))]
    for observation in observe(predictor, rows, predictor.predict(rows)):
        yield {"split": HELD_OUT, **observation}
    for i in sample(len(training)):
        yield {"split": TRAINED_ON, **text_facts(list(predictor.task.served(training[i]).values()))}
