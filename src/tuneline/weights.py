"""The weights of a fine-tuned model folder: whole, or an adapter that is put onto its checkpoint again.

An adapter folder says in tuneline.json which checkpoint it belongs to:

    "base": {"checkpoint": "sentence-transformers/all-MiniLM-L6-v2", "revision": null, "sha256": "53aa..."}

This file travels in every model folder. peft is loaded where there is an adapter.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tuneline.checkpoints import Checkpoint, find_checkpoint
from tuneline.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Base:
    """The checkpoint that an adapter was trained on."""

    checkpoint: str
    revision: str | None
    sha256: str


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter alone."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_weights(folder: Path, auto_class: str, config: Any = None) -> tuple[Any, set[str]]:
    """A model in float32, and the names of its parameters that the folder lacks. config: in place of the folder's.

    Every model is read here: from safetensors only, and no code from the weights' side runs.
    """
    model, loading = getattr(transformers, auto_class).from_pretrained(
        folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
        output_loading_info=True,
    )  # fmt: skip
    return model, set(loading["missing_keys"])


def load_model(folder: Path, auto_class: str, facts: Mapping[str, Any]) -> Any:
    """The model of a folder. facts: its tuneline.json.

    CheckpointError when an adapter's checkpoint is not
    found or has other weights than it was trained on.
    """
    if not is_adapter(folder):
        return read_weights(folder, auto_class)[0]
    from peft import PeftModel  # noqa: PLC0415  a folder of whole weights does not need it

    base = _found(folder, Base(**facts["base"]))
    config = transformers.AutoConfig.from_pretrained(folder)
    with _quiet():  # the checkpoint lacks the head, which the adapter brings
        model, _ = read_weights(base.folder, auto_class, config)
    return PeftModel.from_pretrained(model, str(folder), use_safetensors=True)


def _found(folder: Path, base: Base) -> Checkpoint:
    try:
        found = find_checkpoint(Base(base.checkpoint, base.revision, ""))
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: is an adapter of {base.checkpoint}, which is needed beside it. {error} "
            "Or train with train.lora.merge: true, which saves whole models."
        ) from error
    if found.sha256 != base.sha256:
        raise CheckpointError(
            f"{folder}: is an adapter of {base.checkpoint} with sha256 {base.sha256}, but the weights in "
            f"{found.folder} have {found.sha256}. Bring the weights that it was trained on."
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(before)
