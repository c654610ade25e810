"""The model that training starts from: a checkpoint's body with the head of the task, or random weights."""

from typing import Any

import torch
import transformers
from transformers import set_seed

from tuneline.checkpoints import Checkpoint, load_tokenizer, tokenizer_config
from tuneline.errors import CheckpointError, did_you_mean
from tuneline.params import Model
from tuneline.tasks.base import Head


def initial_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int) -> Any:
    """The checkpoint with a fresh head, seeded. Weights are read from safetensors only. Where params give a
    configuration, all weights are drawn by chance. CheckpointError when it makes no model."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    auto_class = getattr(transformers, head.auto_class)
    if model.configuration is not None:
        return _from_nothing(auto_class, checkpoint, head, model)
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    _set_dropout(config, model)
    return auto_class.from_pretrained(
        checkpoint.folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def _from_nothing(auto_class: Any, checkpoint: Checkpoint, head: Head, model: Model) -> Any:
    """A model of the configuration that params give, over the vocabulary in the checkpoint's folder."""
    keys = dict(model.configuration or {})
    kind = keys.pop("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        known = did_you_mean(kind, transformers.CONFIG_MAPPING.keys())
        raise CheckpointError(f"model.configuration.model_type: transformers knows no {kind!r}.{known}")
    known_keys = _keys_of(transformers.CONFIG_MAPPING[kind]())
    strange = [
        f"model.configuration.{key}: a {kind} configuration has no such key.{did_you_mean(key, known_keys)}"
        for key in keys
        if key not in known_keys
    ]
    if strange:
        raise CheckpointError("\n".join(strange))
    tokens = _tokens(checkpoint)
    try:
        config = transformers.AutoConfig.for_model(kind, **{**tokens, **head.config, **keys})
        _set_dropout(config, model)
        return auto_class.from_config(config, dtype=torch.float32)
    except Exception as error:  # each architecture has its own
        raise CheckpointError(
            f"model.configuration: makes no {kind} for {head.auto_class}: {str(error).partition(chr(10))[0]}. Correct "
            "its keys, or take another model_type."
        ) from error


def _keys_of(config: Any) -> list[str]:
    """The keys that a configuration of this kind has, by its own names and by those that all kinds share."""
    return [*config.to_dict(), *config.attribute_map]


def _tokens(checkpoint: Checkpoint) -> dict[str, Any]:
    """vocab_size, and the ids of the special tokens, as the tokenizer has them."""
    tokenizer, names = load_tokenizer(checkpoint.folder), tokenizer_config(checkpoint.folder)
    words = {role: names.get(f"{role}_token") for role in ("pad", "bos", "eos")}
    spelled = {role: word["content"] if isinstance(word, dict) else word for role, word in words.items()}
    ids = {f"{role}_token_id": tokenizer.token_to_id(word) if word else None for role, word in spelled.items()}
    return {"vocab_size": tokenizer.get_vocab_size(), **ids}


def _set_dropout(config: Any, model: Model) -> None:
    for value, names in (
        (model.dropout, ("hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout")),
        (model.attention_dropout, ("attention_probs_dropout_prob", "attention_dropout")),
    ):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)
