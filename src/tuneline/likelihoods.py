"""What a language model thinks of given tokens: the head where it is asked, and the answers it gives there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tuneline.batching import logits_of
from tuneline.tasks.base import IGNORED_LABEL, Head

POSITIONS = 1024  # at a time: log-probabilities of a whole batch would double its memory
TILE = 64  # outputs of a layer in one piece of a GPU's matrix product: without whole ones it is several times slower


def scored(
    head: Head, model: Any, batch: dict[str, torch.Tensor], gold: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of a batch and their gold.

    Of a head that answers in nats these are (labelled tokens, vocabulary) and (labelled tokens,), for the vocabulary
    is wide and most tokens may carry no label: all that the model multiplies with it is what is asked for.
    """
    if head.answers != "nats":
        return logits_of(head, model(**batch), batch["attention_mask"]), gold
    asked = gold != IGNORED_LABEL
    with _vocabulary_at(model, asked, batch["attention_mask"].bool()):
        logits = logits_of(head, model(**batch), batch["attention_mask"])
    return logits if logits.dim() == 2 else logits[asked], gold[asked]


@contextmanager
def _vocabulary_at(model: Any, asked: torch.Tensor, there: torch.Tensor) -> Iterator[None]:
    """Give the layer that scores the vocabulary only the tokens asked for. Each is scored by itself, so the result is
    the same. A model that does not say which layer that is scores them all. On a GPU it has whole tiles of outputs.

    asked, there: (rows, longest), the second False where a batch pads. A model freed of padding has states (1, tokens),
    and may have more behind them.
    """
    layer: Any = getattr(model, "module", model).get_output_embeddings()
    if layer is None:
        yield
        return

    padded, flat = (where.flatten().nonzero()[:, 0] for where in (asked, asked[there]))  # a GPU waits here, not later

    def pick(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states = inputs[0]
        where = padded if states.shape[:2] == asked.shape else flat
        return states.flatten(0, 1)[where], *inputs[1:]

    hook = layer.register_forward_pre_hook(pick)
    tiled = type(layer) is nn.Linear and layer.weight.is_cuda
    if tiled:
        layer.forward = partial(_in_whole_tiles, layer)
    try:
        yield
    finally:
        hook.remove()
        if tiled:
            del layer.forward


def _in_whole_tiles(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """(tokens, in) → (tokens, out): as the layer does, with more outputs of zero weight behind them meanwhile."""
    more = -layer.out_features % TILE
    weight = functional.pad(layer.weight, (0, 0, 0, more))
    bias = None if layer.bias is None else functional.pad(layer.bias, (0, more))
    return functional.linear(states, weight, bias)[..., : layer.out_features]


def answers(logits: torch.Tensor, gold: torch.Tensor, candidates: int) -> torch.Tensor:
    """(tokens, 1 + 2 · candidates), on the CPU: of each token its loss in nats, the likeliest tokens in its place, and
    the nats of these."""
    pieces, candidates = [], min(candidates, logits.shape[-1])
    for some, their_gold in zip(logits.split(POSITIONS), gold.split(POSITIONS), strict=True):
        losses = -functional.log_softmax(some.float(), dim=-1)
        nats, tokens = losses.topk(candidates, largest=False)
        pieces.append(torch.cat([losses.gather(1, their_gold[:, None]), tokens.float(), nats], dim=1).cpu())
    return torch.cat(pieces)
