"""How long the intervals of a test split take, and how much memory.

    python benchmarks/bootstrap.py [--rows 25000] [--resamples 10000] [--labels 2]

Rows with a gold label, probabilities and the likeliest label, drawn at random. Prints the seconds of CPU time, over
all threads, for the weights alone, for each metric with its own pass over them, and for several together as evaluate
computes them.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

from tuneline.metrics import classification
from tuneline.metrics.resampling import intervals, resamples_of
from tuneline.metrics.weighted import Measure


def measures_of(rows: int, labels: int) -> dict[str, Measure]:
    generator = np.random.default_rng(1)
    gold = generator.integers(0, labels, rows)
    logits = generator.normal(size=(rows, labels)) + 2 * np.eye(labels)[gold]
    probabilities = classification.softmax(logits)
    predicted = probabilities.argmax(axis=1)
    positive = (gold == labels - 1).astype(np.int64)
    return {
        "accuracy": classification.accuracy(gold, predicted),
        "macro_f1": classification.macro_f1(classification.label_counts(gold, predicted, labels)),
        "roc_auc": classification.roc_auc(positive, probabilities[:, -1]),
        "pr_auc": classification.average_precision(positive, probabilities[:, -1]),
    }


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--labels", type=int, default=2)
    asked = parser.parse_args()
    measures = measures_of(asked.rows, asked.labels)
    print(f"{asked.resamples:,} resamples of {asked.rows:,} rows, {asked.labels} labels")
    print(f"weights alone {seconds(lambda: [None for _ in resamples_of(asked.rows, asked.resamples)]):8.2f} s")

    def together(names: list[str]) -> None:
        chosen = {name: measures[name] for name in names}
        found = {}
        taken = seconds(lambda: found.update(intervals(chosen, asked.rows, confidence=0.95, resamples=asked.resamples)))
        shown = ", ".join(f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in found.items())
        print(f"{' + '.join(names):38} {taken:8.2f} s   {shown}")

    for name in measures:
        together([name])
    together(["accuracy", "macro_f1", "roc_auc"])
    print(f"most memory held: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
