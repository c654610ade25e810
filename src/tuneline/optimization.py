"""What a model is made of, from the bottom to the top, and how fast each part may learn.

embeddings 0 → layers 1 to n → head n + 1
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Anatomy:
    """How many layers a model has, and the depth of every parameter, by name: 0 for embeddings, 1 to n for the layers
    from the lowest up, n + 1 for all above them (final norms, pooler, head)."""

    layers: int
    depth: dict[str, int]


def anatomy(model: nn.Module) -> Anatomy:
    """The parts of a model.

    Found by structure: layers stand in ModuleLists of the base model; in an encoder-decoder those of the decoder are
    above those of the encoder. A head that shares its weights with the embeddings counts as embeddings.
    """
    base: Any = getattr(model, "base_model", model)
    layers = [layer for stack in stacks(base) for layer in stack]
    found = {parameter: number for number, layer in enumerate(layers, 1) for parameter in _parameters(layer)}
    embeddings = set(_embeddings(base))
    depth = {
        name: found.get(parameter, 0 if parameter in embeddings else len(layers) + 1)
        for name, parameter in model.named_parameters()
    }
    return Anatomy(len(layers), depth)


def stacks(base: nn.Module) -> list[list[list[nn.Module]]]:
    """The stacks of layers of a base model. The outermost ModuleLists of one parent are one stack: where a model keeps
    attention and feed-forward in lists side by side (XLM), a layer is what has the same number in each."""
    lists: list[tuple[str, nn.ModuleList]] = []
    for name, module in base.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer, _ in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not inside:
            lists.append((name, module))
    stacks = []
    for _, beside in groupby(lists, key=lambda found: found[0].rpartition(".")[0]):
        modules = [module for _, module in beside]
        longest = max(map(len, modules))
        stacks.append([list(layer) for layer in zip_longest(*(each for each in modules if len(each) == longest))])
    return stacks


def _parameters(layer: list[nn.Module]) -> Iterator[nn.Parameter]:
    return (parameter for module in layer for parameter in module.parameters())


def _embeddings(base: nn.Module) -> Iterator[nn.Parameter]:
    """Tables of embeddings, and what stands beside them (norms, projections), which models name after them."""
    for module in base.modules():
        if isinstance(module, nn.Embedding):
            yield from module.parameters()
    for name, parameter in base.named_parameters():
        if "embed" in name:
            yield parameter


def without_adapter(model: Any) -> Any:
    """The transformers model, which an adapter may be around. What an adapter put into it stays in its place."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def encoder_of(model: Any) -> Any:
    """What turns tokens into states: the encoder of an encoder-decoder, else the body below the head. An adapter stays
    in its place."""
    inside = without_adapter(model)
    return inside.get_encoder() if inside.config.is_encoder_decoder else inside.base_model


def in_base(model: nn.Module) -> set[str]:
    """Names of the parameters that belong to the base model, not to the head."""
    base = set(getattr(model, "base_model", model).parameters())
    return {name for name, parameter in model.named_parameters() if parameter in base}


def parameter_groups(
    model: nn.Module, *, learning_rate: float, layerwise_lr_decay: float, weight_decay: float, decayed: Collection[str]
) -> list[dict[str, Any]]:
    """Groups for an optimizer, the head first. A part at depth d learns at
    learning_rate * layerwise_lr_decay ** (n + 1 - d).

    decayed: names of the parameters that weight decay is for. Lower layers at lower rates: Howard and Ruder 2018
    (arXiv:1801.06146, there 1/2.6), with one factor per layer as in Clark et al. 2020 (ELECTRA, arXiv:2003.10555).
    """
    parts = anatomy(model)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((parts.layers + 1 - parts.depth[name], name in decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layerwise_lr_decay**below,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (below, decays), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]
