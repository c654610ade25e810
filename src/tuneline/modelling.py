"""The model that training starts from: a checkpoint's body with the head of the task, or random weights, and perhaps an
adapter.

A head that generates wants an encoder-decoder. Where the checkpoint is an encoder alone, one is made of it.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from peft import PeftModel
from transformers import set_seed

from tuneline.adapters import save_adapter, with_adapter
from tuneline.checkpoints import Checkpoint, load_tokenizer, tokenizer_config
from tuneline.errors import CheckpointError, did_you_mean
from tuneline.log import report
from tuneline.params import Lora, Model
from tuneline.tasks.base import Head
from tuneline.weights import read_weights


def initial_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int, lora: Lora | None = None) -> Any:
    """The checkpoint with a fresh head, seeded, and an adapter where params have one. Weights are read from safetensors
    only. Where params give a configuration, all weights are drawn by chance. CheckpointError when it makes no model."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    make = _from_checkpoint if model.configuration is None else _from_nothing
    made, fresh = make(checkpoint, head, model)
    if head.answers == "texts":  # what else the checkpoint says of generation, such as forced tokens, stays
        made.generation_config.update(**(head.generation or {}))
    return made if lora is None else with_adapter(made, lora, checkpoint, fresh)


class Started(NamedTuple):
    """A model, and the names of its parameters that no checkpoint gave."""

    model: Any
    fresh: set[str]


def _from_checkpoint(checkpoint: Checkpoint, head: Head, model: Model) -> Started:
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    _set_dropout(config, model)
    if head.answers == "texts" and not config.is_encoder_decoder:
        return _doubled(checkpoint, config)
    return Started(*read_weights(checkpoint.folder, head.auto_class, config))


def save_model(model: Any, folder: Path, checkpoint: Checkpoint) -> None:
    """Write the weights and the config: of the whole model, or of the adapter that it has."""
    if isinstance(model, PeftModel):
        save_adapter(model, folder, checkpoint)
    else:
        model.save_pretrained(folder)


def _from_nothing(checkpoint: Checkpoint, head: Head, model: Model) -> Started:
    """A model of the configuration that params give, over the vocabulary in the checkpoint's folder."""
    keys = dict(model.configuration or {})
    kind = keys.pop("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        known = did_you_mean(kind, transformers.CONFIG_MAPPING.keys())
        raise CheckpointError(f"model.configuration.model_type: transformers knows no {kind!r}.{known}")
    defaults = transformers.CONFIG_MAPPING[kind]()
    known_keys = _keys_of(defaults)
    strange = [
        f"model.configuration.{key}: a {kind} configuration has no such key.{did_you_mean(key, known_keys)}"
        for key in keys
        if key not in known_keys
    ]
    if strange:
        raise CheckpointError("\n".join(strange))
    told = {**_of_the_tokenizer(checkpoint, head, defaults.to_dict()), **head.config, **keys}
    _check_ids(told, load_tokenizer(checkpoint.folder).get_vocab_size())
    try:
        config = transformers.AutoConfig.for_model(kind, **told)
        _set_dropout(config, model)
        made = getattr(transformers, head.auto_class).from_config(config, dtype=torch.float32)
    except Exception as error:  # each architecture has its own
        raise CheckpointError(
            f"model.configuration: makes no {kind} for {head.auto_class}: {str(error).partition(chr(10))[0]}. Correct "
            "its keys, or take another model_type."
        ) from error
    return Started(made, {name for name, _ in made.named_parameters()})


def _keys_of(config: Any) -> list[str]:
    """The keys that a configuration of this kind has, by its own names and by those that all kinds share."""
    return [*config.to_dict(), *config.attribute_map, *([DECODER_START] if config.is_encoder_decoder else [])]


# Keys of a config → the tokens of the tokenizer that may do it, the first that it names; in an encoder-decoder made of
# an encoder.
TOKENS = {
    "pad_token_id": ("pad_token",),
    "bos_token_id": ("bos_token", "cls_token"),
    "eos_token_id": ("eos_token", "sep_token"),
}
DECODER_START = "decoder_start_token_id"
ROLES = {DECODER_START: ("cls_token",), "eos_token_id": ("sep_token",), "pad_token_id": ("pad_token",)}
VOCABULARIES = ("src_vocab_size", "tgt_vocab_size", "decoder_vocab_size")  # of kinds with one for each language


def _of_the_tokenizer(checkpoint: Checkpoint, head: Head, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a config says of tokens. A kind's defaults name those of the tokenizer it was published with.

    A decoder begins with the token that ends its texts, as BART's does: mBART and PLBart train in no other way.
    CheckpointError when a decoder would have none.
    """
    size, ids = load_tokenizer(checkpoint.folder).get_vocab_size(), _token_ids(checkpoint, TOKENS)
    told = {"vocab_size": size, **{key: size for key in VOCABULARIES if key in defaults}, **ids}
    if defaults.get("forced_eos_token_id") is not None:
        told["forced_eos_token_id"] = ids["eos_token_id"]
    if head.answers == "texts":
        _check_named(checkpoint, {key: ids[key] for key in ("pad_token_id", "eos_token_id")}, TOKENS)
        told[DECODER_START] = ids["eos_token_id"]
    return told


def _check_ids(told: Mapping[str, Any], size: int) -> None:
    """CheckpointError when params name a token that the tokenizer does not have."""
    beyond = [
        f"model.configuration.{key}: is {value}, but the tokenizer has {size:,} tokens, from 0."
        for key, value in told.items()
        if key.endswith("_token_id") and isinstance(value, int) and not 0 <= value < size
    ]
    if beyond:
        raise CheckpointError("\n".join(beyond))


def _token_ids(checkpoint: Checkpoint, roles: Mapping[str, tuple[str, ...]]) -> dict[str, int | None]:
    """The ids of these special tokens, as the tokenizer has them; None where it has none."""
    names, tokenizer = tokenizer_config(checkpoint.folder), load_tokenizer(checkpoint.folder)
    said = {key: next(filter(None, map(names.get, tokens)), None) for key, tokens in roles.items()}
    words = {key: each["content"] if isinstance(each, dict) else each for key, each in said.items()}
    return {key: tokenizer.token_to_id(word) if word else None for key, word in words.items()}


def _check_named(checkpoint: Checkpoint, ids: Mapping[str, int | None], roles: Mapping[str, tuple[str, ...]]) -> None:
    lacking = [" or ".join(roles[key]) for key, found in ids.items() if found is None]
    if lacking:
        raise CheckpointError(
            f"{checkpoint.folder / 'tokenizer_config.json'}: names no {', '.join(lacking)}, which a decoder begins, "
            "ends or pads with. Add them, or choose an encoder-decoder that has its own tokenizer."
        )


def _doubled(checkpoint: Checkpoint, config: Any) -> Started:
    """An encoder-decoder of an encoder: both halves have its weights, cross-attention is new (Rothe et al. 2020,
    arXiv:1907.12461). CheckpointError when its architecture cannot decode."""
    tokens = _token_ids(checkpoint, ROLES)
    _check_named(checkpoint, tokens, ROLES)
    decoding = deepcopy(config)
    decoding.is_decoder = decoding.add_cross_attention = True
    try:
        encoder = Started(*read_weights(checkpoint.folder, "AutoModel", config))
        decoder = Started(*read_weights(checkpoint.folder, "AutoModelForCausalLM", decoding))
        halves = encoder.model, decoder.model
        whole = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(*(half.config for half in halves))
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
    fresh = {f"encoder.{name}" for name in encoder.fresh} | {f"decoder.{name}" for name in decoder.fresh}
    return Started(made, fresh)


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
