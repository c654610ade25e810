"""Promotion, rollback and the ledger on real stores: after every crash, and with ten processes at once."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from tests.servers import mlflow_server, postgresql
from tuneline import ledger, listings, promotion, registry, tracking, transaction
from tuneline.cli import cli
from tuneline.errors import TrackingError
from tuneline.gate import Decision
from tuneline.ledger import Aliases, Entry, Ledger
from tuneline.transaction import pointed

PROCESSES = multiprocessing.get_context("forkserver")  # a fork of a process that has a store open shares its sockets
PROCESSES.set_forkserver_preload(  # what is installed: in the folder of a test, `tests` is not to be found
    ["pytest", "click.testing", "httpx", "tuneline.cli", "tuneline.listings", "tuneline.promotion",
     "mlflow.store.model_registry.sqlalchemy_store"]
)  # fmt: skip
WRITES = (
    "create_run", "set_registered_model_alias", "delete_registered_model_alias", "set_registered_model_tag", "set_tag",
    "set_terminated",
)  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tracking.connect()


@pytest.fixture(scope="module", params=["sqlite", "http", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """The tracking URI of each kind of store."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder / "mlflow.db")
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'mlflow.db'}"
    elif request.param == "http":
        with mlflow_server(folder) as address:
            yield address
    else:
        with postgresql("mlflow") as address:
            yield f"postgresql+psycopg://tuneline@{address}/mlflow"


