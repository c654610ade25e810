"""Every move of the aliases of a registered model is one transaction.

    settle what was left  →  plan  →  announce in the ledger  →  set the aliases  →  read them back  →  finish

The entry comes first. So a process that is killed at any point leaves an announcement, and the next one ends it: sets
what is not set yet, or says why that cannot be. A lock keeps the processes of one host apart. It does not reach other
hosts: there each announces, then looks whether another has announced the same number, and if so makes way and plans
anew.
"""

import getpass
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mlflow import MlflowClient

from tuneline.errors import TrackingError
from tuneline.ledger import FINISHED, HEAD, RUNNING, Aliases, Content, Entry, Head, Ledger, is_gone, this_process
from tuneline.registry import CHALLENGER, CHAMPION

OUTSIDE = "changed outside"  # the action of an alias that something else than tuneline has moved
TRIES = 40  # while other hosts take the next number of the ledger
OTHERS_SECONDS = 30.0  # how long an announcement of another host may stand before it counts as left behind
FLOW_RUN = "TUNELINE_FLOW_RUN"


@dataclass(frozen=True)
class Standing:
    """What a plan is made on: where the aliases point, and the ledger up to now."""

    aliases: Aliases
    entries: Sequence[Entry]
    head: Head


@dataclass(frozen=True)
class Move:
    """Where the aliases are to point, and on what grounds."""

    action: str
    version: int | None
    after: Aliases
    who: str
    reason: str
    decision: str | None = None  # JSON


Plan = Callable[[Standing], Move | None]


def transact(client: MlflowClient, name: str, plan: Plan) -> Entry | None:
    """Carry out what is planned on the standing of the moment, and plan anew when another host came between. None
    when the plan is to do nothing. Call it under registry_lock."""
    book = Ledger(client, name)
    for attempt in range(TRIES):
        standing = _settled(client, book)
        move = plan(standing)
        if move is None:
            return None
        entry = _carry_out(client, book, standing, move, standing.aliases)
        if entry is not None:
            return entry
        time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 6)))
    raise _no_turn(name)


def _carry_out(client: MlflowClient, book: Ledger, standing: Standing, move: Move, seen: Aliases) -> Entry | None:
    """The finished entry. None when another host was faster, or the aliases are not as they were seen any more."""
    entry = book.announce(_content(book.model, standing, move))
    if not book.is_first(entry) or pointed(client, book.model)[0] != seen:
        book.withdraw(entry)
        return None
    return _conclude(client, book, entry)


def _content(model: str, standing: Standing, move: Move) -> Content:
    now, after, head = standing.aliases, move.after, standing.head
    last = standing.entries[-1] if standing.entries else None
    end = Head(last.content.sequence, last.seal) if last else Head()
    follows = head if head.sequence >= end.sequence else end  # where the last entries were removed, that shows for ever
    return Content(
        model=model, sequence=follows.sequence + 1, action=move.action, version=move.version,
        champion_before=now.champion, champion_after=after.champion,
        challenger_before=now.challenger, challenger_after=after.challenger,
        who=move.who, process=this_process(), when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reason=move.reason, decision=move.decision, flow_run=os.environ.get(FLOW_RUN), previous=follows.seal,
    )  # fmt: skip


def _conclude(client: MlflowClient, book: Ledger, entry: Entry) -> Entry | None:
    """Bring the aliases to where an announcement wants them, and finish it. When the champion is neither the one before
    nor the one after, it fails, and this is None."""
    before, after = entry.content.before, entry.content.after
    now, _ = pointed(client, book.model)
    if entry.why is None and now.champion in (before.champion, after.champion):
        _point(client, book.model, CHAMPION, now.champion, after.champion)
        _point(client, book.model, CHALLENGER, now.challenger, after.challenger)
        now, _ = pointed(client, book.model)
    status = book.status(entry)
    if status != RUNNING:  # another host that took this process for dead has ended it
        return replace(entry, status=FINISHED) if status == FINISHED else None
    if entry.why is not None or now.champion != after.champion:
        book.fail(entry, entry.why or f"the champion alias pointed to {now.champion or 'no version'}")
        return None
    book.finish(entry)
    return replace(entry, status=FINISHED)


def _point(client: MlflowClient, name: str, alias: str, now: int | None, to: int | None) -> None:
    if to == now:
        return
    if to is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, str(to))


def pointed(client: MlflowClient, name: str) -> tuple[Aliases, Head]:
    """Where the aliases point, and the last entry by the registered model: of one moment."""
    model = client.get_registered_model(name)
    numbers = {alias: int(version) for alias, version in model.aliases.items()}
    return Aliases(numbers.get(CHAMPION), numbers.get(CHALLENGER)), Head.parse(model.tags.get(HEAD))


def _settled(client: MlflowClient, book: Ledger) -> Standing:
    """The standing, once no announcement is open and the ledger knows where the aliases point."""
    for _ in range(TRIES):
        aliases, head = pointed(client, book.model)  # first: what comes after it is seen by the checks of _carry_out
        entries = book.read()
        expected = entries[-1].aliases if entries else Aliases()
        if any(entry.status == RUNNING for entry in entries):
            _settle(client, book, entries)
        elif aliases != expected:
            found = Move(OUTSIDE, aliases.champion, aliases, "unknown", _told(expected, aliases, bool(entries)))
            _carry_out(client, book, Standing(expected, entries, head), found, aliases)
        else:
            return Standing(aliases, entries, head)
    raise _no_turn(book.model)


def _settle(client: MlflowClient, book: Ledger, entries: Sequence[Entry]) -> None:
    """End the announcements that their processes have left behind, after a wait for those that may be at work."""
    for entry in entries:
        _wait_for(book, entry)
    waited_for, entries = {entry.run_id for entry in entries}, book.read()
    ended = max((entry.content.sequence for entry in entries if entry.status != RUNNING), default=0)
    left = [entry for entry in entries if entry.status == RUNNING and entry.run_id in waited_for]
    late = [entry for entry in left if entry.content.sequence <= ended]
    rivals = [entry for entry in left if entry.content.sequence > ended]
    now, _ = pointed(client, book.model)
    rivals.sort(key=lambda entry: now.champion != entry.content.champion_after)  # the one that moved the alias is first
    for entry in [*late, *rivals[1:]]:
        book.withdraw(entry)
    for entry in rivals[:1]:
        _conclude(client, book, entry)


def _wait_for(book: Ledger, entry: Entry) -> None:
    limit = time.monotonic() + OTHERS_SECONDS
    while entry.status == RUNNING and not is_gone(entry.content.process) and time.monotonic() < limit:
        time.sleep(0.1)
        if book.status(entry) != RUNNING:
            return


def _told(expected: Aliases, found: Aliases, begun: bool) -> str:
    if not begun:
        return f"it stood so when the ledger began; noticed by {whoami()}"
    changes = [
        f"{alias} from {before or 'no version'} to {after or 'no version'}"
        for alias, before, after in (
            (CHAMPION, expected.champion, found.champion),
            (CHALLENGER, expected.challenger, found.challenger),
        )
        if before != after
    ]
    return f"not by tuneline: {', '.join(changes)}; noticed by {whoami()}"


def _no_turn(name: str) -> TrackingError:
    return TrackingError(
        f"{name}: others kept moving its aliases, and this process had no turn in {TRIES} tries. Run the same command "
        "again."
    )


def whoami(by: str | None = None) -> str:
    """user@host, or a person who speaks through it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container, and a uid without a name
        user = f"uid-{os.getuid()}"
    me = f"{user}@{socket.gethostname()}"
    return f"{by} through {me}" if by else me
