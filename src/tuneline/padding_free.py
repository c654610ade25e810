"""A batch without its padding: the tokens of all rows one after another, and attention within each row.

    a batch, padded (2, 3)       [[101, 7592, 102], [101, 102, 0]]
    what the layers read (1, 5)  [[101, 7592, 102, 101, 102]]

A model that is freed of padding is called as before, with padded batches, and answers as before. Which models compute
the same so, a probe finds out: some architectures ignore a registered attention function without a word, and rows
would see each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from tuneline.dropout import dropout
from tuneline.optimization import stacks, without_adapter
from tuneline.tasks.base import Head

ATTENTION = "within_rows"  # the name under which transformers knows our attention
MULTIPLE = 16  # of tokens: for a number that it has not met, oneDNN first writes code, which takes as long as a layer
SCORES = 2_000_000  # attention scores of all heads that are computed together: what a core's cache holds
BATCH = frozenset({"input_ids", "attention_mask", "token_type_ids"})  # of a call that comes from a collator
PROBE = (9, 4, 6)  # tokens of the rows that are tried
TOLERANCE = 1e-3  # of the spread of the logits, in float32


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
    """Where the rows of a batch lie in its tokens. lengths: in tokens, of each row."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths, self.device = list(lengths), device
        self.count = sum(self.lengths)
        self.filling = -self.count % MULTIPLE  # tokens behind those of all rows, which nothing looks at
        self._chunks: dict[int, list[Chunk]] = {}

    @cached_property
    def firsts(self) -> torch.Tensor:
        """(rows,): the position of the first token of each."""
        lengths = torch.tensor(self.lengths, device=self.device)
        return lengths.cumsum(0) - lengths

    @cached_property
    def within(self) -> torch.Tensor:
        """(tokens,): of each token, its position in its row."""
        return torch.cat([torch.arange(length, device=self.device) for length in self.lengths])

    def filled(self, tokens: torch.Tensor) -> torch.Tensor:
        """(tokens,) → (tokens + filling,), with the first one again."""
        return torch.cat([tokens, tokens[:1].expand(self.filling)])

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
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    p, causal = dropout if module.training else 0.0, bool(getattr(module, "is_causal", False))
    found = [
        chunk.flat(_attended(chunk.grid(query), chunk.grid(key), chunk.grid(value), chunk, p, causal=causal))
        for chunk in rows.chunks(heads)
    ]
    return torch.cat([*found, query.new_zeros(rows.filling, *query.shape[1:])])[None], None


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chunk: Chunk, p: float, *, causal: bool = False
) -> torch.Tensor:
    """(rows, heads, asked, size), of scaled queries. p: of dropout. A plain product: on a CPU it is faster than torch's
    own attention in bfloat16, and far faster with dropout."""
    if query.device.type != "cpu":  # what pads comes last: where no token sees what follows it, it needs no mask
        mask = None if chunk.mask is None or causal else chunk.mask.to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, mask, p, is_causal=causal, scale=1.0)
    scores = query @ key.transpose(-1, -2)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -1e4)
    elif chunk.mask is not None:
        scores = scores + chunk.mask.to(scores.dtype)
    return dropout(scores.softmax(-1), p, training=True) @ value


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


# -- a model freed of padding -----------------------------------------------------------------------------------------


