"""Who becomes champion: by register's decision, by a person's word, and back again.

Each is a plan, made on where the aliases point and on the ledger; `transaction.py` carries it out.
"""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuneline import registry, tracking
from tuneline.errors import TrackingError
from tuneline.gate import OUTCOME, TAG, Decision
from tuneline.ledger import Aliases, Content, Entry
from tuneline.transaction import Move, Plan, Standing, transact, whoami

PROMOTED, WAITING, KEPT, REFUSED, INCOMPARABLE = "promoted", "waiting", "kept", "refused", "incomparable"
JUDGED = (PROMOTED, WAITING, KEPT, REFUSED, INCOMPARABLE)  # actions of register: the outcomes of a decision
BY_HAND, ROLLED_BACK = "promoted by hand", "rolled back"
NEEDS_A_FLAG = (REFUSED, INCOMPARABLE)

Decide = Callable[[ModelVersion | None], Decision]  # of today's champion


def judge(client: MlflowClient, version: ModelVersion, decide: Decide) -> Decision:
    """What register does with a version: decide against today's champion, move the aliases, record it. The same
    decision made again is not recorded again. Call it under registry_lock."""
    number, made = int(version.version), dict[int | None, Decision]()
    decision: Decision | None = None

    def plan(standing: Standing) -> Move | None:
        nonlocal decision
        held = standing.aliases.champion
        if held not in made:  # made once for each champion: to score one again takes minutes
            made[held] = decide(None if held is None else client.get_model_version(version.name, str(held)))
        decision = _unless_rolled_back(made[held], number, standing.entries)
        if decision.outcome not in JUDGED:
            return None
        after = _after(decision.outcome, number, standing.aliases)
        facts = json.dumps(decision.plain(), ensure_ascii=False)
        move = Move(decision.outcome, number, after, whoami(), decision.reason, facts)
        return None if _stands_already(move, standing) else move

    transact(client, version.name, plan)
    assert decision is not None
    return decision


def _unless_rolled_back(decision: Decision, version: int, entries: Sequence[Entry]) -> Decision:
    """What a person took back stays back: else the next run over the same files would undo a rollback."""
    ends = [entry for entry in entries if version in (entry.content.champion_before, entry.aliases.champion)]
    last = ends[-1] if ends else None
    if decision.outcome not in (PROMOTED, WAITING) or last is None or last.content.action != ROLLED_BACK:
        return decision
    if last.aliases.champion == version:
        return decision
    reason = (
        f"{last.content.who} rolled it back ({last.content.reason}), and only `tuneline promote` brings it back; "
        f"by the numbers, {decision.reason}"
    )
    return replace(decision, outcome=KEPT, reason=reason)


def _after(action: str, version: int, now: Aliases) -> Aliases:
    if action == WAITING:
        return Aliases(now.champion, version)
    waiting = None if now.challenger == version else now.challenger  # it waits no more
    return Aliases(now.champion if action in JUDGED and action != PROMOTED else version, waiting)


def _stands_already(move: Move, standing: Standing) -> bool:
    known = judgement(standing.entries, move.version)
    return (
        move.after == standing.aliases
        and known is not None
        and (known.action, known.reason, known.champion_before) == (move.action, move.reason, move.after.champion)
    )


def judgement(entries: Sequence[Entry], version: int | None) -> Content | None:
    """The last that register said of a version."""
    return next(
        (
            entry.content
            for entry in reversed(entries)
            if entry.content.version == version and entry.content.action in JUDGED
        ),
        None,
    )


def made_champion(entries: Sequence[Entry], version: int) -> Decision | None:
    """The decision of register that made a version the champion, if it was the last that register said of it."""
    known = judgement(entries, version)
    if known is None or known.action != PROMOTED or known.decision is None:
        return None
    return Decision.from_plain(json.loads(known.decision))


def promote(name: str, version: int, *, reason: str, accept: Collection[str] = (), by: str | None = None) -> str:
    """Make a version the champion because a person says so; what was done, in a sentence. accept: the outcomes of
    register's decision that do not stand in the way. TrackingError when one does."""
    client, who, reason = tracking.connect(), whoami(by), _said(reason)
    with tracking.answering():
        candidate = registry.referenced_version(client, registry.Reference(name, version=version))

        def plan(standing: Standing) -> Move | None:
            if standing.aliases.champion == version:
                return None
            known = judgement(standing.entries, version)
            _need_consent(candidate, known, accept, standing.aliases.champion)
            after = _after(BY_HAND, version, standing.aliases)
            return Move(BY_HAND, version, after, who, reason, known.decision if known else None)

        _need_files(client, candidate)
        return _transact_alone(client, name, plan) or f"{name} version {version} is the champion already."


