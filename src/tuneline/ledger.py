"""Who made which version the champion, when and why: the ledger of a registered model, in the tracking store.

    7   2026-11-25T15:30:00+00:00   rolled back   version 3, champion 5 → 3   ada@lab   "wrong labels in November"

One entry is one MLflow run of the experiment `tuneline-ledger`, made whole in one request, all of it in tags.

    RUNNING    announced: the aliases may not be set yet
    FINISHED   they are set
    FAILED     they could not be set, `why` says it; the champion stayed as it was
    KILLED     no entry: another process had taken this number a moment before

An entry holds a digest of its content and the seal of the entry before, which covers that one's content and how it
ended. The registered model holds the seal of the last entry. So an entry that is edited or removed shows.
"""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, RunStatus, ViewType

from tuneline import tracking
from tuneline.digests import digest
from tuneline.errors import TrackingError

EXPERIMENT = "tuneline-ledger"
PREFIX = "tuneline.ledger."
HEAD = "tuneline.ledger.head"  # tag of the registered model: number and seal of the last entry
DIGEST, WHY = PREFIX + "digest", PREFIX + "why"
PART = 5000  # characters of one tag; MLflow's databases hold 8,000 and some cut off the rest without a word
PAGE = 1000

RUNNING, FINISHED, FAILED, KILLED = map(
    RunStatus.to_string, (RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)
)


@dataclass(frozen=True)
class Aliases:
    """The versions that the two aliases of a model point to."""

    champion: int | None = None
    challenger: int | None = None


@dataclass(frozen=True)
class Content:
    """What an entry says. Nothing of it changes later."""

    model: str
    sequence: int  # from 1, without a gap
    action: str
    version: int | None  # that the action is about
    champion_before: int | None
    champion_after: int | None
    challenger_before: int | None
    challenger_after: int | None
    who: str
    process: str  # host:pid, to tell whether it still is at work
    when: str  # ISO 8601
    reason: str
    decision: str | None  # JSON
    flow_run: str | None  # of Prefect
    previous: str | None  # seal of the entry before

    @property
    def before(self) -> Aliases:
        return Aliases(self.champion_before, self.challenger_before)

    @property
    def after(self) -> Aliases:
        return Aliases(self.champion_after, self.challenger_after)

    @property
    def digest(self) -> str:
        return digest(asdict(self))

    def tags(self) -> dict[str, str]:
        """As tags of the run. A long value goes on in NAME.1, NAME.2, ..."""
        texts = {name: str(value) for name, value in asdict(self).items() if value is not None}
        parts = {PREFIX + key: part for name, text in texts.items() for key, part in _parts(name, text)}
        return {**parts, DIGEST: self.digest}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> "Content":
        """What `tags` wrote. ValueError or KeyError where it is not that any more."""
        values: dict[str, Any] = {field.name: _joined(tags, PREFIX + field.name) for field in fields(cls)}
        for name in NUMBERS:
            values[name] = None if values[name] is None else int(values[name])
        if values["sequence"] is None:
            raise KeyError(PREFIX + "sequence")
        return cls(**values)


NUMBERS = ("sequence", "version", "champion_before", "champion_after", "challenger_before", "challenger_after")


def _parts(name: str, text: str) -> Iterator[tuple[str, str]]:
    for number, start in enumerate(range(0, max(len(text), 1), PART)):
        yield f"{name}.{number}" if number else name, text[start : start + PART]


def _joined(tags: Mapping[str, str], name: str) -> str | None:
    if name not in tags:
        return None
    text, number = tags[name], 1
    while f"{name}.{number}" in tags:
        text, number = text + tags[f"{name}.{number}"], number + 1
    return text


