"""`tuneline diff`: what two versions do not share: params, rows, scores, and the predictions that changed.

Scores are compared row by row where both were measured on the same test rows; else each stands with its own interval.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tuneline import layout, record, recorded, row_changes, tracking
from tuneline.comparing import Comparison, compare_by_each
from tuneline.errors import Undefined
from tuneline.flips import Answered, flips, pairs
from tuneline.layout import SPLITS, split_file
from tuneline.recorded import Recorded
from tuneline.registry import TEST_ROWS
from tuneline.tasks.base import Task

CELL = 48  # characters of a text in a table
FLIPPED = {"right_to_wrong": "right → wrong", "wrong_to_right": "wrong → right", "worse": "worse", "better": "better"}


@tracking.answering()
def show(console: Console, then: str, now: str, *, as_json: bool) -> None:
    """Print what two versions do not share. TrackingError where one of them is not there, or its record is not."""
    found = diff(then, now)
    if as_json:
        console.print_json(data=found)
        return
    console.print(f"[bold]{found['then']}[/] → [bold]{found['now']}[/]", highlight=False)
    for part in (_shown_params, _shown_data, _shown_metrics, _shown_flips):
        for piece in part(found):
            console.print(piece, highlight=False, markup=not isinstance(piece, str))


def diff(then: str, now: str) -> dict[str, Any]:
    """The same as plain data."""
    with ExitStack() as stack:
        before, after = (stack.enter_context(recorded.opened(text)) for text in (then, now))
        sides = Answered.of(before), Answered.of(after)
        return {
            "then": str(before),
            "now": str(after),
            "params": recorded.param_changes(before, after),
            "data": _data(before, after, sides[1].task),
            "metrics": metrics(before, after, *sides),
            "predictions": flips(*sides),
        }


# Data


def _data(then: Recorded, now: Recorded, task: Task) -> dict[str, Any]:
    before, after = (row_changes.read_known(version.need(record.ROWS)) for version in (then, now))
    found = row_changes.changes(before, after)
    places = [place for version in (then, now) if (place := version.file(TEST_ROWS))]
    places += [place for split in SPLITS if (place := split_file(layout.VALIDATED, split)).is_file()]
    return {
        "rows": [len(before), len(after)],
        "changes": row_changes.counts(found),
        "examples": row_changes.examples(found, task, places),
    }


# Metrics


def metrics(then: Recorded, now: Recorded, before: Answered, after: Answered) -> dict[str, Any]:
    """Every metric that one of them has, and the paired comparison where their test rows are the same."""
    evaluations = then.evaluation(), now.evaluation()
    unlike = _unlike(before, after)
    compared = {} if unlike else _compared(now, before, after)
    names = dict.fromkeys([*evaluations[1]["metrics"], *evaluations[0]["metrics"]])
    return {
        "paired": not unlike,
        "not_paired": unlike,
        "test_rows": [each["test_rows"] for each in evaluations],
        "values": {
            name: {
                "then": evaluations[0]["metrics"].get(name),
                "now": evaluations[1]["metrics"].get(name),
                "intervals": [each["intervals"].get(name) for each in evaluations],
                **_as_compared(compared.get(name)),
            }
            for name in names
        },
    }


def _unlike(before: Answered, after: Answered) -> str | None:
    """Why two versions cannot be compared row by row, or None."""
    if before.task.name != after.task.name:
        return f"the tasks differ: {before.task.name}, {after.task.name}"
    if before.labels != after.labels:
        return "the label sets differ"
    shared, rows = len(pairs(before, after)), (len(before.rows), len(after.rows))
    if rows != (shared, shared):
        return f"the test rows differ ({rows[0]:,} and {rows[1]:,} of them, {shared:,} in both)"
    return None


def _compared(now: Recorded, before: Answered, after: Answered) -> dict[str, Comparison | Undefined]:
    """The paired comparison of each metric, or why there is none."""
    settings, task, both = now.params()["evaluate"], after.task, pairs(before, after)
    rows, ours, theirs = [pair.row for pair in both], [pair.now for pair in both], [pair.then for pair in both]
    return compare_by_each(
        task, after.labels, rows, ours, theirs, task.metrics, 0.0, settings["confidence"], settings["resamples"]
    )


def _as_compared(found: Comparison | Undefined | None) -> dict[str, Any]:
    """A comparison as plain data, or the reason why these rows allow none."""
    if isinstance(found, Comparison):
        return {"comparison": asdict(found), "not_compared": None}
    return {"comparison": None, "not_compared": None if found is None else str(found)}


# Shown


def _shown_params(found: Mapping[str, Any]) -> Iterator[Any]:
    if not found["params"]:
        yield "\nParams: the same"
        return
    table = Table(title="Params", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("param", "then", "now"):
        table.add_column(name, overflow="fold")
    for name, (then, now) in found["params"].items():
        table.add_row(name, str(then), str(now))
    yield table


def _shown_data(found: Mapping[str, Any]) -> Iterator[Any]:
    data = found["data"]
    before, after = data["rows"]
    if not data["changes"]:
        yield f"\nData: the same {after:,} rows"
        return
    table = Table(title=f"Data, {before:,} → {after:,} rows", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("rows", *SPLITS):
        table.add_column(name, justify="left" if name == "rows" else "right")
    for kind, counted in data["changes"].items():
        table.add_row(kind, *(f"{counted.get(split, 0):,}" for split in SPLITS))
    yield table
    for each in data["examples"]:
        text = _clipped(each["text"] or "(its text is not here)")
        sides = " → ".join("none" if side is None else _facts(side) for side in (each["then"], each["now"]))
        yield f"  {each['kind']} {each['id'] or ''}: {text} [{sides}]"


def _facts(side: Mapping[str, Any]) -> str:
    return ", ".join(_clipped(str(value)) for value in side.values())


def _shown_metrics(found: Mapping[str, Any]) -> Iterator[Any]:
    metrics = found["metrics"]
    before, after = metrics["test_rows"]
    rows = f"{after:,} test rows" if metrics["paired"] else f"{before:,} and {after:,} test rows, not paired"
    table = Table(title=f"Metrics, {rows}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("metric")
    for name in ("then", "now", "gain", "p"):
        table.add_column(name, justify="right")
    for name, each in metrics["values"].items():
        comparison = each["comparison"]
        gain = _number(comparison["gain"], comparison["interval"], "+.4f") if comparison else ""
        p_value = f"{comparison['test_p_value']:.4f}" if comparison else ""
        held, has = (_number(each[side], each["intervals"][i]) for i, side in enumerate(("then", "now")))
        table.add_row(name, held, has, gain, p_value)
    yield table
    if metrics["paired"]:
        tests = dict.fromkeys(each["comparison"]["test"] for each in metrics["values"].values() if each["comparison"])
        yield f"  gain: above 0 is better, paired on the same rows; p: {', '.join(tests)}, two-sided"
        for name, each in metrics["values"].items():
            if each["not_compared"]:
                yield f"  {name}: {each['not_compared']}"
    else:
        yield f"  not compared row by row: {metrics['not_paired']}"


def _number(value: float | None, interval: tuple[float, float] | None, form: str = ".4f") -> str:
    """`0.9130 [0.901, 0.924]`"""
    if value is None:
        return "none"
    short = form.replace("4", "3")
    return f"{value:{form}}" + (f" [{interval[0]:{short}}, {interval[1]:{short}}]" if interval else "")


def _shown_flips(found: Mapping[str, Any]) -> Iterator[Any]:
    flipped = found["predictions"]
    if flipped["not_compared"]:
        yield f"\nPredictions: not compared, {flipped['not_compared']}"
        return
    counted = ", ".join(f"{FLIPPED[kind]} {count:,}" for kind, count in flipped["counts"].items())
    yield f"\nPredictions of {flipped['rows']:,} rows that both were tested on: {counted}"
    for kind, examples in flipped["examples"].items():
        if not examples:
            continue
        table = Table(title=f"{FLIPPED[kind]}, the most confident", title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("text", "gold", "answer", "score"):
            table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
        for each in examples:
            table.add_row(*(_clipped(each[name]) for name in ("text", "gold", "answer")), f"{each['score']:.3f}")
        yield table


def _clipped(text: str) -> str:
    """One line of at most CELL characters."""
    line = " ".join(text.split())
    return line if len(line) <= CELL else f"{line[: CELL - 1]}…"
