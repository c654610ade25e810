"""What a model's encoder makes of texts: the mean of its states over the tokens of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuneline.batching import PadBatch, by_length, token_means
from tuneline.optimization import encoder_of
from tuneline.tasks.base import Feature


def mean_states(
    model: Any, collate: PadBatch, features: Sequence[Feature], batch_size: int, *, first_layer: int = 0
) -> NDArray[np.float32]:
    """Mean over the tokens of each feature, in order: (features, layers, d).

    first_layer: layers below it are left out. 0 begins with the embeddings of the tokens; -1 is the last one alone.
    """
    found: list[Any] = [None] * len(features)
    encoder = encoder_of(model)
    with torch.inference_mode():
        for positions in by_length(features, batch_size):
            batch = collate.on(model.device, [features[i] for i in positions])
            states = encoder(**batch, output_hidden_states=True).hidden_states[first_layer:]
            layers = torch.stack(states, dim=1).float()  # (batch, layers, tokens, d)
            means = token_means(layers, batch["attention_mask"])
            for i, mean in zip(positions, means.cpu().numpy(), strict=True):
                found[i] = mean
    return np.stack(found)
