"""The tokenize stage beside the Rust tokenizer alone, in rows a second, on all reviews of IMDB cut at 128 tokens.

    python benchmarks/tokenizing.py [--data FOLDER] [--rounds 3]

The stage is a whole process: imports, Parquet read and written, lengths counted. The tokenizer alone is timed within
its process, with the texts in memory, by encode_batch_fast and by encode_batch, which also tells where tokens stand.
They take turns. Prints a Markdown table of medians, lowest to highest, and their ratio.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import CHECKPOINT, WORKLOADS, prepared
from growth import clocked
from projects import DATA, called

ALL = 50_000
ALONE = f"""
import json, sys, time
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.params import Model
from tuneline.parquet import read_rows
tokenizer = load_tokenizer(find_checkpoint(Model(checkpoint="{CHECKPOINT}")).folder)
tokenizer.enable_truncation(128)
texts = [row["text"] for split in ("train", "test") for row in read_rows(f"data/validated/{{split}}.parquet", ["text"])]
started = time.perf_counter()
for first in range(0, len(texts), 2000):
    getattr(tokenizer, sys.argv[1])(texts[first : first + 2000])
print(json.dumps({{"rows": len(texts), "seconds": time.perf_counter() - started}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    imdb = next(each for each in WORKLOADS if each.name == "imdb-128")
    rates: dict[str, list[float]] = {"tokenize": [], "encode_batch_fast": [], "encode_batch": []}
    with tempfile.TemporaryDirectory(prefix="tuneline-tokenizing-") as folder:
        project = prepared(replace(imdb, test_rows=ALL), options.data.resolve(), Path(folder), ALL)
        for _ in range(options.rounds):
            for name in ("encode_batch_fast", "encode_batch"):
                facts = json.loads(called([sys.executable, "-c", ALONE, name], project)[0])
                rates[name].append(facts["rows"] / facts["seconds"])
            seconds, _ = clocked(["tuneline", "stage", "tokenize"], project)
            rates["tokenize"].append(facts["rows"] / seconds)
    print("| | rows a second | tokenize to it |\n|---|---|---|")
    stage = statistics.median(rates["tokenize"])
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:,.0f} ({min(found):,.0f} to {max(found):,.0f}) | {stage / middle:.2f} |")


if __name__ == "__main__":
    main()
