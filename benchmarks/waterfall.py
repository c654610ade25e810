"""Where the seconds of `dvc repro` go, stage by stage: imports, work, and what stands around it.

    python benchmarks/waterfall.py

Clones the checkout into a temporary folder and runs `dvc repro` on the sample there, each stage with clocks on what is
work: tokenizing, Trainer.train, and predictions, those that register times among them. Prints a Markdown table. The
rest of the wall clock is what the pipeline costs: imports, DVC, MLflow (its store is made anew), checks, report.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from projects import called, cloned, timed

from tuneline.cli import STAGES, look_rarely_for_garbage

CLOCKS = "clocks.jsonl"
WORK = {  # stage → what of it is work: module, and the name of a function or of a method there
    "tokenize": [("tuneline.tokenizing", "encode")],
    "fine-tune": [("transformers", "Trainer.train")],
    "evaluate": [("tuneline.inference", "Predictor.outputs"), ("tuneline.inference", "Predictor.predict")],
    "register": [("tuneline.inference", "Predictor.predict")],  # timed: latency and rows per second of the model
}


def one_stage(name: str, born: float) -> None:
    """Run a stage in this process, as `tuneline stage` does; add its seconds to CLOCKS."""
    look_rarely_for_garbage()
    read_params = import_module("tuneline.params").read_params
    module = import_module(STAGES[name])
    spent: list[float] = []
    for home, path in WORK.get(name, []):
        owner: Any = import_module(home)
        *classes, function = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        wrapped = timed(getattr(owner, function), spent)
        setattr(owner, function, wrapped)
        if hasattr(module, function):  # imported by name
            setattr(module, function, wrapped)
    imported = time.time()
    module.run(read_params(*module.SECTIONS))
    found = {"stage": name, "born": born, "imports": imported - born, "work": sum(spent)}
    with Path(CLOCKS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=list(STAGES), help="of one process")
    parser.add_argument("--born", type=float, help="when that process was started, in seconds")
    options = parser.parse_args()
    if options.stage:
        one_stage(options.stage, options.born)
        return
    with tempfile.TemporaryDirectory(prefix="tuneline-waterfall-") as folder:
        project = cloned(Path(folder))
        pipeline = (project / "dvc.yaml").read_text(encoding="utf-8")
        clocked = f"{sys.executable} {Path(__file__).resolve()} --born $(date +%s.%N) --stage"
        pipeline = re.sub("tuneline stage (.+)", rf"{clocked} \1 && date +%s.%N >> {CLOCKS}", pipeline)
        (project / "dvc.yaml").write_text(pipeline, encoding="utf-8")
        started = time.perf_counter()
        called(["dvc", "repro"], project)
        whole = time.perf_counter() - started
        lines = [json.loads(line) for line in (project / CLOCKS).read_text(encoding="utf-8").splitlines()]
        stages_and_ends = zip(lines[::2], lines[1::2], strict=True)
        found = {stage["stage"]: {**stage, "all": end - stage["born"]} for stage, end in stages_and_ends}
    print("| stage | Python and imports, s | work, s | the rest, s | all, s |\n|---|---|---|---|---|")
    for stage, each in found.items():
        rest = each["all"] - each["imports"] - each["work"]
        print(f"| {stage} | {each['imports']:.1f} | {each['work']:.1f} | {rest:.1f} | {each['all']:.1f} |")
    in_stages, work = (sum(each[key] for each in found.values()) for key in ("all", "work"))
    print(f"| DVC, between the stages | | | {whole - in_stages:.1f} | {whole - in_stages:.1f} |")
    print(
        f"\n`dvc repro`: {whole:.1f} s, of which {work:.1f} s are work and {whole - work:.1f} s the pipeline around it."
    )


if __name__ == "__main__":
    main()
