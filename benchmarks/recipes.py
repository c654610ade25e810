"""Recipes from raw files to the registered model, as a person runs them: the numbers of the README's table.

    python benchmarks/recipes.py [--data FOLDER] [--seeds 0 1 2] banking77 sst2 ...

Each run is a fresh clone of the checkout: `tuneline data add`, the recipe as params.yaml, `dvc repro`. FOLDER holds the
public sets, each in a folder of the recipe's data set. Prints a JSON line a run: seconds of `dvc repro`, and metrics.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import yaml
from projects import DATA, called, cloned


def measured(recipe: str, data: Path, seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="tuneline-recipe-") as folder:
        project = cloned(Path(folder))
        params = yaml.safe_load((project / "recipes" / f"{recipe}.yaml").read_text())
        params["train"]["seed"] = seed
        (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True))
        name = params["data"]["name"]
        called(["tuneline", "data", "add", name, str(data / name)], project)
        started = time.perf_counter()
        called(["dvc", "repro"], project)
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
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    for recipe in options.recipes:
        for seed in options.seeds:
            print(json.dumps(measured(recipe, options.data.resolve(), seed)), flush=True)


if __name__ == "__main__":
    main()