@pytest.fixture
def shared(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return tracking.connect()


def register(client: MlflowClient, name: str, count: int) -> list[registry.ModelVersion]:
    """Versions that share the files of one run."""
    client.create_registered_model(name)
    run_id = client.create_run(tracking.experiment_id(client, "x")).info.run_id
    client.log_text(run_id, "a model", "model/MLmodel")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    return [client.create_model_version(name, source, run_id, await_creation_for=0) for _ in range(count)]


def decision(outcome: str, reason: str = "said so") -> Decision:
    return Decision(outcome, reason, "accuracy", 0.9)


def judge(client: MlflowClient, version: registry.ModelVersion, outcome: str, reason: str = "said so") -> str:
    with registry.registry_lock(version.name):
        return promotion.judge(client, version, lambda _: decision(outcome, reason)).outcome


def settle(client: MlflowClient, name: str) -> None:
    """An operation that wants nothing."""
    with registry.registry_lock(name):
        assert transaction.transact(client, name, lambda _: None) is None


def whole(client: MlflowClient, name: str) -> list[Entry]:
    """The ledger, with a whole chain, every entry ended, each where the one before left off, and the aliases where the
    last one says."""
    aliases, head = pointed(client, name)
    entries, problems = Ledger(client, name).verified(head)
    assert problems == []
    assert [entry.content.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.status for entry in entries} <= {ledger.FINISHED, ledger.FAILED}
    befores = [entry.content.before for entry in entries]
    assert befores == [Aliases(), *(entry.aliases for entry in entries)][: len(entries)]
    assert aliases == (entries[-1].aliases if entries else Aliases())
    return entries


def actions(client: MlflowClient, name: str = "m") -> list[tuple[str, int | None, int | None]]:
    """(action, version, champion from here on) of each entry."""
    return [(e.content.action, e.content.version, e.aliases.champion) for e in whole(client, name)]


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process of its own that calls this, on the store of this one."""
    process = PROCESSES.Process(target=on_store, args=(tracking.tracking_uri(), target, *arguments))
    process.start()
    return process


def on_store(uri: str, target: Callable[..., None], *arguments: Any) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = uri  # the environment is that of the first process which was started
    target(*arguments)


def code_of(process: BaseProcess) -> int | None:
    process.join(120)
    return process.exitcode


# -- what each operation does -----------------------------------------------------------------------------------------


def test_every_decision_is_in_the_ledger_and_the_same_one_only_once(client: MlflowClient) -> None:
    first, second, third = register(client, "m", 3)
    for version, outcome in ((first, "promoted"), (second, "kept"), (second, "kept"), (third, "refused")):
        assert judge(client, version, outcome) == outcome
    assert judge(client, first, "champion") == "champion"
    assert judge(client, second, "kept", "for another reason") == "kept"
    assert actions(client) == [("promoted", 1, 1), ("kept", 2, 1), ("refused", 3, 1), ("kept", 2, 1)]
    content = whole(client, "m")[0].content
    assert json.loads(content.decision or "")["challenger"] == 0.9
    assert content.who.endswith(f"@{socket.gethostname()}")


def test_approval_lets_a_version_wait_as_challenger_until_a_person_promotes_it(client: MlflowClient) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    judge(client, second, "waiting")
    assert pointed(client, "m")[0] == Aliases(champion=1, challenger=2)
    said = promotion.promote("m", 2, reason="looked at the errors", by="Ada")
    assert said == "m version 2 is the champion (before: 1). promoted by hand, ledger entry 3"
    assert pointed(client, "m")[0] == Aliases(champion=2)
    assert whole(client, "m")[-1].content.who.startswith("Ada through ")
    assert promotion.promote("m", 2, reason="again") == "m version 2 is the champion already."


def test_a_version_that_waits_and_is_judged_anew_waits_no_more(client: MlflowClient) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    judge(client, second, "waiting")
    judge(client, second, "kept")
    assert pointed(client, "m")[0] == Aliases(champion=1)


def test_an_approval_that_comes_after_another_champion_is_refused(client: MlflowClient) -> None:
    first, second, _ = register(client, "m", 3)
    judge(client, first, "promoted")
    judge(client, second, "waiting")
    promotion.promote("m", 3, reason="it could not wait")
    with pytest.raises(TrackingError, match="was compared with version 1, and the champion is version 3 by now"):
        promotion.promote("m", 2, reason="late")
    promotion.promote("m", 2, reason="late, and known", accept=["incomparable"])
    assert pointed(client, "m")[0].champion == 2


@pytest.mark.parametrize("outcome", ["refused", "incomparable"])
def test_what_register_refused_needs_the_flag_that_says_so(client: MlflowClient, outcome: str) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    judge(client, second, outcome, "latency 80 ms, limit 50 ms")
    other = {"refused": "incomparable", "incomparable": "refused"}[outcome]
    with pytest.raises(TrackingError, match=f"{outcome}: latency 80 ms, limit 50 ms.*--accept-{outcome}"):
        promotion.promote("m", 2, reason="trust me", accept=[other])
    promotion.promote("m", 2, reason="trust me", accept=[outcome])
    assert actions(client)[-1] == ("promoted by hand", 2, 2)


def test_each_rollback_goes_one_champion_further_back(client: MlflowClient) -> None:
    for version in register(client, "m", 3):
        judge(client, version, "promoted")
    for champion in (2, 1):
        promotion.roll_back("m", None, reason="bad answers")
        assert pointed(client, "m")[0].champion == champion
    with pytest.raises(TrackingError, match=r"no champion to go back to\. Today's: 1, earlier ones: 2, 3\."):
        promotion.roll_back("m", None, reason="bad answers")
    promotion.roll_back("m", 3, reason="it was the data")
    assert pointed(client, "m")[0].champion == 3
    promotion.roll_back("m", None, reason="it was not")
    assert pointed(client, "m")[0].champion == 1


def test_only_an_earlier_champion_that_is_there_can_be_returned_to(client: MlflowClient) -> None:
    versions = register(client, "m", 4)
    for version in versions[:3]:
        judge(client, version, "promoted")
    with pytest.raises(TrackingError, match=r"version 4 never was its champion\. Earlier champions: 1, 2\."):
        promotion.roll_back("m", 4, reason="x")
    with pytest.raises(TrackingError, match="version 9 is not there"):
        promotion.roll_back("m", 9, reason="x")
    client.delete_model_version("m", "2")
    with pytest.raises(TrackingError, match=r"version 2 is deleted in MLflow\. Earlier champions: 1, 2 \(deleted\)"):
        promotion.roll_back("m", 2, reason="x")
    promotion.roll_back("m", None, reason="x")
    assert pointed(client, "m")[0].champion == 1


def test_a_version_without_its_files_does_not_become_champion(client: MlflowClient, tmp_path: Path) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    shutil.rmtree(tmp_path / "mlartifacts")
    with pytest.raises(TrackingError, match="its files are gone"):
        promotion.promote("m", 2, reason="x")
    client.delete_run(str(second.run_id))
    with pytest.raises(TrackingError, match="its run is gone"):
        promotion.promote("m", 2, reason="x")
    assert actions(client) == [("promoted", 1, 1)]


def test_the_next_run_over_the_same_files_does_not_undo_a_rollback(client: MlflowClient) -> None:
    first, second, third = register(client, "m", 3)
    judge(client, first, "promoted")
    judge(client, second, "promoted")
    promotion.roll_back("m", None, reason="bad answers", by="Ada")
    with registry.registry_lock("m"):
        decided = promotion.judge(client, second, lambda _: decision("promoted", "0.9 is better"))
    assert decided.outcome == "kept"
    assert decided.reason.startswith("Ada through ")
    assert "(bad answers), and only `tuneline promote` brings it back; by the numbers, 0.9 is better" in decided.reason
    assert judge(client, third, "promoted") == "promoted"
    promotion.promote("m", 2, reason="they were good after all")
    assert pointed(client, "m")[0].champion == 2


def test_a_change_from_outside_is_noticed_and_recorded(client: MlflowClient) -> None:
    first, second = register(client, "m", 2)
    client.set_registered_model_alias("m", "champion", "1")  # before there was a ledger
    judge(client, second, "kept")
    client.set_registered_model_alias("m", "champion", "2")
    settle(client, "m")
    client.delete_registered_model_alias("m", "champion")
    judge(client, first, "promoted")
    assert actions(client) == [
        ("changed outside", 1, 1), ("kept", 2, 1), ("changed outside", 2, 2), ("changed outside", None, None),
        ("promoted", 1, 1),
    ]  # fmt: skip
    reasons = [entry.content.reason for entry in whole(client, "m")]
    assert reasons[0].startswith("it stood so when the ledger began")
    assert reasons[2].startswith("not by tuneline: champion from 1 to 2; noticed by ")


# -- the chain --------------------------------------------------------------------------------------------------------


def three_entries(client: MlflowClient) -> list[Entry]:
    for version in register(client, "m", 3):
        judge(client, version, "promoted")
    return whole(client, "m")


def problems(client: MlflowClient) -> list[str]:
    return Ledger(client, "m").verified(pointed(client, "m")[1])[1]


def test_an_entry_that_was_edited_shows(client: MlflowClient) -> None:
    entries = three_entries(client)
    client.set_tag(entries[1].run_id, "tuneline.ledger.who", "somebody else")
    assert problems(client) == [f"entry 2 (run {entries[1].run_id}) was edited after it was written"]
    edited = Ledger(client, "m").read()[1]
    client.set_tag(edited.run_id, "tuneline.ledger.digest", edited.content.digest)
    assert problems(client) == ["entry 3 does not follow on entry 2: one was edited or replaced"]


@pytest.mark.parametrize(("number", "status"), [(2, "FAILED"), (3, "FAILED"), (2, "KILLED"), (3, "KILLED")])
def test_an_entry_whose_end_was_edited_shows(client: MlflowClient, number: int, status: str) -> None:
    client.set_terminated(three_entries(client)[number - 1].run_id, status)
    assert problems(client) != []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_was_removed_shows_and_goes_on_showing(client: MlflowClient, number: int) -> None:
    removed = three_entries(client)[number - 1].run_id
    client.delete_run(removed)
    wanted = f"entry {number} was deleted in MLflow: `mlflow runs restore --run-id {removed}` brings it back"
    assert problems(client) == [wanted]
    promotion.promote("m", 1, reason="x")
    assert problems(client) == [wanted]
    client.restore_run(removed)
    assert [p for p in problems(client) if "twice" not in p] == ([] if number < 3 else problems(client))


def test_a_long_decision_is_kept_whole(shared: MlflowClient, request: pytest.FixtureRequest) -> None:
    name = f"long-{request.node.callspec.id}"
    [version] = register(shared, name, 1)
    reason = "é" * 30_001
    judge(shared, version, "promoted", reason)
    [entry] = whole(shared, name)
    assert entry.content.reason == reason
    assert json.loads(entry.content.decision or "")["reason"] == reason


# -- the command line -------------------------------------------------------------------------------------------------


def tuneline(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": "200"})


def test_the_commands_tell_what_the_ledger_holds(client: MlflowClient) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    judge(client, second, "waiting")
    assert tuneline("promote", "m", "2", "--reason", "good").output.startswith("promote: m version 2 is the champion")
    assert tuneline("rollback", "m", "--reason", "[bad]").output.startswith("rollback: m version 1 is the champion")
    shown = tuneline("history", "m")
    assert shown.exit_code == 0
    assert "The chain of 4 entries is whole." in shown.output
    assert "[bad]" in shown.output
    [(one, two)] = [json.loads(tuneline("models", "m", "--json").output)]
    assert (one["version"], one["aliases"], one["outcome"]) == (2, [], "promoted by hand")
    assert (two["version"], two["aliases"], two["outcome"], two["missing"]) == (1, ["champion"], "rolled back", None)
    assert "run and files are there" in tuneline("models", "m").output
    [model] = json.loads(tuneline("models", "--json").output)
    assert (model["versions"], model["champion"], model["last_action"]) == (2, 1, "rolled back")
    client.delete_run(Ledger(client, "m").read()[2].run_id)
    broken = tuneline("history", "m")
    assert broken.exit_code == 2
    assert "broken: entry 3 was deleted in MLflow" in broken.output
    assert json.loads(tuneline("history", "m", "--json").output)["problems"] != []


def test_history_says_what_is_open_and_what_was_changed_outside(client: MlflowClient) -> None:
    first, second = register(client, "m", 2)
    judge(client, first, "promoted")
    client.set_registered_model_alias("m", "champion", "2")
    assert "champion is 2, challenger none, and tuneline did not do it" in tuneline("history", "m").output
    judge(client, second, "champion")
    assert code_of(start(killed_at, 2, False, partial(promotion.promote, "m", 1, reason="x"))) == -signal.SIGKILL
    assert "entry 3 is not finished" in tuneline("history", "m").output


@pytest.mark.parametrize(
    "command", [("models", "review"), ("history", "review"), ("promote", "review", "1", "--reason", "x"),
                ("rollback", "review", "--reason", "x")]
)  # fmt: skip
def test_a_name_that_is_not_there_is_answered_with_the_nearest_one(
    client: MlflowClient, command: tuple[str, ...]
) -> None:
    register(client, "reviews", 1)
    error = tuneline(*command).exception
    assert isinstance(error, TrackingError)
    assert "Did you mean 'reviews'?" in str(error)


def test_age_is_told_in_the_largest_unit_that_fits() -> None:
    now = datetime.fromisoformat("2026-11-25T12:00:00+00:00")
    assert listings.age("2026-11-22T11:00:00+00:00", now) == "3 days"
    assert listings.age("2026-11-25T10:59:00+00:00", now) == "1 hour"
    assert listings.age("2026-11-25T12:00:03+00:00", now) == "0 seconds"


# -- crashes ----------------------------------------------------------------------------------------------------------


def killed_at(write: int, after: bool, operation: Callable[[], Any]) -> None:
    """Run an operation in this process, and kill it before or after its n-th write to the store."""
    done = 0

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal done
            done += 1
            if done == write and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            found = method(*arguments, **keywords)
            if done == write and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return call

    for method in WRITES:
        setattr(MlflowClient, method, watched(getattr(MlflowClient, method)))
    operation()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_next_operation_ends_what_a_process_killed_at_any_write_began(client: MlflowClient, after: bool) -> None:
    """The writes: the entry, the champion alias, the challenger alias, the head, the end of the entry."""
    for write in range(1, 7):
        name = f"m{write}"
        first, second = register(client, name, 2)
        judge(client, first, "promoted")
        judge(client, second, "waiting")
        operation = partial(promotion.promote, name, 2, reason="x")
        code = code_of(start(killed_at, write, after, operation))
        assert code == (-signal.SIGKILL if write < 6 else 0)
        settle(client, name)
        announced = write > 1 or after
        assert [action for action, *_ in actions(client, name)][2:] == ["promoted by hand"] * announced
        assert pointed(client, name)[0] == (Aliases(2) if announced else Aliases(1, 2))


def test_a_champion_changed_outside_while_a_process_lay_dead_is_not_overwritten(client: MlflowClient) -> None:
    first, second, _ = register(client, "m", 3)
    judge(client, first, "promoted")
    judge(client, second, "kept")
    assert code_of(start(killed_at, 2, False, partial(promotion.promote, "m", 2, reason="x"))) == -signal.SIGKILL
    client.set_registered_model_alias("m", "champion", "3")
    settle(client, "m")
    assert actions(client)[2:] == [("promoted by hand", 2, 1), ("changed outside", 3, 3)]
    failed = whole(client, "m")[2]
    assert (failed.status, failed.why) == ("FAILED", "the champion alias pointed to 3")


def test_an_announcement_of_another_host_is_waited_for_and_then_ended(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(client, register(client, "m", 2)[0], "promoted")
    assert code_of(start(killed_at, 2, False, partial(promotion.promote, "m", 2, reason="x"))) == -signal.SIGKILL
    monkeypatch.setattr(ledger, "this_process", lambda: "elsewhere:1")  # from where the dead one may be alive
    monkeypatch.setattr(transaction, "OTHERS_SECONDS", 0.5)
    begun = time.monotonic()
    settle(client, "m")
    assert time.monotonic() - begun >= 0.5
    assert actions(client)[-1] == ("promoted by hand", 2, 2)


def test_an_announcement_that_comes_while_another_is_waited_for_has_its_own_time(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(client, register(client, "m", 2)[0], "promoted")
    assert code_of(start(killed_at, 2, False, partial(promotion.promote, "m", 2, reason="x"))) == -signal.SIGKILL
    monkeypatch.setattr(ledger, "this_process", lambda: "elsewhere:1")
    monkeypatch.setattr(transaction, "OTHERS_SECONDS", 0.5)
    wait, announced = transaction._wait_for, list[float]()

    def then_another_comes(book: Ledger, entry: Entry) -> None:
        wait(book, entry)
        if entry.status == ledger.RUNNING and not announced:
            book.announce(entry.content)
            announced.append(time.monotonic())

    monkeypatch.setattr(transaction, "_wait_for", then_another_comes)
    settle(client, "m")
    assert time.monotonic() - announced[0] >= 0.5
    assert actions(client) == [("promoted", 1, 1), ("promoted by hand", 2, 2)]


def test_a_process_that_was_taken_for_dead_does_not_fail_what_another_has_finished(client: MlflowClient) -> None:
    for version in register(client, "m", 2):
        judge(client, version, "promoted")
    first, _ = whole(client, "m")
    transaction._conclude(client, Ledger(client, "m"), replace(first, status=ledger.RUNNING))
    assert actions(client) == [("promoted", 1, 1), ("promoted", 2, 2)]


# -- many at once -----------------------------------------------------------------------------------------------------


def at_work(name: str, seed: int, turns: int, host: str | None) -> None:
    """Some promotions and rollbacks by chance. host: as if this process were there, out of the lock's reach."""
    if host:
        socket.gethostname = lambda: host
        registry.registry_lock = lambda name: nullcontext()
    client, chance = tracking.connect(), random.Random(seed)
    versions = registry.versions(client, name)
    for _ in range(turns):
        version = chance.choice(versions)
        kind = chance.choice(["judge", "promote", "roll back"])
        try:
            if kind == "judge":
                with registry.registry_lock(name):
                    promotion.judge(client, version, partial(better, version))
            elif kind == "promote":
                promotion.promote(name, int(version.version), reason=f"process {seed}")
            else:
                promotion.roll_back(name, None, reason=f"process {seed}")
        except TrackingError as error:
            assert "no champion to go back to" in str(error), error


def better(version: registry.ModelVersion, champion: registry.ModelVersion | None) -> Decision:
    """A higher number is better."""
    if champion is None or int(champion.version) < int(version.version):
        return decision("promoted", f"better than {champion and champion.version}")
    return decision("kept" if champion.version != version.version else "champion", "no better")


@pytest.mark.parametrize("hosts", [False, True], ids=["one host", "a host each"])
def test_ten_processes_end_with_one_champion_which_the_ledger_names(
    shared: MlflowClient, request: pytest.FixtureRequest, hosts: bool
) -> None:
    if hosts and request.node.callspec.params["store"] == "sqlite":
        pytest.skip("a sqlite file is for one host")
    name = f"race-{hosts}"
    register(shared, name, 5)
    count, turns = (4, 2) if hosts else (10, 3)
    processes = [start(at_work, name, seed, turns, f"host-{seed}" if hosts else None) for seed in range(count)]
    assert [code_of(process) for process in processes] == [0] * count
    assert whole(shared, name)
