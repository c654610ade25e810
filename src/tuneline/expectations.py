"""What the rows are held to: the suites in data/expectations.json, validated by Great Expectations.

    rows     split  label     shortest  longest  ok_present  ok_length  ...  ok_leaked
             train  positive  64        64       True        True            <NA>
    splits   split  rows
    labels   label  train  validation  test  trained  trained_rows  trained_share

Three narrow frames of numbers and booleans, never a text. <NA> means that a check is not about this row.
Limits come from `data.checks` in params.yaml: {"$PARAMETER": "1 - max_rejected_share"}. An expectation about
any of these columns may be added to the file; its `description` is what a person reads when it fails.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.core import ExpectationSuite
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.exceptions import GreatExpectationsError, SuiteParameterError
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from tuneline import layout
from tuneline.copies import ROW_CHECKS, SHARED_LIMIT, Mask, Verdict
from tuneline.errors import DataError
from tuneline.layout import SPLITS
from tuneline.params import Checks, Splits
from tuneline.row_checks import Survey
from tuneline.splitting import TEST, TRAIN

FRAMES = ("rows", "splits", "labels")


class CheckBroken(Exception):
    """A check could not be carried out. This says nothing about the data: it is a bug."""


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation."""

    frame: str
    description: str
    column: str
    success: bool
    checked: int  # values looked at
    unexpected: int
    observed: Any  # where one value is looked at, not each
    allowed: str  # the limit, in words
    change: tuple[str, ...]  # keys of params.yaml that move the limit
    examples: tuple[Any, ...]  # names of the first lines that fail


def frames(survey: Survey, verdict: Verdict, splits: Splits) -> dict[str, pd.DataFrame]:
    """The frames to validate."""
    found = {"rows": _rows(survey, verdict), "splits": _splits(verdict, splits)}
    if survey.labels:
        found["labels"] = _labels(survey, verdict)
    return found


def validate(tables: Mapping[str, pd.DataFrame], checks: Checks, suites: Path = layout.SUITE) -> list[Outcome]:
    """Every expectation's outcome, in the order of the file. Raises CheckBroken when one raised, DataError
    when the file holds what is no expectation."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    outcomes, broken = [], []
    for plain in _read_suites(suites):
        frame = plain["name"]
        if frame not in tables:
            continue
        source = context.data_sources.add_pandas(frame).add_dataframe_asset(frame)
        batch = source.add_batch_definition_whole_dataframe(frame).get_batch({"dataframe": tables[frame]})
        for expectation, result in _results(batch, plain, checks, suites):
            raised = _raised(result["exception_info"])
            if raised:
                broken.append(f"  {frame}: {expectation.get('description', expectation['type'])} {raised}")
            else:
                outcomes.append(_outcome(frame, expectation, result))
    if broken:
        raise CheckBroken(f"{suites}: {len(broken)} checks could not be carried out:\n" + "\n".join(broken))
    return outcomes


def _results(
    batch: Batch, plain: Mapping[str, Any], checks: Checks, path: Path
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each expectation of a suite with its result, in the order of the file."""
    expectations, problems = [], []
    for position, expectation in enumerate(plain["expectations"]):
        numbered = expectation | {"meta": expectation.get("meta", {}) | {"position": position}}
        try:  # one by one: a suite drops what it cannot read, and only logs it
            expectations.append(ExpectationConfiguration(**numbered).to_domain_obj())
        except (GreatExpectationsError, ValueError, TypeError) as error:
            problems.append(f"  {plain['name']}, expectation {position + 1}: {error}")
    if problems:
        raise DataError(f"{path} holds what is no expectation:\n" + "\n".join(problems))
    try:
        validated = batch.validate(
            ExpectationSuite(name=plain["name"], expectations=expectations),
            result_format="SUMMARY",  # COMPLETE, or named index columns, takes 30 s where 1,000,000 rows fail
            expectation_parameters=checks.model_dump(),
        )
    except SuiteParameterError as error:
        known = ", ".join(Checks.model_fields)
        raise DataError(f"{path}, suite {plain['name']}: {error}. Known parameters: {known}.") from error
    results = validated.to_json_dict()["results"]
    results.sort(key=lambda result: result["expectation_config"]["meta"]["position"])
    return list(zip(plain["expectations"], results, strict=True))


def _read_suites(path: Path) -> list[dict[str, Any]]:
    try:
        plain: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Bring it back with: git checkout -- {path}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {error.lineno}: not valid JSON: {error.msg}.") from error
    if not isinstance(plain, list) or not all(isinstance(s, dict) and s.get("name") in FRAMES for s in plain):
        raise DataError(f"{path}: expected a list of suites named {', '.join(FRAMES)}.")
    return plain