class PaddingFree:
    """Hooks that take the padding out of what a model reads and put it back into what it answers."""

    def __init__(self, model: Any, head: Head) -> None:
        self.model, self.head = without_adapter(model), head
        self.last: Any = last_layer(self.model) if reads_first_token(self.model) else None
        self.first_position = first_position(self.model)
        self.before = self.model.config._attn_implementation
        self.model.set_attn_implementation(ATTENTION)
        self.handles = [
            self.model.register_forward_pre_hook(self._without_padding, with_kwargs=True),
            self.model.register_forward_hook(self._with_padding, with_kwargs=True),
        ]
        if self.last is None:
            return
        if is_as_berts(self.last):
            self.last.forward = partial(_first_tokens, self.last, self.last.forward)
        else:
            self.handles.append(self.last.register_forward_hook(_pick_first_tokens, with_kwargs=True))

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        if self.last is not None:
            self.last.__dict__.pop("forward", None)
        self.model.set_attn_implementation(self.before)

    def _without_padding(
        self, model: nn.Module, args: tuple[Any, ...], batch: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if args or not batch.keys() <= BATCH or batch.get("attention_mask") is None:
            return None  # no batch of a collator: a step of generate, say
        mask = batch["attention_mask"].bool()
        rows = Rows(mask.sum(dim=1).tolist(), mask.device)
        if not all(rows.lengths):
            return None  # an empty row has no first token
        flat = {name: rows.filled(batch[name][mask])[None] for name in batch if name != "attention_mask"}
        positions = rows.filled(rows.within + self.first_position)[None]
        options = {"use_cache": False} if getattr(self.model.config, "use_cache", None) else {}
        return args, {**flat, "position_ids": positions, "rows": rows, **options}

    def _with_padding(self, model: nn.Module, args: Any, batch: dict[str, Any], outputs: Any) -> Any:
        rows = batch.get("rows")
        if rows is None or self.last is not None:
            return outputs
        for name in self.head.outputs:
            if self.head.answers != "nats" or outputs[name].dim() == 3:  # else: of the tokens asked for alone
                outputs[name] = _padded(outputs[name][0], rows)
        return outputs


def _padded(states: torch.Tensor, rows: Rows) -> torch.Tensor:
    """(tokens, ...) → (rows, longest, ...)"""
    return nn.utils.rnn.pad_sequence(list(states[: rows.count].split(rows.lengths)), batch_first=True)


def reads_first_token(model: Any) -> bool:
    """Whether the head of a model looks at one token of each row."""
    return type(model).__name__.endswith("ForSequenceClassification")


def last_layer(model: Any) -> nn.Module:
    """The uppermost layer. ValueError where a model does not have one stack of them."""
    [stack] = stacks(model.base_model)
    [layer] = stack[-1]
    return layer


def first_position(model: Any) -> int:
    """The position of the first token of a row: RoBERTa and its kin count from pad_token_id + 1."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def is_as_berts(layer: Any) -> bool:
    """Whether a layer has the parts of BERT's, by their names: then its last steps can be taken for some tokens."""
    own = getattr(getattr(layer, "attention", None), "self", None)
    return (
        all(hasattr(own, name) for name in ("query", "key", "value", "attention_head_size"))
        and all(hasattr(layer, name) for name in ("intermediate", "output"))
        and not getattr(layer, "add_cross_attention", False)
    )


def _first_tokens(layer: Any, whole: Any, states: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """A layer as BERT's for the first token of each row alone: (1, tokens, hidden) → (rows, 1, hidden)."""
    rows: Rows | None = options.get("rows")
    if rows is None:
        padded: torch.Tensor = whole(states, *args, **options)
        return padded
    own, flat = layer.attention.self, states[0]
    heads, size = own.num_attention_heads, own.attention_head_size
    first = flat[rows.firsts]
    query = own.query(first).view(-1, heads, 1, size) * size**-0.5
    key, value = (project(flat).view(-1, heads, size) for project in (own.key, own.value))
    p = own.dropout.p if own.training else 0.0
    parts, row = [], 0
    for chunk in rows.chunks(heads):
        asked = query[row : row + chunk.rows]
        parts.append(_attended(asked, chunk.grid(key), chunk.grid(value), chunk, p))
        row += chunk.rows
    attended = layer.attention.output(torch.cat(parts).view(-1, heads * size), first)
    found: torch.Tensor = layer.output(layer.intermediate(attended), attended)
    return found[:, None]


def _pick_first_tokens(layer: nn.Module, args: Any, options: dict[str, Any], states: Any) -> Any:
    """The same for a layer of any kind, after it has computed them all."""
    rows = options.get("rows")
    return states if rows is None else states[0][rows.firsts][:, None]


# -- which models may -------------------------------------------------------------------------------------------------


def free(model: Any, head: Head) -> str | None:
    """Free a model of padding for as long as it lives, or leave it as it is and say why not."""
    found = _tried(model, head)
    return found if isinstance(found, str) else None


@contextmanager
def freed(model: Any, head: Head) -> Iterator[str | None]:
    """The same for a while."""
    found = _tried(model, head)
    try:
        yield found if isinstance(found, str) else None
    finally:
        if isinstance(found, PaddingFree):
            found.remove()


def _tried(model: Any, head: Head) -> PaddingFree | str:
    """The model freed of padding, if it answers as it does with padding; else why it is not."""
    inside = without_adapter(model)
    kind = inside.config.model_type
    if inside.config.is_encoder_decoder or head.answers == "texts":
        return f"{kind} is an encoder-decoder"
    if not inside._can_set_attn_implementation():
        return f"{kind} takes no attention function"
    batch = _probe(inside)
    expected = _answers(model, head, batch)
    free = None
    try:
        free = PaddingFree(model, head)
        found = _answers(model, head, batch)
    except Exception as error:  # whatever an architecture says of an argument that it does not know
        why = f"{kind} cannot: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    else:
        off = float((found - expected).abs().max() / expected.std().clamp(min=1e-6))
        if off <= TOLERANCE:
            return free
        why = f"{kind} gives other answers without"
    if free is not None:
        free.remove()
    return why


def _probe(model: Any) -> dict[str, torch.Tensor]:
    """A batch of rows of different lengths, none with the token that pads."""
    pad = model.config.pad_token_id or 0
    ids = torch.arange(len(PROBE) * max(PROBE)).view(len(PROBE), -1) * 7919 % (model.config.vocab_size - 1)
    ids = ids + (ids >= pad)
    mask = (torch.arange(max(PROBE)) < torch.tensor(PROBE)[:, None]).long()
    batch = {"input_ids": ids.where(mask.bool(), torch.tensor(pad)), "attention_mask": mask}
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


@torch.no_grad()
def _answers(model: Any, head: Head, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits of a batch, of what is no padding."""
    was_training = model.training
    model.eval()
    try:
        outputs = model(**batch)
    finally:
        model.train(was_training)
    found = [outputs[name].float() for name in head.outputs]
    if reads_first_token(without_adapter(model)):
        return torch.stack(found)
    return torch.stack([each[batch["attention_mask"].bool()] for each in found])
