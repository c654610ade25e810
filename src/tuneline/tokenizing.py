"""From text to token ids, and what truncation costs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tuneline.errors import CheckpointError
from tuneline.tasks.base import Feature, Row, Task

HISTOGRAM_BINS = 20


class Lengths:
    """Token counts of every row before truncation, and the share that truncation drops."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._lengths: list[int] = []

    def add(self, lengths: Sequence[int]) -> None:
        self._lengths += lengths

    def report(self) -> dict[str, Any]:
        """Numbers for one split: lengths in tokens, special tokens included."""
        lengths = np.array(self._lengths)
        kept = np.minimum(lengths, self.max_length)
        counts, edges = np.histogram(lengths, bins=HISTOGRAM_BINS, range=(0, max(int(lengths.max()), HISTOGRAM_BINS)))
        return {
            "rows": len(lengths),
            "mean": round(float(lengths.mean()), 2),
            **{f"p{q}": int(np.percentile(lengths, q, method="higher")) for q in (50, 95, 99)},
            "max": int(lengths.max()),
            "rows_truncated": int((lengths > self.max_length).sum()),
            "tokens_dropped_share": round(float(1 - kept.sum() / lengths.sum()), 6),
            "histogram": {"edges": [round(float(e), 1) for e in edges], "rows": counts.tolist()},
        }


def encode(
    task: Task,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    labels: Sequence[str],
    max_length: int,
    lengths: Lengths,
) -> list[Feature]:
    """Features of at most max_length tokens. The lengths of the whole texts are noted on the way."""
    tokenizer.no_truncation()
    whole = task.encode(tokenizer, rows, labels)
    lengths.add([len(feature["input_ids"]) for feature in whole])
    long = [i for i, feature in enumerate(whole) if len(feature["input_ids"]) > max_length]
    if long:
        truncate(tokenizer, max_length)
        for i, feature in zip(long, task.encode(tokenizer, [rows[i] for i in long], labels), strict=True):
            whole[i] = feature
    return whole


def truncate(tokenizer: Tokenizer, max_length: int) -> None:
    """Cut inputs at max_length tokens from now on, the longer text of a pair first."""
    tokenizer.enable_truncation(max_length, strategy="longest_first")


def check_max_length(max_length: int, config: dict[str, Any]) -> None:
    """Raise CheckpointError when the checkpoint has fewer positions than max_length."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return
    # RoBERTa and its kin count positions from pad_token_id + 1.
    usable = positions - (config.get("pad_token_id") or 0) - 1 if "roberta" in config["model_type"] else positions
    if max_length > usable:
        raise CheckpointError(
            f"tokenize.max_length: is {max_length}, but this checkpoint has {usable} positions. Lower it."
        )


def batches_of_features(
    task: Task,
    tokenizer: Tokenizer,
    batches: Iterable[Sequence[Row]],
    labels: Sequence[str],
    lengths: Lengths,
) -> Iterator[Feature]:
    """The features of a split, each with the `row` it came from."""
    for rows in batches:
        for row, feature in zip(rows, encode(task, tokenizer, rows, labels, lengths.max_length, lengths), strict=True):
            yield {"row": row["row"], **feature}
