"""A model that reads a batch without its padding: the tokens of all rows one after another.

    a batch, padded (2, 3)       [[101, 7592, 102], [101, 102, 0]]
    what the layers read (1, 5)  [[101, 7592, 102, 101, 102]]

It is called as before, with padded batches, and answers as before. Which models compute the same so, a probe finds
out: some architectures ignore a registered attention function without a word, and rows would see each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from tuneline.optimization import stacks, without_adapter
from tuneline.tasks.base import Head
from tuneline.within_rows import ATTENTION, Rows, seen_by_first

BATCH = frozenset({"input_ids", "attention_mask", "token_type_ids"})  # of a call that comes from a collator
PROBE = (9, 4, 6)  # tokens of the rows that are tried
TOLERANCE = 1e-3  # of the spread of the logits, in float32


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
        rows = Rows(mask.sum(dim=1).tolist(), mask.shape[1], mask.device)
        if not all(rows.lengths):
            return None  # an empty row has no first token
        flat = {name: rows.flat(batch[name])[None] for name in batch if name != "attention_mask"}
        positions = (rows.within + self.first_position)[None]
        options = {"use_cache": False} if getattr(self.model.config, "use_cache", None) else {}
        return args, {**flat, "position_ids": positions, "rows": rows, **options}

    def _with_padding(self, model: nn.Module, args: Any, batch: dict[str, Any], outputs: Any) -> Any:
        rows = batch.get("rows")
        if rows is None or self.last is not None:
            return outputs
        for name in self.head.outputs:
            if self.head.answers != "nats" or outputs[name].dim() == 3:  # else: of the tokens asked for alone
                outputs[name] = rows.padded(outputs[name][0])
        return outputs


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
    own, flat = layer.attention.self, states[0, : rows.count]
    heads, size = own.num_attention_heads, own.attention_head_size
    first = flat[rows.firsts]
    query, key, value = (
        project(some).view(-1, heads, size)
        for project, some in ((own.query, first), (own.key, flat), (own.value, flat))
    )
    seen = seen_by_first(query, key, value, rows, size**-0.5, own.dropout.p if own.training else 0.0)
    attended = layer.attention.output(seen.reshape(-1, heads * size), first)
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
