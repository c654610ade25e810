"""The embeddings that a training moves: those of the tokens in its texts.

    30,522 rows of all-MiniLM-L6-v2's table, 11,567 of them in the texts of SST-2

The others have no gradient, ever, and the optimizer need not walk over them at each step. Outside the training nobody
sees a difference: a checkpoint holds the whole table.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tuneline.tasks.base import Feature

NOWHERE = -1


class EmbeddingInUse(nn.Embedding):
    """In place of a model's embedding. `weight` has the rows in use alone; under that name a state dict has them all.

    used: (rows in use,) token ids, ascending. Rows that are not in use stay as they are: weight decay moves none.
    """

    def __init__(self, whole: nn.Embedding, used: torch.Tensor) -> None:
        slots = torch.full((whole.num_embeddings,), NOWHERE)
        slots[used] = torch.arange(len(used))
        pad = None if whole.padding_idx is None else int(slots[whole.padding_idx])
        super().__init__(len(used), whole.embedding_dim, pad, _weight=whole.weight.detach()[used].clone())
        self.used, self.slots, self.start = used, slots, whole.weight.detach()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        slots = self.slots[input]
        found = functional.embedding(slots.clamp(min=0), self.weight, self.padding_idx)
        return found if bool((slots >= 0).all()) else found.where((slots >= 0)[..., None], self.start[input])

    def whole(self) -> torch.Tensor:
        """(vocabulary, size): the table as it is now."""
        return self.start.index_copy(0, self.used, self.weight.detach())

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.whole()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        own = {f"{prefix}weight": state_dict[f"{prefix}weight"][self.used]}
        super()._load_from_state_dict(own, prefix, *args)


@contextmanager
def in_use(model: Any, features: Sequence[Feature]) -> Iterator[None]:
    """Train the embeddings of these features' tokens alone, where the model has a table by itself that learns."""
    whole = model.get_input_embeddings()
    if not _can(model, whole):
        yield
        return
    ids = [np.unique(np.concatenate([feature["input_ids"] for feature in features])).astype(np.int64)]
    if whole.padding_idx is not None:
        ids.append(np.array([whole.padding_idx]))
    used = torch.from_numpy(np.unique(np.concatenate(ids)))
    part = EmbeddingInUse(whole, used)
    model.set_input_embeddings(part)
    try:
        yield
    finally:
        whole.weight.data = part.whole()
        model.set_input_embeddings(whole)


def _can(model: Any, whole: nn.Module) -> bool:
    if type(whole) is not nn.Embedding or whole.weight.device.type != "cpu" or not whole.weight.requires_grad:
        return False
    others = [each for each in model.modules() if each is not whole]
    return all(each.weight is not whole.weight for each in others if hasattr(each, "weight"))
