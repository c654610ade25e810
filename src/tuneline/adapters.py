"""LoRA: a model whose checkpoint stays as it is, with small matrices beside its linear layers (Hu et al. 2022).

adapter_config.json adapter_model.safetensors   as peft reads them: the matrices and the head
config.json                                     of the whole model
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers.pytorch_utils import Conv1D

from tuneline.checkpoints import Checkpoint
from tuneline.errors import ParamsError, did_you_mean
from tuneline.log import report
from tuneline.params import Lora
from tuneline.weights import ADAPTER_CONFIG

ALL_LINEAR = "all-linear"


def with_adapter(model: Any, lora: Lora, checkpoint: Checkpoint, fresh: Collection[str]) -> PeftModel:
    """The model with an adapter, of which adapter and head alone are trained.

    fresh: names of the parameters that the checkpoint does not have. ParamsError when a target module is not there, or
    when the adapter could not be put onto its checkpoint again.
    """
    if not lora.merge and model.config.model_type != checkpoint.config["model_type"]:
        raise ParamsError(
            f"train.lora.merge: {checkpoint.name} is a {checkpoint.config['model_type']} of which a model of type "
            f"{model.config.model_type} was made, so an adapter alone does not say what the model is. Set merge: true."
        )
    _check_targets(model, lora)
    trained = _trained_modules(model, set(fresh))
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=_targets(model, lora),
        exclude_modules=trained or None,
        modules_to_save=trained or None,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:  # a layer of a kind that peft has no adapter for
        raise ParamsError(
            f"train.lora.target_modules: {str(error).partition('.')[0]}. {_linear_layers(model)}"
        ) from error
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in adapted.parameters()]
    total, learning = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    report("fine-tune", f"LoRA trains {learning:,} of {total:,} parameters ({learning / total:.2%})")
    return adapted


def merged(model: Any) -> Any:
    """The plain model that an adapted one amounts to. A model without adapter is returned as it is."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def save_adapter(model: PeftModel, folder: Path, checkpoint: Checkpoint) -> None:
    """Write adapter, head and the whole model's config. The bytes do not depend on where the checkpoint lies."""
    model.peft_config["default"].base_model_name_or_path = checkpoint.name
    model.save_pretrained(str(folder), save_embedding_layers=False)
    inside: Any = model.get_base_model()
    inside.config.save_pretrained(folder)
    path = folder / ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "exclude_modules"):  # sets to peft, so their order is by chance
        config[name] = sorted(config[name]) if isinstance(config[name], list) else config[name]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_targets(model: nn.Module, lora: Lora) -> None:
    """peft is content when one of the names is there; a slip in another would go unseen."""
    if not isinstance(lora.target_modules, list):
        return
    known = {name for name, _ in model.named_modules()}
    for target in lora.target_modules:
        if not any(f".{name}".endswith(f".{target}") for name in known):
            raise ParamsError(
                f"train.lora.target_modules: this checkpoint has no layer '{target}'."
                f"{did_you_mean(target, {name.rpartition('.')[2] for name in known})} {_linear_layers(model)}"
            )


def _linear_layers(model: nn.Module) -> str:
    found = {name.rpartition(".")[2] for name, each in model.named_modules() if isinstance(each, nn.Linear | Conv1D)}
    return f"Linear layers: {', '.join(sorted(found))}."


def _targets(model: Any, lora: Lora) -> list[str] | str:
    """Which linear layers get matrices: as params say, else as peft says of the architecture."""
    if lora.target_modules is not None:
        return lora.target_modules
    known: dict[str, Any] = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    configs = (model.config, getattr(model.config, "encoder", None))  # an encoder-decoder made of two models
    types = [config.model_type for config in configs if config is not None]
    return next((known[name] for name in types if name in known), ALL_LINEAR)


def _trained_modules(model: Any, fresh: set[str]) -> list[str]:
    """The modules that are trained as a whole and saved: the head, and what the checkpoint has no weights for.

    A language-model head that comes with the checkpoint is not among them, nor one that shares its weights with
    the embeddings.
    """
    base, output = model.base_model, model.get_output_embeddings()
    inside = set() if base is model else {module for _, module in base.named_modules()}
    shared = _shared_parameters(model)
    found = []
    for name, module in model.named_modules():
        own = {f"{name}.{parameter}": each for parameter, each in module.named_parameters(recurse=False)}
        if not own or any(module.children()) or any(each in shared for each in own.values()):
            continue
        is_head = base is not model and module not in inside and module is not output
        if is_head or fresh & set(own):
            found.append(name)
    return found


def _shared_parameters(model: nn.Module) -> set[nn.Parameter]:
    seen: set[nn.Parameter] = set()
    shared: set[nn.Parameter] = set()
    for _, parameter in model.named_parameters(remove_duplicate=False):
        (shared if parameter in seen else seen).add(parameter)
    return shared
