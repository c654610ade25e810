"""What was checked and found: a page for people that needs no network, and the error of a failed check."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from tuneline import layout
from tuneline.copies import Verdict
from tuneline.errors import DataError
from tuneline.expectations import Outcome, label_counts, percent
from tuneline.layout import SPLITS
from tuneline.params import Data
from tuneline.row_checks import Survey
from tuneline.validated import findings, numbers

EXAMPLES = 5  # rows named for each check
MOST_LABELS = 100  # labels listed
REJECTS = 20  # refused rows shown
LAST_VALIDATION = layout.STATE / "last-validation"  # of a validation that failed: rejects and report


@dataclass(frozen=True)
class Line:
    """One expectation as it is shown."""

    outcome: Outcome
    found: str
    examples: list[tuple[str, str]]  # where, why


def lines(outcomes: Sequence[Outcome], survey: Survey, verdict: Verdict) -> list[Line]:
    return [Line(outcome, _found(outcome), _examples(outcome, survey, verdict)) for outcome in outcomes]


def render(outcomes: Sequence[Outcome], survey: Survey, verdict: Verdict, data: Data, rejects: Path) -> str:
    """The data docs: one HTML page, styles inside, every text escaped."""
    environment = Environment(
        loader=PackageLoader("tuneline", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = percent
    counts = label_counts(survey, verdict)
    return environment.get_template(
        "data_docs.html.jinja"
    ).render(
        name=data.name,
        lines=lines(sorted(outcomes, key=lambda outcome: outcome.success), survey, verdict),  # failed first
        rejects=_first_rejects(rejects),
        failed=[outcome for outcome in outcomes if not outcome.success],
        numbers=numbers(survey, verdict),
        splits=SPLITS,
        labels=list(counts[:MOST_LABELS].iterrows()),
        more_labels=max(0, len(counts) - MOST_LABELS),
        largest_total=max(1, int(counts.sum(axis=1).max() if len(counts) else 1)),
        lengths=_lengths(survey, verdict),
        files=survey.files,
    )


def failure(outcomes: Sequence[Outcome], survey: Survey, verdict: Verdict, data: Data) -> DataError | None:
    """The error that names every failed expectation, or None when all hold."""
    failed = lines([outcome for outcome in outcomes if not outcome.success], survey, verdict)
    if not failed:
        return None
    parts = [f"{layout.RAW / data.name}: {len(failed)} of {len(outcomes)} checks failed."]
    for line in failed:
        parts.append(f"  {line.outcome.description} Found: {line.found}. Limit: {line.outcome.allowed}.")
        parts += [f"    {where}: {why}" for where, why in line.examples]
        if line.outcome.change:
            parts.append(f"    Mend the rows, or change {' or '.join(line.outcome.change)}.")
    parts.append(f"All refused rows: {LAST_VALIDATION / layout.REJECTS.name}")
    parts.append(f"The whole report: {LAST_VALIDATION / layout.DATA_DOCS.name}")
    return DataError("\n".join(parts))


def _first_rejects(path: Path) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=REJECTS), None)
    return [] if batch is None else batch.to_pylist()


def _found(outcome: Outcome) -> str:
    """`3 of 100 rows fail (3%)`"""
    if outcome.observed is not None:
        return f"{outcome.observed:g}" if isinstance(outcome.observed, int | float) else str(outcome.observed)
    if not outcome.checked:
        return "nothing to check"
    if not outcome.unexpected:
        return f"all {outcome.checked:,} {outcome.frame} hold"
    share = percent(outcome.unexpected / outcome.checked)
    return f"{outcome.unexpected:,} of {outcome.checked:,} {outcome.frame} fail ({share})"


def _examples(outcome: Outcome, survey: Survey, verdict: Verdict) -> list[tuple[str, str]]:
    if not outcome.unexpected:
        return []
    if outcome.frame == "rows":
        found = findings(survey, verdict, outcome.column.removeprefix("ok_"), EXAMPLES)
        return found or [
            (survey.place(row), f"{outcome.column} is out of bounds") for row in outcome.examples[:EXAMPLES]
        ]
    counts = label_counts(survey, verdict)
    if outcome.frame == "labels":
        return [
            (
                f"label {label!r}",
                ", ".join(f"{count:,} {split}" for split, count in counts.loc[label].items()),
            )
            for label in outcome.examples[:EXAMPLES]
        ]
    return [(f"split {split}", "no rows are left") for split in outcome.examples]


def _lengths(survey: Survey, verdict: Verdict) -> dict[str, Any]:
    """Characters of the longest text of each kept row: five numbers, and bars on a doubling scale."""
    longest = survey.longest[verdict.kept]
    if not len(longest):
        return {"quantiles": {}, "bars": []}
    edges = 2 ** np.arange(int(longest.max()).bit_length() + 1)
    counts = np.histogram(longest, bins=[0, *edges])[0]
    first = int(np.flatnonzero(counts)[0])
    bars = [
        {
            "from": int(low),
            "to": int(high) - 1,
            "rows": int(count),
            "height": math.ceil(100 * count / counts.max()),
        }
        for low, high, count in zip([0, *edges[:-1]], edges, counts, strict=True)
    ]
    names = {0: "shortest", 50: "median", 95: "95 in 100", 100: "longest"}
    values = np.percentile(longest, list(names), method="nearest")
    return {
        "quantiles": dict(zip(names.values(), (int(value) for value in values), strict=True)),
        "bars": bars[first:],
    }
