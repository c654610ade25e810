"""Digests: names that plain data, files and folders have by their bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

CARD = "README.md"  # of a model folder


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(plain: Any) -> str:
    """sha256 of plain data, independent of key order."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def tree_digest(path: Path) -> str:
    """sha256 over a file, or over the names and bytes of all files in a folder."""
    if path.is_file():
        return file_digest(path)
    return _files_digest(path, _files(path))


def model_digest(folder: Path) -> str:
    """sha256 over the names and bytes of a model folder, but for its model card.

    The card says what is known of the model, and that grows after training; what predicts stays the same.
    """
    return _files_digest(folder, [file for file in _files(folder) if file != folder / CARD])


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _files_digest(folder: Path, files: list[Path]) -> str:
    return digest([(file.relative_to(folder).as_posix(), file_digest(file)) for file in files])