def _need_consent(version: ModelVersion, known: Content | None, accept: Collection[str], champion: int | None) -> None:
    if known and known.action == WAITING and known.champion_before != champion and INCOMPARABLE not in accept:
        raise TrackingError(
            f"{version.name} version {version.version} was compared with version {known.champion_before or 'none'}, "
            f"and the champion is version {champion or 'none'} by now. Run dvc repro with this model in place, which "
            f"compares them, or add --accept-{INCOMPARABLE}; the ledger will say so."
        )
    outcome = known.action if known else version.tags.get(OUTCOME, "")
    if outcome not in NEEDS_A_FLAG or outcome in accept:
        return
    why = known.reason if known else version.tags.get(f"{TAG}reason", "")
    raise TrackingError(
        f"{version.name} version {version.version} is {outcome}: {why}. To promote it all the same, add "
        f"--accept-{outcome}; the ledger will say so."
    )


def roll_back(name: str, to: int | None, *, reason: str, by: str | None = None) -> str:
    """Make an earlier champion the champion again; what was done, in a sentence. Without `to` the one before
    today's. TrackingError when there is none, or `to` never was champion."""
    client, who, reason = tracking.connect(), whoami(by), _said(reason)
    with tracking.answering():
        registry.need_model(client, name)

        def plan(standing: Standing) -> Move | None:
            version = _target(client, name, to, standing)
            if version == standing.aliases.champion:
                return None
            _need_files(client, client.get_model_version(name, str(version)))
            return Move(ROLLED_BACK, version, _after(ROLLED_BACK, version, standing.aliases), who, reason)

        return _transact_alone(client, name, plan) or f"{name} version {to} is the champion already."


def _target(client: MlflowClient, name: str, to: int | None, standing: Standing) -> int:
    held, there = standing.aliases.champion, {int(version.version) for version in registry.versions(client, name)}
    former = [version for version in dict.fromkeys(_champions(standing.entries)) if version != held]
    listed = ", ".join(f"{version}{'' if version in there else ' (deleted)'}" for version in former) or "none"
    if to is not None and to != held:
        if to in former and to in there:
            return to
        found = "is deleted in MLflow" if to in former else "never was its champion" if to in there else "is not there"
        raise TrackingError(
            f"{name} version {to} {found}. Earlier champions: {listed}. Another version becomes champion by: "
            f"tuneline promote {name} VERSION --reason ..."
        )
    if to is not None:
        return to
    earlier = [version for version in succession(standing.entries) if version != held and version in there]
    if not earlier:
        raise TrackingError(
            f"{name} has no champion to go back to. Today's: {held or 'none'}, earlier ones: {listed}. Another version "
            f"becomes champion by: tuneline promote {name} VERSION --reason ..."
        )
    return earlier[-1]


def succession(entries: Sequence[Entry]) -> list[int]:
    """The champions that led to today's, oldest first. Who was rolled back is not among them, so a second rollback
    goes one further back."""
    line: list[int] = []
    for entry in entries:
        champion = entry.aliases.champion
        if champion is None or line[-1:] == [champion]:
            continue
        if entry.content.action == ROLLED_BACK and champion in line:
            while line[-1] != champion:
                line.pop()
        else:
            line.append(champion)
    return line


def _champions(entries: Sequence[Entry]) -> list[int]:
    return [entry.aliases.champion for entry in entries if entry.aliases.champion is not None]


def _need_files(client: MlflowClient, version: ModelVersion) -> None:
    missing = registry.missing(client, [version]).get(str(version.version))
    if missing:
        raise TrackingError(
            f"{version.name} version {version.version} cannot be the champion: {missing} ({version.source}). Bring it "
            "back, or choose another version: `tuneline models` lists them."
        )


def _said(reason: str) -> str:
    text = reason.strip().replace("\0", "").encode("utf-8", "replace").decode()
    if not text:
        raise TrackingError("--reason is empty: say why, for those who read the ledger later.")
    return text


def _transact_alone(client: MlflowClient, name: str, plan: Plan) -> str | None:
    """A transaction under the lock; what was done, or None."""
    with registry.registry_lock(name):
        entry = transact(client, name, plan)
    if entry is None:
        return None
    done, before = entry.content, entry.content.champion_before or "none"
    champion = f"{name} version {done.version} is the champion (before: {before})"
    return f"{champion}. {done.action}, ledger entry {done.sequence}"
