"""The model that training starts from: a checkpoint's body with the head of the task.

A head that generates wants an encoder-decoder. Where the checkpoint is an encoder alone, one is made of it.
"""

from copy import deepcopy
from typing import Any

import torch
import transformers
from transformers import set_seed

from tuneline.checkpoints import Checkpoint, load_tokenizer, tokenizer_config
from tuneline.errors import CheckpointError
from tuneline.log import report
from tuneline.params import Model
from tuneline.tasks.base import Head


def initial_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int) -> Any:
    """The checkpoint with a fresh head, seeded. Weights are read from safetensors only."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    _set_dropout(config, model)
    if head.generation is None:
        return _load(head.auto_class, checkpoint, config)
    made = _load(head.auto_class, checkpoint, config) if config.is_encoder_decoder else _doubled(checkpoint, config)
    made.generation_config.update(
        **head.generation
    )  # what else the checkpoint says of it, such as forced tokens, stays
    return made


def _load(auto_class: str, checkpoint: Checkpoint, config: Any) -> Any:
    return getattr(transformers, auto_class).from_pretrained(
        checkpoint.folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


# What an encoder-decoder needs to know → the token of an encoder's tokenizer that does it.
ROLES = {"decoder_start_token_id": "cls_token", "eos_token_id": "sep_token", "pad_token_id": "pad_token"}


def _doubled(checkpoint: Checkpoint, config: Any) -> Any:
    """An encoder-decoder of an encoder: both halves have its weights, cross-attention is new (Rothe et al. 2020,
    arXiv:1907.12461). CheckpointError when its architecture cannot decode."""
    tokens = _special_tokens(checkpoint)
    decoding = deepcopy(config)
    decoding.is_decoder = decoding.add_cross_attention = True
    try:
        halves = _load("AutoModel", checkpoint, config), _load("AutoModelForCausalLM", checkpoint, decoding)
        whole = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(halves[0].config, halves[1].config)
        made = transformers.EncoderDecoderModel(whole, *halves)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"model.checkpoint: {checkpoint.name} is a {config.model_type}, neither an encoder-decoder nor an encoder "
            "of which one can be made. Choose one such as T5, BART, BERT or RoBERTa."
        ) from error
    for name, token in tokens.items():
        setattr(made.config, name, token)
        setattr(made.generation_config, name, token)
    made.config.vocab_size = config.vocab_size
    report("fine-tune", f"{checkpoint.name} is an encoder: its weights start a decoder too, with new cross-attention")
    return made


def _special_tokens(checkpoint: Checkpoint) -> dict[str, int]:
    """The ids of ROLES. CheckpointError when the tokenizer lacks one."""
    names, tokenizer = tokenizer_config(checkpoint.folder), load_tokenizer(checkpoint.folder)
    said = {role: names.get(key) for role, key in ROLES.items()}
    words = {role: each["content"] if isinstance(each, dict) else each for role, each in said.items()}
    ids = {role: tokenizer.token_to_id(word) if word else None for role, word in words.items()}
    lacking = [ROLES[role] for role, found in ids.items() if found is None]
    if lacking:
        raise CheckpointError(
            f"{checkpoint.folder / 'tokenizer_config.json'}: names no {', '.join(lacking)}, which a decoder made of "
            "this encoder begins, ends and pads with. Add them, or choose an encoder-decoder."
        )
    return {role: found for role, found in ids.items() if found is not None}


def _set_dropout(config: Any, model: Model) -> None:
    for value, names in (
        (
            model.dropout,
            ("hidden_dropout_prob", "dropout", "dropout_rate", "classifier_dropout", "seq_classif_dropout"),
        ),
        (model.attention_dropout, ("attention_probs_dropout_prob", "attention_dropout")),
    ):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)
