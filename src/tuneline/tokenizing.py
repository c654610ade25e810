"""From text to token ids, and what truncation costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer

from tuneline.errors import CheckpointError, ParamsError
from tuneline.tasks.base import Feature, Row, Task, by_row

HISTOGRAM_BINS = 20
Item = TypeVar("Item")


class Lengths:
    """Token counts of every row before truncation, and the share that truncation drops.

    max_length: of a row, in tokens; None where nothing is cut. limits: of other lists of a feature, by name.
    """

    def __init__(self, max_length: int | None, limits: Mapping[str, int] | None = None) -> None:
        self.max_length = max_length
        self.others = {name: Lengths(limit) for name, limit in (limits or {}).items()}
        self._lengths: list[int] = []

    def add(self, lengths: Sequence[int]) -> None:
        self._lengths += lengths

    def report(self) -> dict[str, Any]:
        """Numbers for one split: lengths in tokens, special tokens included."""
        lengths = np.array(self._lengths)
        kept = lengths if self.max_length is None else np.minimum(lengths, self.max_length)
        counts, edges = np.histogram(lengths, bins=HISTOGRAM_BINS, range=(0, max(int(lengths.max()), HISTOGRAM_BINS)))
        return {
            "rows": len(lengths),
            "mean": round(float(lengths.mean()), 2),
            "tokens": int(lengths.sum()),
            **{f"p{q}": int(np.percentile(lengths, q, method="higher")) for q in (50, 95, 99)},
            "max": int(lengths.max()),
            "rows_truncated": int((lengths > kept).sum()),
            "tokens_dropped_share": round(float(1 - kept.sum() / lengths.sum()), 6),
            "histogram": {"edges": [round(float(e), 1) for e in edges], "rows": counts.tolist()},
            **{name: other.report() for name, other in self.others.items()},
        }


def limits_of(task: Task) -> dict[str, int]:
    """Most tokens of the lists of a feature that the task cuts, beside input_ids, by name."""
    return {name: getattr(task, option) for name, option in task.cut.items()}


def encode(
    task: Task,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    labels: Sequence[str],
    max_length: int,
    lengths: Lengths,
) -> list[list[Feature]]:
    """Features of at most max_length tokens, by row. The lengths of the whole texts are noted on the way."""
    if task.is_one_text and all(_has_one_text(task, row) for row in rows):
        return _in_one_pass(task, tokenizer, rows, labels, max_length, lengths)
    tokenizer.no_truncation()
    found = [[feature] for feature in task.encode(tokenizer, rows, labels)]
    limits = {"input_ids": max_length, **limits_of(task)}
    whole = {name: [len(feature[name]) for [feature] in found] for name in limits}
    lengths.add(whole["input_ids"])
    for name, other in lengths.others.items():
        other.add(whole[name])
    too_long = [i for i in range(len(rows)) if any(whole[name][i] > limit for name, limit in limits.items())]
    long = [] if task.packed else too_long
    if long:
        task.limit(tokenizer, max_length)
        for i, features in zip(long, by_row(task.encode(tokenizer, [rows[i] for i in long], labels)), strict=True):
            found[i] = features
    return found


def _has_one_text(task: Task, row: Row) -> bool:
    return sum(bool(row.get(name)) for name in task.texts) <= 1


def _in_one_pass(
    task: Task, tokenizer: Tokenizer, rows: Sequence[Row], labels: Sequence[str], max_length: int, lengths: Lengths
) -> list[list[Feature]]:
    """The same, without encoding what is too long once more."""
    task.limit(tokenizer, max_length)
    counting = Counting(tokenizer)
    features = task.encode(counting, rows, labels)
    lengths.add(counting.lengths)
    return [[feature] for feature in features]


class Counting:
    """A tokenizer that cuts, and knows how long each text was. What it cuts off comes in pieces with special tokens of
    their own. Where in a text a token stands, it does not tell, which makes it a third faster."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.special = tokenizer, tokenizer.num_special_tokens_to_add(False)
        self.lengths: list[int] = []  # in tokens, special tokens included

    def encode_batch(
        self, input: Sequence[Any], is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Sequence[Any]:
        encodings: Sequence[Any] = self.tokenizer.encode_batch_fast(input, is_pretokenized, add_special_tokens)
        self.lengths += [len(each) + sum(len(cut) - self.special for cut in each.overflowing) for each in encodings]
        return encodings

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def asked_lengths(task: Task, max_length: int) -> dict[str, int]:
    """The lengths in tokens that params ask a model for, by path."""
    return {
        "tokenize.max_length": max_length,
        **{f"task.{option}": getattr(task, option) for option in task.cut.values()},
    }


def check_lengths(lengths: Mapping[str, int], config: dict[str, Any]) -> None:
    """Raise CheckpointError when the checkpoint has fewer positions than a length. lengths: by path in params."""
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(positions, int):
        return
    # RoBERTa and its kin count positions from pad_token_id + 1.
    usable = positions - (config.get("pad_token_id") or 0) - 1 if "roberta" in config["model_type"] else positions
    problems = [
        f"{path}: is {length}, but this checkpoint has {usable} positions. Lower it."
        for path, length in lengths.items()
        if length > usable
    ]
    if problems:
        raise CheckpointError("\n".join(problems))


def check_fills_a_block(tokens: int, max_length: int) -> None:
    """Raise ParamsError when all training texts together are shorter than one block."""
    if tokens < max_length:
        raise ParamsError(
            f"tokenize.max_length: blocks have {max_length:,} tokens, but all training texts together have {tokens:,}. "
            "Lower it, or bring more text."
        )


def batches_of_features(
    task: Task,
    tokenizer: Tokenizer,
    batches: Iterable[Sequence[Row]],
    labels: Sequence[str],
    max_length: int,
    lengths: Lengths,
) -> Iterator[Feature]:
    """The features of a split, each with the `row` it came from. While those of one batch are written, the tokenizer,
    which is not Python, is at work on the next."""
    encoded = ((rows, encode(task, tokenizer, rows, labels, max_length, lengths)) for rows in batches)
    for rows, found in _one_ahead(encoded):
        for row, features in zip(rows, found, strict=True):
            for feature in features:
                yield {"row": row["row"], **feature}


def _one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items; the next one is made while one is used."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
