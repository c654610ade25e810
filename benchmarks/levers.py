"""What each part of the fast path gives: tuneline's fine-tuning with all of it, and with one part left out at a time.

    python benchmarks/levers.py [--data FOLDER] [--only sst2-128 imdb-512] [--rounds 3]

On the rows of the short form of bench.py, a process each, in turns. Prints a Markdown table: examples a second
with all parts, and the share of that which is left without each.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench import WORKLOADS, prepared
from ours import LEVERS
from projects import DATA, HERE, called

ALL = "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", nargs="+", default=["sst2-128", "imdb-128", "imdb-512"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ways = (ALL, *LEVERS)
    table: dict[str, list[str]] = {way: [] for way in ways}
    for workload in (each for each in WORKLOADS if each.name in options.only):
        rates: dict[str, list[float]] = {way: [] for way in ways}
        with tempfile.TemporaryDirectory(prefix="tuneline-levers-") as folder:
            project = prepared(workload, options.data.resolve(), Path(folder), workload.rows["short"])
            for _ in range(options.rounds):
                for way in ways:
                    shutil.rmtree(project / ".tuneline", ignore_errors=True)
                    command = [sys.executable, str(HERE / "ours.py"), *([workload.metric] if workload.metric else [])]
                    printed, _ = called([*command, *([] if way == ALL else ["--without", way])], project)
                    facts = json.loads(printed.splitlines()[-1])
                    rates[way].append(facts["examples"] / facts["train_seconds"])
                    print(workload.name, way, round(rates[way][-1], 1), file=sys.stderr, flush=True)
        whole = statistics.median(rates[ALL])
        for way, each in rates.items():
            middle = statistics.median(each)
            table[way].append(f"{middle:.1f} examples/s" if way == ALL else f"{middle / whole:.2f}")
    print("| without | " + " | ".join(options.only) + " |\n" + "|---" * (len(options.only) + 1) + "|")
    for way, cells in table.items():
        print(f"| {'(nothing: all parts)' if way == ALL else way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
