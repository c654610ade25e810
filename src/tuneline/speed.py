"""Measures how fast a model folder answers, and what it takes: from text to answer, as it is served."""

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from tuneline import environment
from tuneline.inference import BATCH_SIZE, Predictor
from tuneline.performance import Performance
from tuneline.tasks.base import Prediction, Row

SINGLE_ROWS = 200  # predictions of one row
WARM_UP = 20  # predictions before them
SECONDS = {"warm_up": 2.0, "latency": 10.0, "batches": 3.0}  # after which each part ends, however far it came

Predict = Callable[[Sequence[Row]], list[Prediction]]
Clock = Callable[[], float]


def measure(folder: Path, rows: Sequence[Row]) -> Performance:
    """Speed and size of the model in a folder, on rows spread over these. Takes some seconds, and 15 at most where a
    single row takes less than that."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    predictor = Predictor.load(folder)
    latency, rows_per_second = times(predictor.predict, spread(rows))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Performance(latency, rows_per_second, size, peak_memory(), device_name())


def times(predict: Predict, rows: Sequence[Row], clock: Clock = time.perf_counter) -> tuple[dict[str, float], float]:
    """Percentiles of the milliseconds that one row takes, and rows per second in batches.

    The batches are of BATCH_SIZE rows, or of as many as can be done in the time. Where there are fewer rows, they are
    taken again.
    """
    timed(predict, batches(rows, 1), WARM_UP, SECONDS["warm_up"], clock)
    single = timed(predict, batches(rows, 1), SINGLE_ROWS, SECONDS["latency"], clock)
    p50, p95, p99 = (float(each) for each in np.percentile(single, [50, 95, 99]))
    size = max(1, min(BATCH_SIZE, int(SECONDS["batches"] / max(p50, 1e-9))))
    together = timed(predict, batches(rows, size), SINGLE_ROWS, SECONDS["batches"], clock)
    latency = {"p50": 1000 * p50, "p95": 1000 * p95, "p99": 1000 * p99}
    return latency, size * len(together) / sum(together)


def timed(
    predict: Predict, parts: Iterable[Sequence[Row]], most: int, seconds: float, clock: Clock = time.perf_counter
) -> list[float]:
    """The seconds that each call took, until so many were made or the time was up. At least one is made."""
    found: list[float] = []
    for part in islice(parts, most):
        start = clock()
        predict(part)
        found.append(clock() - start)
        if sum(found) >= seconds:
            break
    return found


def batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Rows by so many, from the first to the last and again."""
    again = cycle(rows)
    while True:
        yield list(islice(again, size))


def spread(rows: Sequence[Row]) -> list[Row]:
    """SINGLE_ROWS of the rows, evenly chosen; all of them where there are fewer."""
    kept = np.unique(np.linspace(0, len(rows) - 1, SINGLE_ROWS).round().astype(int))
    return [rows[place] for place in kept]


def peak_memory() -> int:
    """Bytes: on a GPU the most that was allocated there, else the most that this process has held."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name() -> str:
    """`NVIDIA H100 80GB HBM3`, or `AMD EPYC 7763, 2 threads`."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{environment.cpu()}, {torch.get_num_threads()} threads"
