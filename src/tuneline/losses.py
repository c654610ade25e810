"""What training lowers: logits and gold in, a sum and how many terms it has out. A head names one of LOSSES."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from tuneline.tasks.base import IGNORED_LABEL, Feature


@dataclass(frozen=True)
class Shape:
    """What params say of the loss. weights: of each class, (classes,), or None."""

    label_smoothing_factor: float = 0.0
    weights: torch.Tensor | None = None

    def on(self, device: torch.device) -> torch.Tensor | None:
        return None if self.weights is None else self.weights.to(device)


Loss = Callable[[torch.Tensor, torch.Tensor, Shape], torch.Tensor]


def cross_entropy(logits: torch.Tensor, gold: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Sum in nats. logits: (..., classes); gold: (...), codes of classes or IGNORED_LABEL."""
    return functional.cross_entropy(
        logits.view(-1, logits.shape[-1]),
        gold.view(-1),
        weight=shape.on(logits.device),
        label_smoothing=shape.label_smoothing_factor,
        reduction="sum",
        ignore_index=IGNORED_LABEL,
    )


def binary_cross_entropy(logits: torch.Tensor, gold: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Sum in nats over all decisions. logits, gold: (..., classes); gold is 1 where a row has the class, else 0.

    Smoothing draws both towards a half. Weights count the classes that a row has.
    """
    target = gold.to(logits.dtype) * (1 - shape.label_smoothing_factor) + shape.label_smoothing_factor / 2
    weight = shape.on(logits.device)
    return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="sum")


def squared_error(logits: torch.Tensor, gold: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Sum of squared differences. logits: (batch, 1); gold: (batch,), numbers."""
    return functional.mse_loss(logits.view(-1), gold.to(logits.dtype).view(-1), reduction="sum")


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "squared_error": squared_error,
}


Divergence = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def class_divergence(first: torch.Tensor, second: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """(KL(p||q) + KL(q||p)) / 2 of the classes, summed over the terms of cross_entropy, in nats.

    first, second: logits of two passes, (..., classes); gold: (...). As R-Drop's (Liang et al. 2021, arXiv:2106.14448).
    """
    counted = gold != IGNORED_LABEL
    p, q = functional.log_softmax(first, -1)[counted], functional.log_softmax(second, -1)[counted]
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2


def decision_divergence(first: torch.Tensor, second: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """The same for decisions of their own, each with one logit. first, second, gold: (..., classes)."""
    return ((first.sigmoid() - second.sigmoid()) * (first - second)).sum() / 2


def number_divergence(first: torch.Tensor, second: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """The same for numbers with normal noise of variance 1/2, whose likelihood is lowered as the squared error."""
    return (first - second).square().sum()


DIVERGENCES: dict[str, Divergence] = {  # how far two passes differ, by the loss that it is added to
    "cross_entropy": class_divergence,
    "binary_cross_entropy": decision_divergence,
    "squared_error": number_divergence,
}


def terms(gold: torch.Tensor) -> int:
    """How many terms the loss of a batch sums."""
    return int((gold != IGNORED_LABEL).sum())


def balanced(features: Sequence[Feature], labels: int) -> torch.Tensor:
    """Weights of shape (labels,), inverse to frequency, with mean 1 over all gold labels."""
    gold = np.concatenate([np.atleast_1d(feature["labels"]) for feature in features])
    counts = np.bincount(gold[gold != IGNORED_LABEL], minlength=labels)
    return torch.tensor(counts.sum() / (labels * np.maximum(counts, 1)), dtype=torch.float32)


def balanced_decisions(features: Sequence[Feature], labels: int) -> torch.Tensor:
    """Of each class, rows without it over rows with it, (labels,): so both count the same. 1 where no row has it."""
    gold = np.array([feature["labels"] for feature in features]).reshape(-1, labels)
    present = gold.sum(axis=0)
    return torch.tensor(np.where(present > 0, (len(gold) - present) / np.maximum(present, 1), 1), dtype=torch.float32)


BALANCED = {"cross_entropy": balanced, "binary_cross_entropy": balanced_decisions}  # weights of classes, by loss
