"""Fine-tuning in examples per second, and the quality it gives: tuneline beside what people write by hand.

    make bench                                                  the short form: few rows, one seed, some minutes
    make bench-full                                             three seeds and the rows of the table in docs
    python benchmarks/bench.py --data FOLDER [--full] [--only sst2-128 ...] [--contestants plain tuneline] [--rounds N]

FOLDER holds the public sets, each in a folder of its name, with the files that its recipe names. Each contestant is a
process of its own; they take turns, round by round, on the same rows, checkpoint, batch size, epochs and learning rate.
The peers stand in benchmarks/peers:

    tutorial   Trainer, padding to max_length, float32
    examples   the same with the padding of transformers' example scripts, to the longest row of a batch
    plain      tuneline in float32 with padding; the same seeds, order and heads, so that quality compares closely

Writes every run to stderr and a Markdown table to stdout: medians, lowest to highest, and ratios of the medians.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from projects import DATA, HERE, called, furnished

from tuneline.checkpoints import find_checkpoint
from tuneline.params import Model

CHECKPOINT = "sentence-transformers/all-MiniLM-L6-v2"
CONTESTANTS = ("tutorial", "examples", "tuneline")
PLAIN = {"bf16": False, "padding_free": False}


@dataclass(frozen=True)
class Workload:
    """What is trained. files: of raw data, in a folder of --data, to their names in the project."""

    name: str
    peer: str
    folder: str
    files: dict[str, str]
    task: dict[str, Any]
    rows: dict[str, int]  # of training, by form
    test_rows: int
    data: dict[str, Any] = field(default_factory=dict)
    metric: str | None = None  # None: the loss
    max_length: int = 128
    learning_rate: float = 5e-5
    options: tuple[str, ...] = ()  # of the peer
    model: dict[str, Any] = field(default_factory=dict)
    padded: bool = True  # False: there are blocks, and both peers are one


CLASSIFY = {"name": "text-classification"}
SST2 = {"train.tsv": "train.tsv", "test.tsv": "test.tsv"}
IMDB = {"train.parquet": "train.parquet", "test.parquet": "test.parquet"}
WIKITEXT = {"train.txt": "train.txt", "test.txt": "test.txt"}
GPT2 = {"configuration": {"model_type": "gpt2", "n_embd": 384, "n_layer": 6, "n_head": 12, "n_positions": 128}}
WORKLOADS = (
    Workload(
        "sst2-128", "text_classification", "sst2", SST2, CLASSIFY, {"short": 400, "full": 6000}, 1800,
        data={"header": False, "column_names": ["text", "label"]}, metric="accuracy",
    ),
    Workload(
        "imdb-128", "text_classification", "imdb", IMDB, CLASSIFY, {"short": 200, "full": 2000}, 1000,
        data={"checks": {"max_control_characters": 0.001}}, metric="accuracy",
    ),
    Workload(
        "imdb-512", "text_classification", "imdb", IMDB, CLASSIFY, {"short": 48, "full": 400}, 400,
        data={"checks": {"max_control_characters": 0.001}}, metric="accuracy", max_length=512,
    ),
    Workload(
        "wnut17", "token_classification", "wnut17", {"train.conll": "train.conll", "test.conll": "test.conll"},
        {"name": "token-classification", "scheme": "BIO"}, {"short": 300, "full": 3394}, 1287, metric="f1",
        learning_rate=3e-4,
    ),
    Workload(
        "wikitext-2, masked", "language_modelling", "wikitext-2", WIKITEXT, {"name": "masked-lm"},
        {"short": 150, "full": 1200}, 300, options=("--objective", "masked"), padded=False, learning_rate=5e-4,
    ),
    Workload(
        "wikitext-2, causal", "language_modelling", "wikitext-2", WIKITEXT, {"name": "causal-lm"},
        {"short": 150, "full": 1200}, 300, options=("--objective", "causal"), padded=False, learning_rate=5e-4,
        model=GPT2,
    ),
    Workload(
        "xquad-256", "question_answering", "xquad", {"en.json": "en.json"}, {"name": "question-answering"},
        {"short": 60, "full": 600}, 150, data={"columns": {"id": "id", "group": "title"}}, metric="exact_match",
        max_length=256, learning_rate=3e-4,
    ),
    Workload(
        "multi30k", "seq2seq", "multi30k",
        {"train.en": "train.en", "train.de": "train.de", "test_2016_flickr.en": "test.en",
         "test_2016_flickr.de": "test.de"},
        {"name": "seq2seq", "goal": "translation", "max_target_length": 64, "num_beams": 1},
        {"short": 200, "full": 2000}, 300, data={"columns": {"source": "en", "target": "de"}}, max_length=64,
        learning_rate=5e-4,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    rate: float  # examples a second, in training
    quality: float
    gigabytes: float  # most memory
    seconds: float  # of the whole process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in WORKLOADS])
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=[*CONTESTANTS, "plain"])
    parser.add_argument("--rounds", type=int, help="seeds; 3 in the full form, else 1")
    options = parser.parse_args()
    form = "full" if options.full else "short"
    rounds = options.rounds or (3 if options.full else 1)
    print("| workload | rows | contestant | examples/s | ratio of tuneline | quality on test | GB | whole process, s |")
    print("|---|---|---|---|---|---|---|---|")
    for workload in WORKLOADS:
        if options.only and workload.name not in options.only:
            continue
        names = [each for each in options.contestants if workload.padded or each != "tutorial"]
        with tempfile.TemporaryDirectory(prefix="tuneline-bench-") as folder:
            project = prepared(workload, options.data.resolve(), Path(folder), workload.rows[form])
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for seed in range(rounds):
                for name in names:
                    runs[name].append(run(workload, name, project, workload.rows[form], seed))
                    print(workload.name, name, seed, runs[name][-1], file=sys.stderr, flush=True)
        for line in lines(workload, runs, workload.rows[form]):
            print(line, flush=True)


def prepared(workload: Workload, data: Path, project: Path, rows: int) -> Path:
    """A project whose rows are validated and tokenized, so that all contestants read the same ones."""
    raw = project / "data/raw" / workload.folder
    raw.mkdir(parents=True)
    for source, target in workload.files.items():
        shutil.copyfile(data / workload.folder / source, raw / target)
    furnished(project)
    write_params(workload, project, rows, seed=0)
    for stage in ("validate", "tokenize"):
        called(["tuneline", "stage", stage], project)
    return project


def write_params(
    workload: Workload, project: Path, rows: int, seed: int, train: Mapping[str, Any] | None = None
) -> None:
    """train: keys beside those that all contestants have."""
    loose = {f"max_{what}_share": 1.0 for what in ("duplicate", "near_duplicate", "leaked", "rejected")}
    checks = {**loose, **workload.data.get("checks", {})}
    splits = {"validation": 0}
    limits = {"train": rows, "test": workload.test_rows}
    sections = {
        "data": {**workload.data, "name": workload.folder, "splits": splits, "max_rows": limits, "checks": checks},
        "task": workload.task,
        "model": {"checkpoint": CHECKPOINT, **workload.model},
        "tokenize": {"max_length": workload.max_length},
        "train": {
            "learning_rate": workload.learning_rate, "num_train_epochs": 1, "per_device_train_batch_size": 8,
            "warmup_steps": 0, "logging_steps": 500, "seed": seed, **(train or {}),
        },
        "evaluate": {},
        "register": {"name": "bench"},
    }  # fmt: skip
    (project / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))


def run(workload: Workload, name: str, project: Path, rows: int, seed: int) -> Run:
    if name in ("tuneline", "plain"):
        write_params(workload, project, rows, seed, PLAIN if name == "plain" else None)
        shutil.rmtree(project / ".tuneline", ignore_errors=True)
        command = [sys.executable, str(HERE / "ours.py"), *([workload.metric] if workload.metric else [])]
    else:
        command = [
            sys.executable, str(HERE / "peers" / f"{workload.peer}.py"), "--data", str(project / "data/validated"),
            "--checkpoint", str(find_checkpoint(Model(checkpoint=CHECKPOINT)).folder), "--style", name,
            "--seed", str(seed), "--max-length", str(workload.max_length),
            "--learning-rate", str(workload.learning_rate), *workload.options,
        ]  # fmt: skip
    started = time.perf_counter()
    printed, gigabytes = called(command, project)
    facts = json.loads(printed.splitlines()[-1])
    seconds = time.perf_counter() - started
    return Run(facts["examples"] / facts["train_seconds"], facts["quality"], gigabytes, seconds)


def lines(workload: Workload, runs: dict[str, list[Run]], rows: int) -> list[str]:
    ours = statistics.median(each.rate for each in runs["tuneline"]) if "tuneline" in runs else None
    found = []
    for name, each in runs.items():
        rate = statistics.median(run.rate for run in each)
        ratio = "" if ours is None or name == "tuneline" else f"{ours / rate:.2f}"
        quality = ", ".join(f"{run.quality:.3f}" for run in each)
        memory, seconds = max(run.gigabytes for run in each), statistics.median(run.seconds for run in each)
        span = f" ({min(run.rate for run in each):.1f} to {max(run.rate for run in each):.1f})" if len(each) > 1 else ""
        found.append(
            f"| {workload.name} | {rows:,} | {name} | {rate:.1f}{span} | {ratio} | {quality} | {memory:.1f} "
            f"| {seconds:.0f} |"
        )
    return found


if __name__ == "__main__":
    main()
