"""validate: the raw rows → checked rows in three splits, the refused ones, and the report on both."""

import json

from tuneline import expectations, layout
from tuneline.copies import judge
from tuneline.data_docs import LAST_VALIDATION, failure, render
from tuneline.layout import scratch, staged, storage_errors
from tuneline.log import report
from tuneline.near_duplicates import Sketches
from tuneline.params import Sections
from tuneline.row_checks import survey_rows, text_columns
from tuneline.rows import read_rows
from tuneline.validated import numbers, write_rejects, write_splits

SECTIONS = ("data", "task")


def run(params: Sections) -> None:
    data, task = params.data, params.task
    with storage_errors(), scratch() as folder:
        with Sketches(folder, data.checks.near_duplicate_similarity, len(text_columns(task))) as sketches:
            batches = read_rows(layout.RAW / data.name, data, task)
            survey = survey_rows(batches, data, task, sketches, folder / "rows.parquet")
            verdict = judge(survey, sketches, data, one_gold=task.one_gold)
        outcomes = expectations.validate(expectations.frames(survey, verdict, data.splits), data.checks)
        failed = failure(outcomes, survey, verdict, data)
        with staged(LAST_VALIDATION if failed else layout.VALIDATED) as [out]:
            out.mkdir()
            rejects = out / layout.REJECTS.name
            write_rejects(rejects, survey, verdict, task)
            (out / layout.DATA_DOCS.name).write_text(render(outcomes, survey, verdict, data, rejects), encoding="utf-8")
            if not failed:
                write_splits(out, survey, verdict, task, data.keep)
                counts = numbers(survey, verdict)
                (out / layout.VALIDATION.name).write_text(
                    json.dumps(counts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
                )
    if failed:
        raise failed
    report("validate", f"{len(survey):,} rows, {int(verdict.refused.sum()):,} refused")
