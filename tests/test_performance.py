"""Speed and size of a model: what is timed, how it is counted, and how the registry keeps it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tuneline import speed
from tuneline.checkpoints import find_checkpoint
from tuneline.modelling import initial_model, save_model
from tuneline.params import Model
from tuneline.performance import Performance
from tuneline.tasks import task_class

ROWS = [{"text": f"row {number}"} for number in range(5)]
FACTS = Performance({"p50": 8.125, "p95": 11.9, "p99": 1 / 3}, 412.7, 91_630_212, 1_193_287_680, "A, 2 threads")


class Watch:
    """A model that takes a known time, and the clock that shows it."""

    def __init__(self, seconds: Any) -> None:
        self.now, self.seconds, self.seen = 0.0, seconds, list[list[str]]()

    def predict(self, rows: Sequence[Any]) -> list[Any]:
        self.seen.append([row["text"] for row in rows])
        self.now += self.seconds(len(rows), len(self.seen))
        return [{} for _ in rows]

    def clock(self) -> float:
        return self.now


def test_percentiles_are_of_single_rows_and_the_rate_is_of_batches() -> None:
    """The 20 calls of the warm-up are slow and do not count. Of 200 calls, 190 take 1 ms, 8 take 2, 2 take 4: their
    95th percentile is 1 + 0.05 of the step to 2, their 99th 2 ms."""
    watch = Watch(lambda rows, call: 0.064 if rows == 64 else 0.05 if call <= 20 else
                  0.004 if call > 218 else 0.002 if call > 210 else 0.001)  # fmt: skip
    latency, rate = speed.times(watch.predict, ROWS, watch.clock)
    assert latency["p50"] == pytest.approx(1.0)
    assert latency["p95"] == pytest.approx(1.05)
    assert latency["p99"] == pytest.approx(2.02)
    assert rate == pytest.approx(1000.0)
    assert [len(rows) for rows in watch.seen[:220]] == [1] * 220
    assert {len(rows) for rows in watch.seen[220:]} == {64}


def test_fewer_rows_are_taken_again() -> None:
    watch = Watch(lambda rows, call: 0.001)
    speed.times(watch.predict, ROWS, watch.clock)
    assert watch.seen[:6] == [["row 0"], ["row 1"], ["row 2"], ["row 3"], ["row 4"], ["row 0"]]


def test_a_slow_model_is_timed_for_some_seconds_only() -> None:
    """2 s a row: one to warm up, five in 10 s, then batches of one, of which two take longer than 3 s."""
    watch = Watch(lambda rows, call: 2.0 * rows)
    latency, rate = speed.times(watch.predict, ROWS, watch.clock)
    assert (latency["p50"], rate, watch.now) == (2000.0, 0.5, 16.0)


def test_the_rows_are_spread_over_all() -> None:
    chosen = [row["number"] for row in speed.spread([{"number": number} for number in range(2000)])]
    assert (len(chosen), chosen[0], chosen[-1]) == (200, 0, 1999)
    assert speed.spread(ROWS) == ROWS


def test_tags_give_back_every_digit() -> None:
    tags = FACTS.tags()
    assert tags["tuneline.performance.size_bytes"] == "91630212"
    assert Performance.from_tags(tags | {"tuneline.git_commit": "none"}) == FACTS


def test_a_version_that_was_never_measured_says_so() -> None:
    tags = FACTS.tags()
    del tags["tuneline.performance.device"]
    assert Performance.from_tags(tags) is None


def test_a_model_folder_is_measured(tmp_path: Path, toy_checkpoint: Path) -> None:
    name = "text-classification"
    task, labels = task_class(name).model_validate({"name": name}), ["bad", "good"]
    checkpoint = find_checkpoint(Model(checkpoint=str(toy_checkpoint)))
    save_model(initial_model(checkpoint, task.head(labels), Model(), 0), tmp_path, checkpoint)
    (tmp_path / "tokenizer.json").write_bytes((toy_checkpoint / "tokenizer.json").read_bytes())
    facts = {"task": task.model_dump(mode="json"), "labels": labels, "max_length": 16}
    (tmp_path / "tuneline.json").write_text(json.dumps(facts))
    found = speed.measure(tmp_path, [{"text": "the kettle was good"}, {"text": "a lamp"}])
    assert list(asdict(found)) == ["latency_ms", "rows_per_second", "size_bytes", "peak_memory_bytes", "device"]
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p95"] <= found.latency_ms["p99"] < 10_000
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert found.rows_per_second > 1
    if not torch.cuda.is_available():
        assert found.peak_memory_bytes > 50_000_000  # Python with torch holds more
        assert found.device.endswith(f", {torch.get_num_threads()} threads")