@dataclass(frozen=True)
class Entry:
    """Content, and what became of it."""

    content: Content
    run_id: str
    status: str
    why: str | None  # it failed
    digest: str  # of the content, when it was written
    unknown: tuple[str, ...] = ()  # what a newer tuneline says in it

    @property
    def aliases(self) -> Aliases:
        """What the aliases point to from here on."""
        return self.content.after if self.status == FINISHED else self.content.before

    @property
    def seal(self) -> str:
        return seal(self.digest, self.status, self.why)


def seal(content: str, status: str, why: str | None = None) -> str:
    """Digest of an entry's content and of how it ended."""
    return digest([content, status, why])


@dataclass(frozen=True)
class Head:
    """Number and seal of the last entry, as the registered model holds them."""

    sequence: int = 0
    seal: str | None = None

    @classmethod
    def parse(cls, tag: str | None) -> "Head":
        number, _, text = (tag or "").partition(" ")
        return cls(int(number), text) if number.isdecimal() else cls()


def this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def is_gone(process: str) -> bool:
    """Whether the process that announced an entry is known to have ended. Of other hosts nothing is known. Call it
    under the registry's lock: then this very process has left it behind as well."""
    host, _, pid = process.rpartition(":")
    if host != this_process().rpartition(":")[0]:
        return False
    if process == this_process():
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:  # it lives and is another user's
        return False
    return False


