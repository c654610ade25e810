"""Flow runs on a real Prefect server, worker and MLflow server: to the end, refused, killed, resumed, at once."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
import mlflow
import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import run, write_toy_rows
from tests.flows.conftest import Site, decoded, have_champion, kill_tree, until
from tests.servers import proxy
from tuneline.display import number

pytestmark = pytest.mark.slow
STAGES = ["validate", "tokenize", "fine-tune", "evaluate", "register"]
SHORT = {"train.num_train_epochs": 3}
FRESH = {**SHORT, "data.checks.max_length": 99_999}  # so that no other test's rows are found in the cache
RESUMED = "fine-tune: goes on from the last checkpoint of a run that was cut short"


def long(seed: int) -> dict[str, Any]:
    """Training that lasts half a minute. The same seed gives the same inputs."""
    return {"train.num_train_epochs": 40, "train.early_stopping_patience": 1000, "train.seed": seed}


def champion(site: Site) -> Any:
    return mlflow.MlflowClient(site.mlflow, site.mlflow).get_model_version_by_alias("toy", "champion")


def test_a_run_goes_from_the_form_to_a_champion_and_leaves_an_experiment(site: Site, tmp_path: Path) -> None:
    run_id = site.submit(overrides=FRESH)
    state = site.finish(run_id)
    assert (state["type"], state["name"]) == ("COMPLETED", "Completed"), state["message"]
    assert state["message"].startswith("toy version ")

    tasks = site.tasks(run_id)
    assert list(tasks) == STAGES
    assert tasks["validate"]["state"]["message"] == "validate: 80 rows, 0 refused"
    assert "> tuneline stage fine-tune" in site.lines(run_id)

    shown = site.artifacts(run_id)
    assert {"parameters", "validation", "progress", "metrics", "decision", "mlflow-run", "model-version", "report",
            "learning-curve", "confusion-matrix"} <= set(shown)  # fmt: skip
    assert "| train.num\\_train\\_epochs | 8 | 3 |" in shown["parameters"]
    assert shown["progress"] == 100.0
    scores = {row["metric"]: row["challenger"] for row in decoded(shown["metrics"])}
    assert scores["accuracy"] == number(float(champion(site).tags["tuneline.score.accuracy"]))
    assert champion(site).tags["tuneline.flow_run"] == run_id
    assert not list((site.home / "workspaces").iterdir())

    # Another checkout lists the experiment, with its numbers.
    other = tmp_path / "other"
    run("git", "clone", "-q", str(site.origin), str(other), cwd=tmp_path)
    run("git", "fetch", "-q", "origin", "+refs/exps/*:refs/exps/*", cwd=other)
    run("dvc", "remote", "add", "--local", "--default", "runs", str(site.home / "cache"), cwd=other)
    listed = csv.DictReader(io.StringIO(run("dvc", "exp", "show", "--csv", cwd=other).stdout))
    [experiment] = [row for row in listed if row["Experiment"] == champion(site).tags["tuneline.experiment"]]
    assert number(float(experiment["metrics.accuracy"])) == scores["accuracy"]

    # A second run that changes only `register` runs that stage alone.
    second = site.submit(overrides={**FRESH, "register.minimum_effect": 0.5})
    assert site.finish(second)["type"] == "COMPLETED"
    messages = {stage: task["state"]["message"] for stage, task in site.tasks(second).items()}
    assert [stage for stage in STAGES if "from the cache" not in messages[stage]] == ["register"]
    name = site.get(f"flow_runs/{second}")["name"]
    pattern = f"refs/exps/*/*/{name}"
    [ref] = run("git", "for-each-ref", "--format=%(refname)", pattern, cwd=site.origin).stdout.split()
    held = run("git", "ls-tree", "-r", ref, cwd=site.origin).stdout.splitlines()
    assert [line for line in held if line.startswith("120000")] == []  # no link into this host's cache


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"overrides": {"train.learning_rat": 0.1}}, "train.learning_rat"),
        ({"overrides": {"train.learning_rate": 0}}, "minimum"),
        ({"overrides": {"train.lr_scheduler_type": "zigzag"}}, "zigzag"),
        ({"recipe": "no-such"}, "recipe"),
        ({"revision": "--upload-pack=evil"}, "revision"),
    ],
)
def test_an_unknown_or_impossible_value_is_refused_when_the_run_is_created(
    site: Site, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        site.submit(**parameters)
    assert refused.value.response.status_code in (409, 422)
    assert said in refused.value.response.text


def test_a_section_of_the_form_with_an_unknown_key_is_refused_when_the_run_is_created(site: Site) -> None:
    schema = site.get("deployments/name/fine-tune/fine-tune")["parameter_openapi_schema"]
    params = schema["properties"]["params"]["default"]
    params["train"]["learning_rat"] = 0.1
    with pytest.raises(httpx.HTTPStatusError) as refused:
        site.submit(params=params)
    assert "learning_rat" in refused.value.response.text


def test_what_a_person_must_mend_is_said_in_one_message_and_not_retried(site: Site) -> None:
    run_id = site.submit(overrides={"data.checks.min_length": 22})
    state = site.finish(run_id)
    assert (state["type"], state["name"]) == ("FAILED", "Refused")
    assert state["message"].startswith("validate: ")
    assert "rows" in state["message"]
    assert "Traceback" not in state["message"]
    task = site.tasks(run_id)["validate"]
    assert task["run_count"] == 1
    kept = Path(state["message"].rpartition("The workspace is kept: ")[2])
    assert (kept / "params.yaml").is_file()


def test_a_revision_that_the_origin_does_not_have_is_named(site: Site) -> None:
    state = site.finish(site.submit(revision="no-such-branch"))
    assert (state["name"], "no-such-branch" in state["message"]) == ("Refused", True)


def test_texts_of_the_form_reach_no_shell_and_no_path(site: Site) -> None:
    state = site.finish(site.submit(overrides={"model.checkpoint": "$(touch pwned); ../../`touch pwned`\n'\""}))
    assert state["name"] == "Refused"
    assert not list(site.root.rglob("pwned"))


def test_a_cancelled_run_ends_its_training_and_the_next_one_resumes_it(site: Site) -> None:
    run_id = site.submit(overrides=long(1))
    until(lambda: site.in_training(run_id), 120, "training")
    site.api(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    assert site.finish(run_id, 120)["type"] == "CANCELLED"
    until(lambda: not site.processes(), 30, f"the end of {site.processes()}")
    again = site.submit(overrides=long(1))
    assert site.finish(again)["type"] == "COMPLETED"
    assert RESUMED in site.lines(again)


def test_a_stage_that_takes_too_long_is_ended(site: Site) -> None:
    endless = {**long(2), "train.num_train_epochs": 400}
    run_id = site.submit(overrides=endless, timeout_seconds={"fine-tune": 12})
    state = site.finish(run_id, 120)
    assert (state["type"], state["name"]) == ("FAILED", "TimedOut"), state
    assert "fine-tune" in state["message"]
    until(lambda: not site.processes(), 30, f"the end of {site.processes()}")


def test_a_worker_that_is_killed_takes_its_run_with_it_and_the_next_one_resumes(site: Site) -> None:
    run_id = site.submit(overrides=long(3))
    until(lambda: site.in_training(run_id), 120, "training")
    site.programs.pop("worker").kill()
    state = site.finish(run_id, 120)
    assert state["type"] == "CRASHED", state
    until(lambda: not site.processes(), 30, f"the end of {site.processes()}")
    site.start_worker("worker")
    again = site.submit(overrides=long(3))
    until(lambda: RESUMED in site.lines(again), 120, "resuming")
    assert site.finish(again)["type"] == "COMPLETED"


def test_runs_that_cannot_tell_of_their_end_are_crashed_within_two_minutes(site: Site) -> None:
    """One worker gets SIGTERM, and ends its run without a word. Another host goes dark: all of it is killed at once."""
    site.stop("worker")
    for name in ("stopped", "dark"):
        site.start_worker(name, limit=1)
    runs = [site.submit(overrides={**long(seed), "train.num_train_epochs": 400}) for seed in (4, 5)]
    until(lambda: all(site.in_training(run_id) for run_id in runs), 180, "training")
    stopped, dark = (psutil.Process(site.programs.pop(name).pid) for name in ("stopped", "dark"))
    kill_tree(dark)
    stopped.terminate()
    states = [site.finish(run_id, 120) for run_id in runs]
    assert [state["type"] for state in states] == ["CRASHED", "CRASHED"], states
    assert any("heartbeat" in state["message"] for state in states)
    assert not site.processes()
    site.start_worker("worker")


def test_a_server_that_restarts_in_mid_run_changes_nothing(site: Site) -> None:
    run_id = site.submit(overrides=long(5))
    until(lambda: site.in_training(run_id), 120, "training")
    site.stop("prefect")
    site.start_prefect()
    assert site.finish(run_id)["type"] == "COMPLETED"


@pytest.mark.torture
@pytest.mark.parametrize(("fault", "seed"), [("hangs for 30 seconds", 80), ("is away for two minutes", 81)])
def test_a_server_that_is_not_there_while_a_stage_ends_costs_no_training(site: Site, fault: str, seed: int) -> None:
    run_id = site.submit(overrides=long(seed))
    until(lambda: site.in_training(run_id), 120, "training")
    if fault.startswith("hangs"):
        server = psutil.Process(site.programs["prefect"].pid)
        tree = [server, *server.children(recursive=True)]
        for process in tree:
            process.suspend()
        time.sleep(30)
        for process in tree:
            process.resume()
    else:
        site.stop("prefect")
        time.sleep(120)
        site.start_prefect()
    state = site.finish(run_id)
    if state["type"] != "COMPLETED":
        assert state["type"] == "CRASHED", state
        again = site.submit(overrides=long(seed))
        assert site.finish(again)["type"] == "COMPLETED"
        lines = site.lines(again)
        assert RESUMED in lines or "> tuneline stage fine-tune" not in lines
    assert seeds(site).count(seed) == 1


@pytest.mark.torture
@pytest.mark.parametrize(("fault", "seed"), [("500", 82), ("slow", 83), ("cut", 84)])
def test_a_server_that_is_out_of_order_for_half_a_minute_costs_no_training(site: Site, fault: str, seed: int) -> None:
    site.stop("worker")
    with proxy(site.prefect) as front:
        site.start_worker("proxied", PREFECT_API_URL=f"{front.address}/api")
        run_id = site.submit(overrides=long(seed))
        until(lambda: site.in_training(run_id), 180, "training")
        front.fault = lambda _: fault
        time.sleep(30)
        front.fault = lambda _: None
        assert site.finish(run_id)["type"] == "COMPLETED"
        site.stop("proxied")
    assert seeds(site).count(seed) == 1


@pytest.mark.torture
@pytest.mark.parametrize(("step", "seed"), [("exp save", 90), ("exp push", 91)])
def test_a_run_that_is_killed_while_its_experiment_is_saved_is_saved_by_the_next(
    site: Site, step: str, seed: int
) -> None:
    asked = {**SHORT, "train.seed": seed}
    killed = site.submit(overrides=asked)
    until(lambda: kill_group_of(site, step), 180, step)
    assert site.finish(killed, 180)["type"] == "CRASHED"
    until(lambda: not site.processes(), 30, f"the end of {site.processes()}")
    again = site.submit(overrides=asked)
    assert site.finish(again)["type"] == "COMPLETED"
    assert "> tuneline stage fine-tune" not in site.lines(again)
    saved = run("git", "for-each-ref", "--format=%(refname)", "refs/exps", cwd=site.origin).stdout
    assert site.get(f"flow_runs/{again}")["name"] in saved
    assert seeds(site).count(seed) == 1


def kill_group_of(site: Site, step: str) -> bool:
    """Kill the flow run and all that it started, once it is at a step; whether it was."""
    for process, words in site.working().items():
        if step in words:
            kill_tree(next(each for each in process.parents() if "prefect" in " ".join(each.cmdline())))
            return True
    return False


def seeds(site: Site) -> list[int]:
    """Of the trainings that the versions came from."""
    client = mlflow.MlflowClient(site.mlflow, site.mlflow)
    found = client.search_model_versions("name = 'toy'")
    return [int(client.get_run(str(version.run_id)).data.params["train.seed"]) for version in found]


def test_two_runs_at_once_share_what_is_alike_and_take_a_device_each(site: Site) -> None:
    good, poor = (
        site.submit(overrides={**long(7), "train.learning_rate": rate, "tokenize.max_length": 17})
        for rate in (0.005, 0.0000001)
    )
    assert {site.finish(each)["type"] for each in (good, poor)} == {"COMPLETED"}
    lines = [line for each in (good, poor) for line in site.lines(each)]
    assert lines.count("> tuneline stage tokenize") == 1
    assert {line for line in lines if line.startswith("fine-tune: device")} == {
        "fine-tune: device 0, one of 2",
        "fine-tune: device 1, one of 2",
    }
    versions = {
        version.tags["tuneline.flow_run"]: float(version.tags["tuneline.score.accuracy"])
        for version in mlflow.MlflowClient(site.mlflow, site.mlflow).search_model_versions("name = 'toy'")
    }
    assert versions[good] > versions[poor]
    assert float(champion(site).tags["tuneline.score.accuracy"]) == max(versions.values())


@pytest.mark.torture
def test_ten_runs_at_once_and_a_worker_that_is_killed_lose_nothing(site: Site) -> None:
    """Four at a time on one worker and two on another, which is killed while four wait."""
    site.start_worker("second", limit=2)
    asked = {site.submit(overrides={**SHORT, "train.seed": seed}): seed for seed in range(50, 60)}
    until(lambda: sum(site.state(each)["type"] == "RUNNING" for each in asked) >= 6, 180, "six runs at work")
    site.programs.pop("second").kill()
    ended = {each: site.finish(each, 600)["type"] for each in asked}
    lost = [each for each, state in ended.items() if state == "CRASHED"]
    assert set(ended.values()) <= {"COMPLETED", "CRASHED"}, ended
    assert len(lost) <= 2
    again = [site.submit(overrides={**SHORT, "train.seed": asked[each]}) for each in lost]
    assert {site.finish(each, 300)["type"] for each in again} <= {"COMPLETED"}
    until(lambda: not site.processes(), 30, f"the end of {site.processes()}")
    assert sorted(seed for seed in seeds(site) if seed in asked.values()) == sorted(asked.values())
    found = json.loads(run("tuneline", "history", "toy", "--json", cwd=site.project, **site.env).stdout)
    assert found["problems"] == []


def test_data_that_is_pushed_starts_a_run_on_it(site: Site) -> None:
    write_toy_rows(site.project / "data/sample/toy/rows.csv", rows=90)
    run("tuneline", "data", "add", "--force", "toy", "data/sample/toy", cwd=site.project, **site.env)
    early = run("tuneline", "data", "push", "toy", cwd=site.project, check=False, **site.env)
    assert (early.returncode, "commit" in early.stderr) == (2, True)
    run("git", "add", "-A", cwd=site.project)
    run("git", "commit", "-qm", "ten more rows", cwd=site.project)
    unpushed = run("tuneline", "data", "push", "toy", cwd=site.project, check=False, **site.env)
    assert (unpushed.returncode, "git push" in unpushed.stderr) == (2, True)
    run("git", "push", "-q", "origin", "main", cwd=site.project)
    run("tuneline", "data", "push", "toy", cwd=site.project, **site.env)
    revision = run("git", "rev-parse", "HEAD", cwd=site.project).stdout.strip()
    flow_runs = {"flows": {"name": {"any_": ["retrain-on-data"]}}}
    [started] = until(lambda: site.api("flow_runs/filter", **flow_runs), 60, "the run on new data")
    assert (started["parameters"]["data"], started["parameters"]["revision"]) == ("toy", revision)
    assert site.finish(started["id"])["type"] == "COMPLETED"
    assert site.tasks(started["id"])["validate"]["state"]["message"] == "validate: 90 rows, 0 refused"


def test_an_output_in_the_folder_of_the_run_is_refused(site: Site) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        site.submit("score/score", model="toy", source="/data/texts.csv", output="scored")
    assert "output" in refused.value.response.text


def test_a_file_is_scored_by_the_champion(site: Site, tmp_path: Path) -> None:
    have_champion(site)
    source = tmp_path / "texts.csv"
    source.write_text("review\ngood kettle number 3\nawful lamp number 4\n")
    output = tmp_path / "scored"
    run_id = site.submit("score/score", model="toy", source=str(source), output=str(output), columns={"text": "review"})
    state = site.finish(run_id)
    assert state["type"] == "COMPLETED", state
    assert state["message"].startswith("score: 2 rows, 1 parts, toy version"), state
    table = pq.read_table(output).to_pylist()
    assert [row["review"] for row in table] == ["good kettle number 3", "awful lamp number 4"]
    assert {row["model_version"] for row in table} == {f"toy/{champion(site).version}"}
