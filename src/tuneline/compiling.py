"""The layers of a model compiled, each by itself: as they are alike, that is the work of one.

Names and weights stay as they are. A whole model took four times as long to compile on a GPU, and was slower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tuneline.optimization import stacks, without_adapter


@contextmanager
def compiled(model: Any, backend: str | Callable[..., Any] = "inductor") -> Iterator[None]:
    """Have the layers run as torch.compile makes them. They are compiled when they are first called, for batches of
    any size."""
    modules = [module for stack in stacks(without_adapter(model).base_model) for layer in stack for module in layer]
    layers = [module for module in modules if "forward" not in vars(module)]  # one of ours would be compiled by itself
    for layer in layers:
        layer.compile(dynamic=True, backend=backend)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None
