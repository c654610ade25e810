"""Batches: features padded to the longest of their batch.

[{"input_ids": [101, 7592, 102]}, {"input_ids": [101, 102]}]
→ input_ids (2, 3), attention_mask (2, 3)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tuneline.tasks.base import IGNORED_LABEL, Feature, Head

OUT_OF_REACH = -1e4  # the logit of a position that only pads: its probability is 0 in float32


def collator(model: Any, head: Head) -> "PadBatch":
    """What makes batches for a model. Where the head generates, its decoder reads the gold, one position late."""
    shifted = model.prepare_decoder_input_ids_from_labels if head.answers == "texts" else None
    return PadBatch(model.config.pad_token_id or 0, shifted)


class PadBatch:
    """Collate features: lists are padded to the longest one, plain numbers are stacked.

    shifted: what a decoder reads, made of the labels; both (batch, target tokens).
    """

    def __init__(self, pad_token_id: int, shifted: Callable[..., torch.Tensor] | None = None) -> None:
        self.fill = {"input_ids": pad_token_id, "labels": IGNORED_LABEL}
        self.shifted = shifted

    def __call__(self, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        names = [name for name in ("input_ids", "token_type_ids", "labels") if features[0].get(name) is not None]
        batch = {name: self._column(name, [feature[name] for feature in features]) for name in names}
        lengths = torch.tensor([len(feature["input_ids"]) for feature in features])
        batch["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        if self.shifted is not None and "labels" in batch:
            batch["decoder_input_ids"] = self.shifted(labels=batch["labels"])
        return batch

    def on(self, device: torch.device, features: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """A batch on a device."""
        return {name: tensor.to(device) for name, tensor in self(features).items()}

    def _column(self, name: str, values: list[Any]) -> torch.Tensor:
        if not isinstance(values[0], list):
            return torch.tensor(values)
        rows = [torch.tensor(value) for value in values]
        return pad_sequence(rows, batch_first=True, padding_value=self.fill.get(name, 0))


def logits_of(head: Head, outputs: Mapping[str, torch.Tensor], attention_mask: torch.Tensor) -> torch.Tensor:
    """The logits that a head gives for a batch, (batch, ..., classes).

    Those of a head that predicts positions are (batch, positions to predict, tokens), padding out of reach.
    """
    if len(head.outputs) == 1:
        return outputs[head.outputs[0]]
    stacked = torch.stack([outputs[name].float() for name in head.outputs], dim=1)
    return stacked.masked_fill(attention_mask[:, None] == 0, OUT_OF_REACH)


def token_means(states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens of each row, without padding: (batch, ..., tokens, d) to (batch, ..., d)."""
    mask = attention_mask.reshape(len(states), *[1] * (states.dim() - 3), -1, 1)
    return (states * mask).sum(dim=-2) / mask.sum(dim=-2)


def by_length(features: Sequence[Feature], batch_size: int) -> Iterator[list[int]]:
    """Positions of features, longest first, in batches. Like lengths share a batch, which saves padding."""
    order = sorted(range(len(features)), key=lambda i: -len(features[i]["input_ids"]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
