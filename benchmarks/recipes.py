"""Recipes from raw files to the registered model, as a person runs them: the numbers of the README's table.

    python benchmarks/recipes.py [--data FOLDER] [--seeds 0 1 2] banking77 sst2 ...

Each run is a fresh clone of the checkout: `tuneline data add`, the recipe as params.yaml, `dvc repro`. FOLDER holds the
public sets, each in a folder of the recipe's data set. Prints a JSON line a run: seconds of `dvc repro`, and metrics.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, cwd: Path) -> None:
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(cwd / "src")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def measured(recipe: str, data: Path, seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="tuneline-recipe-") as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
        params = yaml.safe_load((project / "recipes" / f"{recipe}.yaml").read_text())
        params["train"]["seed"] = seed
        (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
        name = params["data"]["name"]
        run("tuneline", "data", "add", name, str((data / name).resolve()), cwd=project)
        started = time.perf_counter()
        run("dvc", "repro", cwd=project)
        seconds = time.perf_counter() - started
        evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    return {
        "recipe": recipe,
        "seed": seed,
        "seconds": round(seconds),
        **{key: evaluation[key] for key in ("test_rows", "metrics", "baseline")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--data", type=Path, default=os.environ.get("TUNELINE_DATA", "../shared/data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    for recipe in options.recipes:
        for seed in options.seeds:
            print(json.dumps(measured(recipe, Path(options.data).resolve(), seed)), flush=True)


if __name__ == "__main__":
    main()
