"""Predictions a second: a tuneline model as it is served, beside transformers.pipeline at several batch sizes.

    python benchmarks/predicting.py --model FOLDER --rows FILE.parquet [--count 1000] [--rounds 3]

FOLDER is a trained text classifier (data/model), FILE has the columns text and label. Each way is a process of its own;
they take turns. From text to label, loading not counted. int8: torch's dynamic quantization of the linear layers.
Prints a Markdown table: rows a second, lowest to highest, the ratio to the best pipeline, and accuracy.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

PIPELINES = (1, 8, 32, 64)  # batch sizes
WAYS = (*(f"pipeline, batch {size}" for size in PIPELINES), "tuneline", "tuneline, float32", "tuneline, int8")
WARM_UP = 32  # rows
Labels = Callable[[list[str]], list[str]]


def pipeline(folder: str, size: int) -> Labels:
    from transformers import pipeline as make  # noqa: PLC0415  each way loads what it needs, and no more

    called = make("text-classification", model=folder, truncation=True, max_length=json_facts(folder)["max_length"])
    return lambda texts: [each["label"] for each in called(texts, batch_size=size)]


def ours(folder: str, way: str) -> Labels:
    import torch  # noqa: PLC0415

    from tuneline.inference import Predictor  # noqa: PLC0415
    from tuneline.memory import keep_memory  # noqa: PLC0415

    keep_memory()
    predictor = Predictor.load(Path(folder))
    if way == "float32":
        predictor.bf16 = False
    if way == "int8":
        predictor.bf16 = False
        torch.ao.quantization.quantize_dynamic(predictor.model, {torch.nn.Linear}, torch.qint8, inplace=True)
    return lambda texts: [each["label"] for each in predictor.predict([{"text": text} for text in texts])]


def json_facts(folder: str) -> Any:
    return json.loads((Path(folder) / "tuneline.json").read_text(encoding="utf-8"))


def measured(folder: str, rows: Path, count: int, way: str) -> dict[str, float]:
    frame = pq.read_table(rows, columns=["text", "label"]).slice(0, count).to_pydict()
    name, _, which = way.partition(", ")
    predict = ours(folder, which) if name == "tuneline" else pipeline(folder, int(which.removeprefix("batch ")))
    predict(frame["text"][:WARM_UP])
    started = time.perf_counter()
    said = predict(frame["text"])
    seconds = time.perf_counter() - started
    right = sum(one == other for one, other in zip(said, frame["label"], strict=True))
    return {"rate": len(said) / seconds, "accuracy": right / len(said)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="of one process")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(options.model, options.rows, options.count, options.way)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[way].append(json.loads(printed.splitlines()[-1]))
            print(way, found[way][-1], file=sys.stderr, flush=True)
    rates = {way: [run["rate"] for run in runs] for way, runs in found.items()}
    best = max(statistics.median(each) for way, each in rates.items() if way.startswith("pipeline"))
    print("| way | rows/s | ratio to the best pipeline | accuracy |\n|---|---|---|---|")
    for way, each in rates.items():
        middle, accuracy = statistics.median(each), found[way][0]["accuracy"]
        print(f"| {way} | {middle:.0f} ({min(each):.0f} to {max(each):.0f}) | {middle / best:.2f} | {accuracy:.4f} |")


if __name__ == "__main__":
    main()
