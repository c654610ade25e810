"""What `tuneline models` and `tuneline history` tell: of the registry, and of the ledger beside it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuneline import registry, tracking
from tuneline.gate import OUTCOME, TAG
from tuneline.ledger import FAILED, RUNNING, Aliases, Entry, Head, Ledger
from tuneline.transaction import pointed

Facts = dict[str, Any]


def models(name: str | None) -> list[Facts]:
    """Every registered model, or every version of the one that is named, newest first. TrackingError when it is not
    there."""
    client = tracking.connect()
    with tracking.answering():
        if name is None:
            return [_model(client, model) for _, model in sorted(registry.registered_models(client).items())]
        model, entries = registry.need_model(client, name), Ledger(client, name).read()
        versions = registry.versions(client, name)
        missing = registry.missing(client, versions)
        return [_version(model, each, entries, missing.get(str(each.version))) for each in reversed(versions)]


def _model(client: MlflowClient, model: RegisteredModel) -> Facts:
    found, entries = registry.versions(client, model.name), Ledger(client, model.name).read()
    last = entries[-1].content if entries else None
    return {
        "model": model.name,
        "versions": len(found),
        **{alias: _number(model.aliases.get(alias)) for alias in (registry.CHAMPION, registry.CHALLENGER)},
        "last_action": last.action if last else None,
        "last_action_at": last.when if last else None,
    }


def _version(model: RegisteredModel, version: ModelVersion, entries: Sequence[Entry], missing: str | None) -> Facts:
    number, tags = int(version.version), version.tags
    said = [entry.content.action for entry in entries if entry.content.version == number]
    metric = tags.get(f"{TAG}metric")
    score = tags.get(f"{registry.SCORE}{metric}")
    return {
        "version": number,
        "aliases": sorted(alias for alias, held in model.aliases.items() if int(held) == number),
        "metric": metric,
        "score": None if score is None else float(score),
        "registered_at": _moment(version.creation_timestamp),
        "outcome": said[-1] if said else tags.get(OUTCOME),
        "missing": missing,
    }


def history(name: str) -> Facts:
    """The ledger of a model, what is wrong with it, and where the aliases point. A model that was deleted still has
    its ledger."""
    registry.Reference.parse(name)
    client = tracking.connect()
    with tracking.answering():
        book = Ledger(client, name)
        if not book.read() or name in registry.registered_models(client):
            registry.need_model(client, name)
            aliases, head = pointed(client, name)
        else:
            aliases, head = Aliases(), Head()
        entries, problems = book.verified(head)
    return {
        "model": name,
        "champion": aliases.champion,
        "challenger": aliases.challenger,
        "entries": [_shown(entry) for entry in entries],
        "problems": problems,
        "notes": _notes(entries, aliases),
    }


def _shown(entry: Entry) -> Facts:
    content = {key: value for key, value in asdict(entry.content).items() if key not in ("model", "previous")}
    decision = json.loads(entry.content.decision) if entry.content.decision else None
    return {**content, "decision": decision, "status": entry.status, "why": entry.why, "run_id": entry.run_id}


def _notes(entries: Sequence[Entry], aliases: Aliases) -> list[str]:
    """What is no break of the ledger, and yet worth a word."""
    notes = [
        f"entry {entry.content.sequence} is not finished: its process is at work or was killed, and the next promotion "
        "or rollback settles it"
        for entry in entries
        if entry.status == RUNNING
    ]
    last = entries[-1] if entries else None
    if not notes and aliases != (last.aliases if last else Aliases()):
        notes.append(
            f"champion is {_or_none(aliases.champion)}, challenger {_or_none(aliases.challenger)}, and tuneline did "
            "not do it: the next promotion or rollback records it"
        )
    return notes


# -- as tables --------------------------------------------------------------------------------------------------------


def show_models(console: Console, name: str | None) -> None:
    found = models(name)
    if name is None:
        _print(console, "Registered models", found, MODEL_COLUMNS)
    else:
        _print(console, f"Versions of {name}", found, VERSION_COLUMNS)


def show_history(console: Console, found: Facts) -> None:
    _print(console, f"Ledger of {found['model']}", found["entries"], ENTRY_COLUMNS)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in found["problems"]:
        console.print(f"broken: {problem}", markup=False, highlight=False, soft_wrap=True, style="red")
    if not found["problems"]:
        console.print(f"The chain of {len(found['entries'])} entries is whole.", highlight=False)


def _print(console: Console, title: str, rows: Sequence[Facts], columns: Mapping[str, Callable[[Facts], str]]) -> None:
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(cell(row)) for cell in columns.values()))
    console.print(table, highlight=False)


def age(moment: str | None, now: datetime | None = None) -> str:
    """ "3 days", of an ISO 8601 time."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    count = max(int(seconds // size), 0)
    return f"{count} {unit}{'' if count == 1 else 's'}"


UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def _champions(entry: Facts) -> str:
    if entry["status"] == FAILED:
        return f"{_or_none(entry['champion_before'])} (failed: {entry['why']})"
    before, after = entry["champion_before"], entry["champion_after"]
    return _or_none(after) if before == after else f"{_or_none(before)} → {_or_none(after)}"


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def _number(version: Any) -> int | None:
    return None if version is None else int(version)


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


MODEL_COLUMNS: dict[str, Callable[[Facts], str]] = {
    "model": lambda row: row["model"],
    "versions": lambda row: str(row["versions"]),
    "champion": lambda row: _or_none(row["champion"]),
    "challenger": lambda row: _or_none(row["challenger"]),
    "last action": lambda row: row["last_action"] or "",
    "age": lambda row: age(row["last_action_at"]),
}
VERSION_COLUMNS: dict[str, Callable[[Facts], str]] = {
    "version": lambda row: str(row["version"]),
    "alias": lambda row: ", ".join(row["aliases"]),
    "score": lambda row: "" if row["score"] is None else f"{row['metric']} {row['score']:.4f}",
    "age": lambda row: age(row["registered_at"]),
    "outcome": lambda row: row["outcome"] or "",
    "lineage": lambda row: row["missing"] or "run and files are there",
}
ENTRY_COLUMNS: dict[str, Callable[[Facts], str]] = {
    "#": lambda row: str(row["sequence"]),
    "when": lambda row: row["when"][:16].replace("T", " "),
    "action": lambda row: row["action"],
    "version": lambda row: _or_none(row["version"]),
    "champion": _champions,
    "who": lambda row: row["who"],
    "reason": lambda row: row["reason"],
}
