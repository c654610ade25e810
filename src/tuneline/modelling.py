"""The model that training starts from: a checkpoint's body with the head of the task."""

from typing import Any

import torch
import transformers
from transformers import set_seed

from tuneline.checkpoints import Checkpoint
from tuneline.params import Model
from tuneline.tasks.base import Head


def initial_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int) -> Any:
    """The checkpoint with a fresh head, seeded. Weights are read from safetensors only."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    _set_dropout(config, model)
    auto_class = getattr(transformers, head.auto_class)
    return auto_class.from_pretrained(
        checkpoint.folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def _set_dropout(config: Any, model: Model) -> None:
    for value, names in (
        (model.dropout, ("hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout")),
        (model.attention_dropout, ("attention_probs_dropout_prob", "attention_dropout")),
    ):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)