class Ledger:
    """The entries of one registered model, in its tracking store."""

    def __init__(self, client: MlflowClient, model: str) -> None:
        self.client, self.model = client, model
        self.experiment = _experiment(client)

    def read(self) -> list[Entry]:
        """Every entry, in order. An entry that cannot be read any more is left out: `verified` tells of it."""
        return self._entries()

    def _entries(self, narrower: str = "") -> list[Entry]:
        found = [_entry(run) for run in self._runs(narrower)]
        entries = [entry for entry in found if entry is not None and entry.status != KILLED]
        return sorted(entries, key=lambda entry: (entry.content.sequence, entry.run_id))

    def announce(self, content: Content) -> Entry:
        """A new entry. Its aliases are not set yet."""
        if self.experiment is None:
            self.experiment = tracking.experiment_id(self.client, EXPERIMENT)
        name = f"{content.model} {content.sequence}: {content.action}"
        run = self.client.create_run(self.experiment, tags=content.tags(), run_name=name)
        return Entry(content, run.info.run_id, RUNNING, None, content.digest)

    def is_first(self, entry: Entry) -> bool:
        """Whether no other process has taken this number. Of two that take it at once at least one sees the other."""
        same = self._entries(f" AND tags.`{PREFIX}sequence` = '{entry.content.sequence}'")
        return [other.run_id for other in same] == [entry.run_id]

    def status(self, entry: Entry) -> str:
        return str(self.client.get_run(entry.run_id).info.status)

    def finish(self, entry: Entry) -> None:
        """The aliases are set."""
        self._end(entry, FINISHED)

    def fail(self, entry: Entry, why: str) -> None:
        """The aliases could not be set."""
        self.client.set_tag(entry.run_id, WHY, why)  # first: whoever finds it so far goes on from here
        self._end(entry, FAILED, why)

    def withdraw(self, entry: Entry) -> None:
        """Another process has this number."""
        self.client.set_terminated(entry.run_id, KILLED)

    def _end(self, entry: Entry, status: str, why: str | None = None) -> None:
        head = f"{entry.content.sequence} {seal(entry.digest, status, why)}"
        self.client.set_registered_model_tag(self.model, HEAD, head)
        self.client.set_terminated(entry.run_id, status)

    def _runs(self, narrower: str = "", view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        found: dict[str, Run] = {}
        token = None
        while self.experiment is not None:
            page = self.client.search_runs(
                [self.experiment], f"tags.`{PREFIX}model` = '{self.model}'{narrower}", view, PAGE,
                ["attributes.start_time ASC"], token,
            )  # fmt: skip
            found |= {run.info.run_id: run for run in page}
            token = page.token
            if not token:
                break
        return list(found.values())

    def verified(self, head: Head) -> tuple[list[Entry], list[str]]:
        """Every entry, and what is wrong with them: nothing, when they are as they were written."""
        entries = self.read()
        deleted = [run for run in self._runs(view=ViewType.DELETED_ONLY) if run.info.status != KILLED]
        unreadable = [run for run in self._runs() if _entry(run) is None]
        problems = [f"run {run.info.run_id} is no entry any more: its tags were edited" for run in unreadable]
        return entries, problems + breaks(entries, head, {_number(run): run.info.run_id for run in deleted})


def breaks(entries: Sequence[Entry], head: Head, deleted: Mapping[int, str]) -> list[str]:
    """What is wrong with a ledger. deleted: runs of entries that MLflow has in its bin, by number."""
    problems, last = list[str](), Head()
    for entry in entries:
        number = entry.content.sequence
        problems += _missing(last.sequence + 1, number, deleted)
        if number <= last.sequence:
            problems.append(f"entry {number} is there twice: run {entry.run_id} was added")
        if entry.unknown:
            problems.append(
                f"entry {number} holds {', '.join(entry.unknown)}, which this tuneline does not know: a newer one "
                "wrote it, and only that one can verify it"
            )
        elif entry.content.digest != entry.digest:
            problems.append(f"entry {number} (run {entry.run_id}) was edited after it was written")
        elif number == last.sequence + 1 and entry.content.previous != last.seal:
            problems.append(f"entry {number} does not follow on entry {number - 1}: one was edited or replaced")
        last = Head(number, entry.seal)
    return problems + _tail(entries, head, deleted)


def _tail(entries: Sequence[Entry], head: Head, deleted: Mapping[int, str]) -> list[str]:
    """Whether the ledger ends where the registered model says. An entry that is announced may stand beyond."""
    ends = [Head(entry.content.sequence, entry.seal) for entry in entries if entry.status != RUNNING]
    last = ends[-1] if ends else Head()
    announced = next((entry for entry in reversed(entries) if entry.status == RUNNING), None)
    if head == last or (announced and head.sequence == announced.content.sequence):
        return []
    if head.sequence > last.sequence:
        return _missing(last.sequence + 1, head.sequence + 1, deleted)
    if head.sequence == last.sequence:
        return [f"entry {last.sequence}, the last one, ended otherwise than it says now: it was edited"]
    return [
        f"the registered model names entry {head.sequence} as the last one, and there is entry {last.sequence}: its "
        f"tag {HEAD} was changed, or the model was deleted and made anew"
    ]


def _missing(start: int, stop: int, deleted: Mapping[int, str]) -> list[str]:
    return [
        f"entry {number} was deleted in MLflow: `mlflow runs restore --run-id {deleted[number]}` brings it back"
        if number in deleted
        else f"entry {number} is missing: it was removed"
        for number in range(start, stop)
    ]


def _entry(run: Run) -> Entry | None:
    tags = run.data.tags
    try:
        content = Content.from_tags(tags)
    except (KeyError, ValueError):
        return None
    return Entry(content, run.info.run_id, run.info.status, tags.get(WHY), tags.get(DIGEST, ""), _unknown(tags))


def _unknown(tags: Mapping[str, str]) -> tuple[str, ...]:
    """The names of what an entry holds beyond what is known here."""
    known = {DIGEST, WHY, *(PREFIX + field.name for field in fields(Content))}
    names = {PREFIX + tag.removeprefix(PREFIX).partition(".")[0] for tag in tags if tag.startswith(PREFIX)}
    return tuple(sorted(name.removeprefix(PREFIX) for name in names - known))


def _number(run: Run) -> int:
    number = run.data.tags.get(PREFIX + "sequence", "")
    return int(number) if number.isdecimal() else 0


def _experiment(client: MlflowClient) -> str | None:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None and found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the experiment {EXPERIMENT}, which holds the ledgers of all models, is deleted at {tracking.safe_uri()}. "
            f"Bring it back: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return None if found is None else str(found.experiment_id)
