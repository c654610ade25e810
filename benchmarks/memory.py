"""Whether memory stays flat where rows stream: validate, tokenize and score at few and at many rows.

    python benchmarks/memory.py [--data FOLDER] [--rows 25000 1000000] [--model reviews]

The sentences of SST-2; where they do not suffice, again with a number before. validate and tokenize run in a project of
their own; `tuneline score` with a model of the registry of this checkout. Prints a Markdown table of the most
memory that each process held, and of its seconds.
"""

import argparse
import tempfile
from pathlib import Path

from bench import WORKLOADS, write_params
from growth import clocked, made
from projects import DATA, ROOT


def measured(data: Path, count: int, model: str) -> dict[str, tuple[float, float]]:
    """Part → (seconds, GB)."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="tuneline-memory-") as folder:
        project = Path(folder)
        made(project, data, count)
        write_params(WORKLOADS[0], project, count, seed=0)
        for name in ("validate", "tokenize"):
            found[name] = clocked(["tuneline", "stage", name], project)
        rows = project / "data/validated/train.parquet"
        found["score"] = clocked(["tuneline", "score", model, str(rows), str(project / "scored")], ROOT)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, nargs="+", default=[25_000, 1_000_000])
    parser.add_argument("--model", default="reviews")
    options = parser.parse_args()
    print("| rows | validate | tokenize | score |\n|---|---|---|---|")
    for count in options.rows:
        cells = [
            f"{gigabytes:.2f} GB, {seconds:.0f} s"
            for seconds, gigabytes in measured(options.data.resolve(), count, options.model).values()
        ]
        print(f"| {count:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
