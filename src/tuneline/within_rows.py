"""Rows side by side in one sequence, and attention within each of them.

    a batch, padded (2, 3)  [[101, 7592, 102], [101, 102, 0]]
    its rows (5,)           [101, 7592, 102, 101, 102]

On a CPU attention runs over chunks of neighbouring rows that fit a core's cache, on a GPU by torch's flash kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from tuneline.dropout import dropout

ATTENTION = "within_rows"  # the name under which transformers knows our attention
MULTIPLE = 16  # of tokens: for a number that it has not met, oneDNN first writes code, which takes as long as a layer
GPU_SHARE = 32  # and cuBLAS first looks for a kernel: there a multiple of up to so large a part of them
SCORES = 2_000_000  # attention scores of all heads that are computed together: what a core's cache holds
FLASH_SIZES = range(8, 193, 8)  # of a head, which flash attention's kernels take, with dropout too
AMPERE = (8, 0)  # the compute capability from which there are such kernels


@dataclass(frozen=True)
class Chunk:
    """Neighbouring rows whose attention is computed together, padded to the longest of them."""

    tokens: slice
    rows: int
    longest: int
    places: torch.Tensor | None  # (tokens,), in (rows * longest); None where no row is shorter
    mask: torch.Tensor | None  # (rows, 1, 1, longest), added to the scores: 0, and at padding far below

    def grid(self, states: torch.Tensor) -> torch.Tensor:
        """(tokens, heads, size) of all rows → (rows, heads, longest, size) of these."""
        own = states[self.tokens]
        if self.places is not None:
            own = own.new_zeros(self.rows * self.longest, *own.shape[1:]).index_copy(0, self.places, own)
        return own.view(self.rows, self.longest, *own.shape[1:]).transpose(1, 2)

    def flat(self, grid: torch.Tensor) -> torch.Tensor:
        """(rows, heads, longest, size) → (tokens, heads, size)."""
        own = grid.transpose(1, 2).reshape(self.rows * self.longest, grid.shape[1], grid.shape[3])
        return own if self.places is None else own[self.places]


class Rows:
    """Where the rows of a batch lie in its tokens.

    lengths: in tokens, of each row. width: of the batch, padded at the end of its rows.
    firsts: (rows,), the position of the first token of each.
    there: (tokens,), of each token, its place in a padded batch that is read row by row.
    within: (tokens + filling,), of each token, its position in its row.
    bounds: (rows + 1,), where each row begins, and where the last one ends; what fills up is one more row.
    longest: at least as long as each of them, a power of two.
    flash: whether the device has kernels for them.
    """

    def __init__(self, lengths: Sequence[int], width: int, device: torch.device) -> None:
        self.lengths, self.width, self.device = list(lengths), width, device
        self.count = sum(self.lengths)
        self.filling = -self.count % _multiple(self.count, device)  # tokens behind all rows, which nothing looks at
        self.longest = 1 << (max([*self.lengths, self.filling]) - 1).bit_length()
        bounds = np.cumsum([0, *self.lengths, *([self.filling] if self.filling else [])])
        firsts = bounds[: len(self.lengths)]
        within = np.arange(self.count) - np.repeat(firsts, self.lengths)
        there = within + np.repeat(np.arange(len(self.lengths)) * width, self.lengths)
        parts = _sent(device, firsts, there, np.append(within, np.zeros(self.filling, int)), bounds)
        self.firsts, self.there, self.within = parts[:3]
        self.bounds = parts[3].int()
        self.flash = device.type == "cuda" and _has_flash(device)
        self._chunks: dict[int, list[Chunk]] = {}

    def flat(self, padded: torch.Tensor) -> torch.Tensor:
        """(rows, width) → (tokens + filling,), filled up with the first token again."""
        tokens = padded.flatten()[self.there]
        return torch.cat([tokens, tokens[:1].expand(self.filling)])

    def padded(self, states: torch.Tensor) -> torch.Tensor:
        """(tokens + filling, ...) → (rows, width, ...), zero at padding."""
        grid = states.new_zeros(len(self.lengths) * self.width, *states.shape[1:])
        return grid.index_copy(0, self.there, states[: self.count]).view(-1, self.width, *states.shape[1:])

    def chunks(self, heads: int) -> list[Chunk]:
        """All rows in chunks, on a CPU none with more than SCORES scores unless a row has them by itself."""
        if heads not in self._chunks:
            self._chunks[heads] = [self._chunk(first, last) for first, last in self._cuts(heads)]
        return self._chunks[heads]

    def _cuts(self, heads: int) -> Iterator[tuple[int, int]]:
        if self.device.type != "cpu":
            yield 0, len(self.lengths)
            return
        first, longest = 0, 0
        for row, length in enumerate(self.lengths):
            longest = max(longest, length)
            if row > first and (row + 1 - first) * longest**2 * heads > SCORES:
                yield first, row
                first, longest = row, length
        yield first, len(self.lengths)

    def _chunk(self, first: int, last: int) -> Chunk:
        lengths = self.lengths[first:last]
        start, longest = sum(self.lengths[:first]), max(lengths)
        tokens = slice(start, start + sum(lengths))
        if min(lengths) == longest:
            return Chunk(tokens, len(lengths), longest, None, None)
        there = torch.arange(longest, device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
        mask = torch.zeros(there.shape, device=self.device).masked_fill(~there, -1e4)[:, None, None]
        return Chunk(tokens, len(lengths), longest, there.flatten().nonzero()[:, 0], mask)


def _has_flash(device: torch.device) -> bool:
    return torch.backends.cuda.is_flash_attention_available() and torch.cuda.get_device_capability(device) >= AMPERE


def _multiple(tokens: int, device: torch.device) -> int:
    """What the number of tokens is filled up to a multiple of, a power of two: then few numbers come up."""
    share = tokens // GPU_SHARE if device.type == "cuda" else 0
    return max(MULTIPLE, 1 << max(share.bit_length() - 1, 0))


def _sent(device: torch.device, *arrays: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
    """Arrays as tensors of a device, in one copy that the host does not wait for."""
    together = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        together = together.pin_memory().to(device, non_blocking=True)
    return together.split([len(array) for array in arrays])


def attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, dropout: float = 0.0, scaling: float | None = None, rows: Rows | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """As transformers calls it. query, key, value: (1, heads, tokens, size) of all rows; out comes (1, tokens, heads,
    size). Without rows it is a padded batch, which torch's own attention answers."""
    if rows is None:
        padded: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return padded
    if options.get("sliding_window") is not None:
        raise NotImplementedError("attention within a sliding window")
    heads = query.shape[1]
    if key.shape[1] < heads:  # a key for several queries each
        key, value = (states.repeat_interleave(heads // states.shape[1], dim=1) for states in (key, value))
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    p, causal = dropout if module.training else 0.0, bool(getattr(module, "is_causal", False))
    if _can_flash(value, rows):
        return _flash(query, key, value, rows, rows.bounds, rows.longest, scale, p, causal=causal)[None], None
    found = [
        chunk.flat(_attended(chunk.grid(query), chunk.grid(key), chunk.grid(value), chunk, scale, p, causal=causal))
        for chunk in rows.chunks(heads)
    ]
    return torch.cat([*found, query.new_zeros(rows.filling, *query.shape[1:])])[None], None


def seen_by_first(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, scale: float, p: float
) -> torch.Tensor:
    """Attention of the first token of each row: (rows, heads, size), by queries of the same shape."""
    if _can_flash(value, rows):
        asked = torch.arange(len(query) + 1, device=query.device, dtype=torch.int32)
        return _flash(query, key, value, rows, asked, 1, scale, p)
    parts, row = [], 0
    for chunk in rows.chunks(query.shape[1]):
        asked = query[row : row + chunk.rows, :, None]
        parts.append(_attended(asked, chunk.grid(key), chunk.grid(value), chunk, scale, p))
        row += chunk.rows
    return torch.cat(parts)[:, :, 0]


def _can_flash(value: torch.Tensor, rows: Rows) -> bool:
    return rows.flash and value.dtype in (torch.bfloat16, torch.float16) and value.shape[-1] in FLASH_SIZES


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, asked: torch.Tensor, most: int,
    scale: float, p: float, *, causal: bool = False,
) -> torch.Tensor:  # fmt: skip
    """(asked, heads, size): by torch's flash kernels, which take rows of any length side by side. Rotary embeddings may
    have made queries and keys float32 meanwhile.

    asked: (rows + 1,), where the queries of each row begin, of which none has more than `most`. What lies outside the
    bounds has no gradient, not even zero: no token may. torch.nn.attention's varlen_attn calls the same, but has no
    dropout; nested tensors have it, and took three times as long on the host.
    """
    query, key, bounds = query.to(value.dtype), key.to(value.dtype), rows.bounds[: len(asked)]
    found: torch.Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, asked, bounds, most, rows.longest, p, causal, return_debug_mask=False, scale=scale
    )[0]
    return found


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chunk: Chunk, scale: float, p: float,
    *, causal: bool = False,
) -> torch.Tensor:  # fmt: skip
    """(rows, heads, asked, size). p: of dropout. A plain product: on a CPU it is faster than torch's own attention in
    bfloat16, and far faster with dropout."""
    if query.device.type != "cpu":  # what pads comes last: where no token sees what follows it, it needs no mask
        mask = None if chunk.mask is None or causal else chunk.mask.to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, mask, p, is_causal=causal, scale=scale)
    scores = query * scale @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -1e4)
    elif chunk.mask is not None:
        scores = scores + chunk.mask.to(scores.dtype)
    return dropout(scores.softmax(-1), p, training=True) @ value


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
