"""A fine-tuned model as a folder that explains and serves itself.

config.json model.safetensors tokenizer.json ...   as transformers reads them
adapter_config.json adapter_model.safetensors      in place of model.safetensors, as peft reads them
tuneline.json                                      task, labels, max_length, bf16; of an adapter its base
MLmodel requirements.txt code/                     as MLflow reads and serves them
README.md                                          model card: a short one, which register replaces (card.py)
"""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow import pyfunc
from mlflow.models import Model as MlflowModel

from tuneline.checkpoints import TOKENIZER_FILES, Checkpoint
from tuneline.closure import PACKAGE, closure
from tuneline.params import Sections
from tuneline.tasks.base import Task
from tuneline.weights import Base, is_adapter

REQUIREMENTS = ["mlflow", "numpy", "pandas", "pydantic", "safetensors", "tokenizers", "torch", "transformers"]
EPOCH = "1970-01-01 00:00:00"  # a model's bytes depend on its inputs, never on the time


def complete(folder: Path, params: Sections, task: Task, labels: list[str], vocabulary: Path,
             checkpoint: Checkpoint, training: dict[str, Any]) -> None:  # fmt: skip
    """Put beside saved weights and config all that makes the folder a whole model."""
    for name in TOKENIZER_FILES:
        if (vocabulary / name).is_file():
            shutil.copyfile(vocabulary / name, folder / name)
    facts: dict[str, Any] = {
        "task": task.model_dump(mode="json"), "labels": labels, "max_length": params.tokenize.max_length,
        "bf16": training["bf16"],
    }  # fmt: skip
    if is_adapter(folder):
        facts["base"] = asdict(Base(checkpoint.name, params.model.revision, checkpoint.sha256))
    (folder / "tuneline.json").write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    _add_code(folder / "code")
    needed = sorted([*REQUIREMENTS, "peft"]) if is_adapter(folder) else REQUIREMENTS
    pinned = [f"{name}=={version(name).split('+')[0]}" for name in needed]
    (folder / "requirements.txt").write_text("\n".join(pinned) + "\n")
    (folder / "README.md").write_text(_card(params, labels, checkpoint, training), encoding="utf-8")
    _write_mlmodel(folder)
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)  # save_pretrained leaves weights unreadable for others


def _add_code(code: Path) -> None:
    for file in closure("tuneline.serving"):
        target = code / PACKAGE.name / file.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _write_mlmodel(folder: Path) -> None:
    """Without a signature: MLflow would refuse a plain list of texts for a signature with a named column."""
    model = MlflowModel(model_id=None, model_uuid="0" * 32, utc_time_created=EPOCH)
    pyfunc.add_to_model(model, loader_module="tuneline.serving", data=".", code="code", python_env=None)
    model.save(str(folder / "MLmodel"))


def _card(params: Sections, labels: list[str], checkpoint: Checkpoint, training: dict[str, Any]) -> str:
    scores = "\n".join(f"| {name} | {value:.4f} |" for name, value in training["best"].items())
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    known = f"Labels: {shown}.\n\n" if labels else ""
    return f"""---
library_name: transformers
base_model: {checkpoint.name}
pipeline_tag: {params.task.pipeline_tag}
tags: [tuneline]
---

# {params.task.name} fine-tuned from {checkpoint.name}

{known}Base weights sha256: `{checkpoint.sha256}`. Trained on {training["train_rows"]:,} rows for
{training["steps"]:,} steps at a peak learning rate of {params.train.learning_rate:g}.
Digest of the training inputs: `{training["inputs_digest"]}`.

| on the validation split | |
|---|---|
{scores or "| (no validation split) | |"}

Load it with `mlflow.pyfunc.load_model(FOLDER)` or with `transformers`.
"""
