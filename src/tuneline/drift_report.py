"""What came of `tuneline drift`, as a table for a person or as JSON for a program."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuneline.drift import Labelled, Report
from tuneline.drift_checks import Check, Figures, NewWord
from tuneline.log import report


def show(found: Report, *, as_json: bool) -> None:
    """Print the checks, the new words, the score where there is gold, and the verdict last."""
    if as_json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    console = Console()
    if found.checks:
        console.print(_checks(found))
        console.print(_limits(found), highlight=False, soft_wrap=True)
    if found.new_words:
        console.print(_words(found.new_words), markup=False, highlight=False, soft_wrap=True)
    if found.score:
        console.print(_score(found.score))
    report("drift", found.sentence)


def _checks(found: Report) -> Table:
    table = Table(title=f"{found.rows:,} rows of {escape(found.data)} beside {found.reference_rows:,} test rows of "
                  f"{found.model} version {found.version}")  # fmt: skip
    for name in ("looked at", "test"):
        table.add_column(name)
    for name in ("reference", "new", "effect", "p", "p (Holm)"):
        table.add_column(name, justify="right")
    table.add_column("")
    for check in found.checks:
        before, now = _figures(check)
        table.add_row(
            check.of, check.test, escape(before), escape(now), f"{check.effect:.3f}",
            _p(check.p_value), _p(check.adjusted_p), "[bold red]drift[/]" if check.drifted else "",
        )  # fmt: skip
    return table


def _figures(check: Check) -> tuple[str, str]:
    """Both sides in short. Of many labels, the one whose share changed most."""
    before, now = check.reference, check.new
    if not before:
        return "", ""
    name = max(before, key=lambda each: abs(now[each] - before[each]))
    return _figure(name, before), _figure(name, now)


def _figure(name: str, figures: Figures) -> str:
    value = figures[name]
    return f"{name} {value:.4g}" if name == "median" else f"{name} {value:.1%}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _limits(found: Report) -> str:
    return (
        f"Drift: p (Holm) below {1 - found.confidence:.4g} and an effect of {found.smallest_effect:g} or more. With so "
        f"many rows a Kolmogorov-Smirnov distance shows from {found.smallest_visible:.2f} on."
    )


def _words(words: list[NewWord]) -> str:
    shown = ", ".join(f"{each.word} ({each.reference:.1%} → {each.new:.1%})" for each in words)
    return f"Words that more rows have: {shown}"


def _score(score: Labelled) -> Table:
    left_out = f"; {score.left_out:,} not scored: {escape(score.why or '')}" if score.left_out else ""
    table = Table(title=f"Score on {score.rows:,} labelled rows{left_out}")
    table.add_column("metric")
    for name in ("new", "interval", "recorded"):
        table.add_column(name, justify="right")
    for name, measured in score.metrics.items():
        recorded = "" if measured.recorded is None else f"{measured.recorded:.4f}"
        between = "" if measured.interval is None else "{:.4f} to {:.4f}".format(*measured.interval)
        table.add_row(name, f"{measured.value:.4f}", between, recorded)
    return table