def _outcome(frame: str, expectation: Mapping[str, Any], result: Mapping[str, Any]) -> Outcome:
    found, kwargs = result["result"], result["expectation_config"]["kwargs"]
    checked = found.get("element_count", 0) - found.get("missing_count", 0)
    examples = found.get("partial_unexpected_index_list") or []
    keys = re.findall(r'"\$PARAMETER": "([^"]*)"', json.dumps(expectation["kwargs"]))
    names = [f"data.checks.{name}" for key in keys for name in re.findall(r"[a-z_]{2,}", key)]
    return Outcome(
        frame=frame,
        description=expectation.get("description") or expectation["type"],
        column=kwargs.get("column", ""),
        success=bool(result["success"]),
        checked=checked,
        unexpected=found.get("unexpected_count", 0),
        observed=found.get("observed_value"),
        allowed=_allowed(kwargs),
        change=(*dict.fromkeys(names), *expectation.get("meta", {}).get("change", ())),
        examples=tuple(examples),
    )


def _allowed(kwargs: Mapping[str, Any]) -> str:
    """`at least 2; at most 2% may fail`"""
    bounds = [
        f"{words} {kwargs[key]:g}"
        for key, words in (("min_value", "at least"), ("max_value", "at most"))
        if kwargs.get(key) is not None
    ]
    mostly = kwargs.get("mostly", 1)
    if mostly < 1:
        bounds.append(f"at most {percent(1 - mostly)} may fail")
    elif not bounds:
        bounds.append("none may fail")
    return "; ".join(bounds)


def percent(share: float) -> str:
    """`2%`, `0.25%`: as many digits as say something."""
    return f"{round(100 * share, 4):.3g}%"


def _raised(info: Mapping[str, Any]) -> str | None:
    """What a check raised: one flat record, or one for each metric."""
    records = [info] if "raised_exception" in info else list(info.values())
    return next((r["exception_message"] for r in records if r["raised_exception"]), None)


# The frames


def _rows(survey: Survey, verdict: Verdict) -> pd.DataFrame:
    train, test = verdict.split == TRAIN, verdict.split == TEST
    everywhere = np.ones(len(survey), bool)
    failed = verdict.failed
    scopes = dict.fromkeys((*ROW_CHECKS, "id"), everywhere)
    if survey.ids is None:
        scopes["id"] = ~everywhere
    unsound = np.logical_or.reduce([failed[check] for check in SHARED_LIMIT])
    return pd.DataFrame(
        {
            "split": pd.Categorical.from_codes(verdict.split, list(SPLITS)),
            "label": pd.Categorical.from_codes(survey.label, survey.labels),
            "shortest": survey.shortest,
            "longest": survey.longest,
            **{f"ok_{check}": _ok(failed[check], scope) for check, scope in scopes.items()},
            "ok_conflict": _ok(failed["conflict"], ~test),
            "ok_row": _ok(unsound, everywhere),
            "ok_duplicate": _ok(failed["duplicate"], train),
            "ok_near_duplicate": _ok(failed["near_duplicate"], train),
            "ok_leaked": _ok(verdict.leaked, test),
        }
    )


def _ok(failed: Mask, scope: Mask) -> pd.api.extensions.ExtensionArray:
    return pd.arrays.BooleanArray(~failed, ~scope)


def _splits(verdict: Verdict, splits: Splits) -> pd.DataFrame:
    """Rows of each split that has to have some."""
    counts = np.bincount(verdict.split[verdict.kept], minlength=len(SPLITS))
    wanted = [split for split in SPLITS if split != "validation" or splits.validation > 0]
    rows = [counts[SPLITS.index(split)] for split in wanted]
    return pd.DataFrame({"split": wanted, "rows": rows}, index=wanted)


def _labels(survey: Survey, verdict: Verdict) -> pd.DataFrame:
    """Rows of each label that are kept, by split; labels of refused rows alone are left out."""
    labels = label_counts(survey, verdict)
    labels = labels[labels.sum(axis=1) > 0]
    trained = labels["train"] > 0
    rows = labels["train"].where(trained).astype(float)
    names = labels.index.to_series()
    return labels.assign(
        label=names, trained=names.where(trained), trained_rows=rows, trained_share=rows / max(rows.sum(), 1)
    )


def label_counts(survey: Survey, verdict: Verdict) -> pd.DataFrame:
    """Kept rows by label (lines, sorted) and split (columns)."""
    rows, labels = survey.labelled[verdict.kept[survey.labelled[:, 0]]].T
    codes = labels * len(SPLITS) + verdict.split[rows]
    counts = np.bincount(codes, minlength=len(survey.labels) * len(SPLITS)).reshape(-1, len(SPLITS))
    return pd.DataFrame(counts, index=survey.labels, columns=list(SPLITS)).sort_index()
