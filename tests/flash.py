"""Attention row by row: what the flash kernels of a GPU compute, for tests on a CPU."""

from collections.abc import Iterator

import torch
from torch.nn import functional


def attended_rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: torch.Tensor, bounds: torch.Tensor,
    causal: bool, scale: float,
) -> Iterator[tuple[slice, slice, torch.Tensor]]:  # fmt: skip
    """Of each row: where its queries are, where its keys are, and its answers (queries, heads, size).

    asked, bounds: (rows + 1,), where the queries and the keys of each row begin.
    """
    assert len(asked) == len(bounds)
    begins, starts = asked.tolist(), bounds.tolist()
    for first, last, start, end in zip(begins, begins[1:], starts, starts[1:], strict=False):
        queries, keys = slice(first, last), slice(start, end)
        q, k, v = (each[part].transpose(0, 1) for each, part in ((query, queries), (key, keys), (value, keys)))
        answers = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        yield queries, keys, answers.transpose(0, 1)
