"""How the cost of each part grows with the rows: the sentences of SST-2 at 1, 10 and 100 times as many.

    python benchmarks/growth.py [--data FOLDER] [--rows 600]

For each number of rows a project of its own: validate, tokenize, one epoch of fine-tune (Trainer.train), and the
predictions of that many rows as `tuneline score` makes them. Each in a process of its own. Prints a Markdown table of
milliseconds a row, and of the most memory. Where the sentences do not suffice, they come again with a number before.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench import WORKLOADS, Workload, write_params
from projects import DATA, HERE, called, furnished

SCALES = (1, 10, 100)
PREDICT = """
import json, time
from tuneline import layout
from tuneline.inference import Predictor
from tuneline.parquet import read_batches
predictor = Predictor.load(layout.MODEL)
started, count = time.perf_counter(), 0
for rows in read_batches(layout.split_file(layout.VALIDATED, "train")):
    predictor.predict(rows)
    count += len(rows)
print(json.dumps({"seconds": time.perf_counter() - started, "rows": count}))
"""


def sentences(data: Path) -> list[tuple[str, str]]:
    with (data / "sst2/train.tsv").open(encoding="utf-8", newline="") as file:
        return [(text, label) for text, label in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def made(project: Path, data: Path, count: int) -> None:
    """Raw rows: sentences, and where they do not suffice, again with a number before."""
    rows, raw = sentences(data), project / "data/raw/sst2"
    raw.mkdir(parents=True)
    with (raw / "train.tsv").open("w", encoding="utf-8") as file:
        for i in range(count):
            text, label = rows[i % len(rows)]
            file.write(f"{i // len(rows)} {text}\t{label}\n" if i >= len(rows) else f"{text}\t{label}\n")
    with (raw / "test.tsv").open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\t{label}\n" for text, label in rows[:50])
    furnished(project)


def measured(workload: Workload, data: Path, count: int) -> dict[str, tuple[float, float]]:
    """Part → (milliseconds a row, GB)."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="tuneline-growth-") as folder:
        project = Path(folder)
        made(project, data, count)
        write_params(workload, project, count, seed=0)
        for name in ("validate", "tokenize"):
            seconds, gigabytes = clocked(["tuneline", "stage", name], project)
            found[name] = (1000 * seconds / count, gigabytes)
        printed, gigabytes = called([sys.executable, str(HERE / "ours.py"), "accuracy"], project)
        found["fine-tune"] = (1000 * json.loads(printed.splitlines()[-1])["train_seconds"] / count, gigabytes)
        printed, gigabytes = called([sys.executable, "-c", PREDICT], project)
        facts = json.loads(printed.splitlines()[-1])
        found["predict"] = (1000 * facts["seconds"] / facts["rows"], gigabytes)
    return found


def clocked(command: list[str], project: Path) -> tuple[float, float]:
    """Seconds and GB."""
    started = time.perf_counter()
    _, gigabytes = called(command, project)
    return time.perf_counter() - started, gigabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rows", type=int, default=600)
    options = parser.parse_args()
    workload = replace(next(each for each in WORKLOADS if each.name == "sst2-128"), test_rows=50)
    counts = [scale * options.rows for scale in SCALES]
    found = [measured(workload, options.data.resolve(), count) for count in counts]
    print("| ms a row (GB) | " + " | ".join(f"{count:,} rows" for count in counts) + " |")
    print("|---" * (len(counts) + 1) + "|")
    for part in found[0]:
        cells = [f"{each[part][0]:.2f} ({each[part][1]:.2f})" for each in found]
        print(f"| {part} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
