"""What a person sees at the end of a run: scores, decision, report, and where to go next."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuneline import layout
from tuneline.display import number
from tuneline.errors import PipelineError
from tuneline.params import read_params


def show(console: Console) -> None:
    """Print the table of test metrics, the promotion decision, the report and the next three commands."""
    evaluation, registration = _json(layout.EVALUATION), _json(layout.REGISTRATION)
    name, decision = registration["name"], registration["decision"]
    console.print(_metrics(evaluation))
    console.print(
        _kept(evaluation["forgetting"], registration["old_rows"]), markup=False, highlight=False, soft_wrap=True
    )
    console.print(
        f"[bold]{name} version {registration['version']}: {decision['outcome']}[/] ({escape(decision['reason'])})\n"
        f"Report: {layout.REPORT.resolve().as_uri()}\n\nNext:\n"
        "  source .venv/bin/activate\n"
        "  mlflow ui --backend-store-uri sqlite:///mlflow.db       runs, curves and the registry\n"
        "  dvc repro                                               after a change in params.yaml or data/raw\n"
        "  dvc metrics diff                                        what the change did to the numbers",
        highlight=False,
        soft_wrap=True,
    )


def _metrics(evaluation: dict[str, Any]) -> Table:
    baseline = evaluation["baseline"]
    table = Table(title=f"Test split, {evaluation['test_rows']:,} rows")
    table.add_column("metric")
    table.add_column("model", justify="right")
    if baseline:
        table.add_column(str(read_params("task").task.baseline), justify="right")
    for name, value in evaluation["metrics"].items():
        table.add_row(name, number(value), *([number(baseline.get(name))] if baseline else []))
    return table


def _kept(forgetting: dict[str, Any], old_rows: dict[str, Any] | None) -> str:
    """What the model kept of its base, and of the champion's test rows where those are other ones."""
    shown = ", ".join(f"{name} {value:.4f}" for name, value in forgetting["metrics"].items())
    line = f"Against its base: {shown or ' '.join(forgetting['not_measured'])}"
    return f"{line}\nAgainst the champion: {old_rows['reason']}" if old_rows else line


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(
            f"{path} is missing: nothing has been evaluated and registered yet. Run dvc repro."
        ) from None
