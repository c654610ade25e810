"""The model that training starts from: a checkpoint's body with the head of the task, and perhaps an adapter."""

from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from transformers import set_seed

from tuneline.adapters import save_adapter, with_adapter
from tuneline.checkpoints import Checkpoint
from tuneline.params import Lora, Model
from tuneline.tasks.base import Head


def initial_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int, lora: Lora | None = None) -> Any:
    """The checkpoint with a fresh head, seeded, and an adapter where params have one. Weights are read from safetensors
    only."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    _set_dropout(config, model)
    auto_class = getattr(transformers, head.auto_class)
    found, loading = auto_class.from_pretrained(
        checkpoint.folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    return with_adapter(found, lora, checkpoint, loading["missing_keys"]) if lora is not None else found


def save_model(model: Any, folder: Path, checkpoint: Checkpoint) -> None:
    """Write the weights and the config: of the whole model, or of the adapter that it has."""
    if isinstance(model, PeftModel):
        save_adapter(model, folder, checkpoint)
    else:
        model.save_pretrained(folder)


def _set_dropout(config: Any, model: Model) -> None:
    for value, names in (
        (model.dropout, ("hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout")),
        (model.attention_dropout, ("attention_probs_dropout_prob", "attention_dropout")),
    ):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)
