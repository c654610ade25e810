"""`tuneline doctor`: what is wrong with this machine and this checkout, and what to do about it.

    ok       git                    commit 1c140f1
    warning  origin                 none: flows clone from this folder
                                    → git remote add origin URL
    problem  port 5000              something else than MLflow listens there
                                    → stop it, or choose another port: tuneline up --mlflow-port PORT

Nothing is changed, neither a hub nor a package index is asked, and nothing heavy is loaded.
"""

from collections.abc import Callable, Iterable, Iterator

from rich.console import Console
from rich.text import Text

from tuneline.doctor import checkout, machine, servers
from tuneline.doctor.check import Check, State

CHECKS: tuple[Callable[[], Iterable[Check]], ...] = (
    machine.python,
    machine.packages,
    checkout.git,
    checkout.dvc,
    checkout.data,
    checkout.params,
    machine.disks,
    machine.memory,
    machine.gpus,
    servers.ports,
    servers.named,
    machine.telemetry,
)

COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "problem": "red"}
STATE_WIDTH, NAME_WIDTH = 9, 23  # characters


def show(console: Console) -> int:
    """Print every check as it is done. The exit code: 2 when there is a problem, 0 when there is none."""
    states: list[State] = []
    for check in examine():
        console.print(_lines(check), soft_wrap=True)
        states.append(check.state)
    problems, warnings = states.count("problem"), states.count("warning")
    console.print(f"\nproblems: {problems}, warnings: {warnings}", highlight=False)
    return 2 if problems else 0


def examine() -> Iterator[Check]:
    """The checks, in the order in which they are told."""
    for checks in CHECKS:
        yield from checks()


def _lines(check: Check) -> Text:
    """State, name and finding in columns; what to do below the finding."""
    below = "\n" + " " * (STATE_WIDTH + NAME_WIDTH)
    advice = f"{below}→ {check.advice}" if check.advice else ""
    return Text.assemble(
        (f"{check.state:<{STATE_WIDTH}}", COLOURS[check.state]),
        f"{check.name:<{NAME_WIDTH}}" + check.found.replace("\n", below) + advice,
    )
