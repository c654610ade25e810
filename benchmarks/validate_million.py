"""Validate 1,000,000 IMDB-sized reviews; print the seconds and the peak memory of the stage.

    python benchmarks/validate_million.py [../shared/data/imdb/train.parquet] [--rows 1000000]

The 25,000 reviews are repeated with another first word, so none is an exact duplicate but nearly all are
near-duplicates: the worst case for that check. `group` keeps the copies of a review in one split.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
STAGE = (
    "from tuneline.params import read_params; from tuneline.stages import validate; "
    "validate.run(read_params(*validate.SECTIONS))"
)
PARAMS = """
data:
  name: million
  columns: {id: id, group: group}
  checks:
    max_near_duplicate_share: 1
    max_control_characters: 0.01
task: {name: text-classification}
model: {}
tokenize: {}
train: {}
evaluate: {}
register: {name: million}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reviews", nargs="?", type=Path, default=Path("../shared/data/imdb/train.parquet"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="validate-million-") as holder:
        project = Path(holder)
        write_reviews(arguments.reviews, project / "data/raw/million", arguments.rows)
        (project / "params.yaml").write_text(PARAMS, encoding="utf-8")
        shutil.copy(ROOT / "data/expectations.json", project / "data/expectations.json")
        started = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run([sys.executable, "-c", STAGE], cwd=project, env=environment, check=True)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{arguments.rows:,} rows: {seconds:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU), "
        f"peak {used.ru_maxrss / 1e6:.2f} GB"
    )


def write_reviews(source: Path, folder: Path, rows: int) -> None:
    """The reviews again and again, each time with another first word, in one Parquet file."""
    folder.mkdir(parents=True)
    reviews = pq.read_table(source, columns=["text", "label"])
    rest = pc.replace_substring_regex(reviews["text"].cast(pa.string()), r"^\S+", "")
    with pq.ParquetWriter(folder / "reviews.parquet", SCHEMA, compression="lz4") as writer:
        for first in range(0, rows, len(reviews)):
            here = min(len(reviews), rows - first)
            table = pa.table(
                {
                    "id": pa.array([f"r{first + i}" for i in range(here)]),
                    "group": pa.array([f"g{i}" for i in range(here)]),
                    "text": pc.binary_join_element_wise(f"Take{first // len(reviews)}", rest.slice(0, here), ""),
                    "label": reviews["label"].slice(0, here),
                }
            )
            writer.write_table(table.cast(SCHEMA), row_group_size=10_000)


SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "group", "text", "label")])

if __name__ == "__main__":
    main()
