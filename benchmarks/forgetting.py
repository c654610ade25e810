"""Fine-tune variants in turn on a part of BANKING77; print test score against what each kept of its base.

    python benchmarks/forgetting.py [../shared/data/banking77] [--rows 1000] [--seeds 0 1 2]
    python benchmarks/forgetting.py --mitigations --general ../shared/data/wikitext-2/test.txt
    python benchmarks/forgetting.py --variant "lower half frozen" train.regularization.freeze_layers=3

--mitigations tries what docs/forgetting.md advises, all at one learning rate but LoRA. --general: text to replay.

Each run is the stages fine-tune and evaluate of a project of its own, so any key of params.yaml can be varied. A line
of the table is the mean over the seeds and, after ±, half the range. One thread, so the same table comes out again.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from copy import deepcopy
from itertools import islice
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

from ruamel.yaml import YAML

from tuneline.digests import file_digest
from tuneline.params import read_params
from tuneline.stages import evaluate, fine_tune, tokenize, validate

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = {
    "learning rate 1e-4": {"train.learning_rate": 1e-4},
    "learning rate 3e-4": {"train.learning_rate": 3e-4},
    "learning rate 1e-3": {"train.learning_rate": 1e-3},
    "learning rate 3e-3": {"train.learning_rate": 3e-3},
    "learning rate 3e-4, 4 epochs": {"train.learning_rate": 3e-4, "train.num_train_epochs": 4},
}
MITIGATED = 3e-4  # learning rate at which the mitigations are tried
PARAGRAPHS = 100  # replayed
COLUMNS = ("accuracy", "similarity_agreement", "cka_mean", "cka_last")


def mitigations(general: Path) -> dict[str, dict[str, Any]]:
    """Keys of params.yaml by variant. general: the file of text that is replayed."""
    replay = {"text": str(general), "sha256": file_digest(general), "weight": 1.0}
    held = {
        "nothing held back": {},
        "replay, weight 1": {"train.regularization.replay": replay},
        "l2_sp: 250": {"train.regularization.l2_sp": 250},
        "freeze_layers: 3": {"train.regularization.freeze_layers": 3},
    }
    lora = {"train.lora": {"r": 8}, "train.learning_rate": 3e-3}
    return {
        **{name: {"train.learning_rate": MITIGATED, **keys} for name, keys in held.items()},
        "LoRA of rank 8, learning rate 3e-3": lora,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data/banking77"))
    parser.add_argument("--rows", type=int, default=1000, help="training rows, and as many test rows")
    parser.add_argument("--epochs", type=float, default=2, help="of variants that do not name their own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mitigations", action="store_true", help="instead of learning rates")
    parser.add_argument("--general", type=Path, default=Path("../shared/data/wikitext-2/test.txt"))
    parser.add_argument(
        "--variant", nargs="+", action="append", metavar=("NAME", "KEY=VALUE"), help="instead of our own"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forgetting-") as holder:
        project = _project(Path(holder), arguments.data.resolve())
        ours = mitigations(_paragraphs(arguments.general, project)) if arguments.mitigations else VARIANTS
        variants = {name: _changes(pairs) for name, *pairs in arguments.variant or []} or ours
        os.chdir(project)
        base = _base_params(arguments.rows, arguments.epochs)
        _write_params(base, {})
        _run(validate, tokenize)
        print("| variant | " + " | ".join(name.replace("_", " ") for name in COLUMNS) + " | CPU seconds |")
        print("|---" * (len(COLUMNS) + 2) + "|", flush=True)
        for name, changes in variants.items():
            runs = []
            for seed in arguments.seeds:
                _write_params(base, {**changes, "train.seed": seed})
                runs.append(_scores(_run(fine_tune, evaluate)))
            cells = [_spread([run[column] for run in runs]) for column in (*COLUMNS, "seconds")]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _project(folder: Path, data: Path) -> Path:
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/banking77").symlink_to(data)
    (folder / "src").symlink_to(ROOT / "src")
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / "data/expectations.json", folder / "data")
    return folder


def _paragraphs(file: Path, project: Path) -> Path:
    """The first paragraphs of a file, without its headings (`= Title =`), as a file of the project."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    kept = list(islice((line for line in lines if line and not line.startswith("=")), PARAGRAPHS))
    general = project / "data/general.txt"
    general.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return general


def _base_params(rows: int, epochs: int) -> dict[str, Any]:
    params: dict[str, Any] = YAML(typ="safe").load((ROOT / "recipes/banking77.yaml").read_text(encoding="utf-8"))
    params["data"]["max_rows"] = {"train": rows, "test": rows}
    params["data"]["checks"]["min_rows_per_label"] = 1  # of so few rows
    params["train"] = {
        "num_train_epochs": epochs, "per_device_train_batch_size": 16, "threads": 1, "device": "cpu",
        "logging_steps": 50,
    }  # fmt: skip
    params["evaluate"] = {"baseline": False}
    return params


def _write_params(base: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """params.yaml, changed at dotted keys."""
    params: dict[str, Any] = deepcopy(dict(base))
    for key, value in changes.items():
        *path, last = key.split(".")
        place = params
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)


def _run(*stages: ModuleType) -> float:
    """CPU seconds of the stages, one after another."""
    started = time.process_time()
    for stage in stages:
        stage.run(read_params(*stage.SECTIONS))
    return time.process_time() - started


def _scores(seconds: float) -> dict[str, float]:
    """What the last run came to, by column."""
    evaluation = json.loads(Path("data/reports/evaluation.json").read_text(encoding="utf-8"))
    return {**evaluation["metrics"], **evaluation["forgetting"]["metrics"], "seconds": seconds}


def _changes(pairs: list[str]) -> dict[str, Any]:
    """["train.freeze_layers=3"] → {"train.freeze_layers": 3}"""
    return {key: YAML(typ="safe").load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def _spread(values: list[float]) -> str:
    shown = f"{mean(values):.3f}" if max(values) < 2 else f"{mean(values):.0f}"
    half = (max(values) - min(values)) / 2
    return shown if len(values) == 1 else f"{shown} ± {half:.3f}" if max(values) < 2 else shown


if __name__ == "__main__":
    main()
