"""Two registered versions of one project: what they record, explained, built again and compared."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from tests.conftest import make_project, run
from tuneline import diffing, explaining, raw_places, rebuilding, record, recorded, registry, tracking
from tuneline.errors import DataError, TrackingError
from tuneline.flips import Answered
from tuneline.parquet import read_rows
from tuneline.splitting import below, draws

pytestmark = pytest.mark.slow
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def in_train(number: int) -> bool:
    """Whether the row with this id is a training row."""
    test, validation, _ = draws(pa.array([str(number)]))[0][:, None]
    return not below(test, TEST_SHARE)[0] and not below(validation, VALIDATION_SHARE)[0]


GONE, RELABELLED = [i for i in range(80) if in_train(i)][:2]
NEW = next(i for i in range(80, 200) if in_train(i))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_checkpoint: Path) -> Path:
    """A project with two versions. The first hardly learned, from a tree with a file that no commit has; the second
    learned, from a row less, a new one and one with another label."""
    project = make_project(tmp_path_factory.mktemp("lineage") / "project", toy_checkpoint)
    edit(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.0000001")
    (project / "notes.txt").write_text("in no commit\n")
    run("dvc", "repro", cwd=project)
    (project / "notes.txt").unlink()

    edit(project / "params.yaml", "learning_rate: 0.0000001", "learning_rate: 0.005")
    rows = project / "data/sample/toy/rows.csv"
    lines = rows.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"{GONE},")]
    kept = [swapped(line) if line.startswith(f"{RELABELLED},") else line for line in kept]
    rows.write_text("\n".join([*kept, f"{NEW},good lamp that is new,good"]) + "\n")
    run("git", "commit", "-qam", "learn", cwd=project)
    run("dvc", "repro", cwd=project)
    run("git", "add", "-A", cwd=project)
    run("git", "commit", "-qm", "what it came to", cwd=project)
    return project


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def swapped(line: str) -> str:
    head, _, label = line.rpartition(",")
    return f"{head},{'bad' if label == 'good' else 'good'}"


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the current folder, with a home of its own for workspaces and locks."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made / 'mlflow.db'}")
    monkeypatch.setenv("TUNELINE_HOME", str(made.parent / "home"))
    return made


def links(text: str) -> dict[str, explaining.Link]:
    return {link.name: link for link in explaining.explain(text)[1]}


@contextmanager
def tagged(number: int, name: str, value: str) -> Iterator[None]:
    """A version whose tag says something else for a while."""
    client = tracking.connect()
    held = client.get_model_version("toy", str(number)).tags[name]
    client.set_model_version_tag("toy", str(number), name, value)
    try:
        yield
    finally:
        client.set_model_version_tag("toy", str(number), name, held)


@contextmanager
def away(*paths: Path) -> Iterator[None]:
    """Files and folders that are not there for a while."""
    places = [(path, path.with_name(f"{path.name}.away")) for path in paths]
    for path, place in places:
        path.rename(place)
    try:
        yield
    finally:
        for path, place in places:
            place.rename(path)


@contextmanager
def spoilt(path: Path) -> Iterator[None]:
    """A file with other bytes for a while."""
    held = path.read_bytes()
    path.write_bytes(held + b"\n")
    try:
        yield
    finally:
        path.write_bytes(held)


def artifacts(number: int) -> Path:
    client = tracking.connect()
    run_id = str(client.get_model_version("toy", str(number)).run_id)
    return Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))


# The record


def test_a_version_records_the_very_files_it_was_made_with(project: Path) -> None:
    place = artifacts(2)
    assert (place / "lineage/params.yaml").read_bytes() == (project / "params.yaml").read_bytes()
    assert (place / "lineage/dvc.yaml").read_bytes() == (project / "dvc.yaml").read_bytes()
    assert (place / "lineage/raw.dvc").read_bytes() == (project / "data/raw/toy.dvc").read_bytes()
    for name in ("predictions.parquet", "evaluation.json"):
        assert (place / name).read_bytes() == (project / "data/reports" / name).read_bytes()
    told = YAML(typ="safe").load(place / "lineage/dvc.lock")["stages"]
    whole = YAML(typ="safe").load(project / "dvc.lock")["stages"]
    assert told == {stage: whole[stage] for stage in record.STAGES}  # of register it could hold the run before alone
    with recorded.opened("toy@2") as version:
        assert {version.state(artifact) for artifact in json.loads(str(version.tag(record.FILES)))} == {"present"}
        assert version.tag(record.RAW_SOURCE) == "data/sample/toy"
        assert version.tag(record.CHECKPOINT) == "checkpoint"


def test_its_rows_are_those_of_the_splits_without_their_texts(project: Path) -> None:
    rows = read_rows(artifacts(2) / "lineage/rows.parquet")
    kept = [
        {**row, "split": split} for split in ("train", "validation", "test")
        for row in read_rows(project / f"data/validated/{split}.parquet")
    ]  # fmt: skip
    assert [(row["split"], row["row"], row["id"], json.loads(row["gold"])["label"]) for row in rows] == [
        (row["split"], row["row"], row["id"], row["label"]) for row in kept
    ]
    assert {len(row["inputs"]) for row in rows} == {16}
    assert b"kettle" not in (artifacts(2) / "lineage/rows.parquet").read_bytes()


def test_stages_that_ran_outside_dvc_make_no_version(project: Path) -> None:
    client = tracking.connect()
    before = len(client.search_model_versions("name = 'toy'"))
    other = f"sqlite:///{project / 'other.db'}"  # where the model is not known yet
    with spoilt(project / "data/reports/evaluation.json"):
        refused = run("tuneline", "stage", "register", cwd=project, check=False, MLFLOW_TRACKING_URI=other)
    assert refused.returncode == 2
    assert "dvc.lock: names another data/reports/evaluation.json" in refused.stderr
    assert len(client.search_model_versions("name = 'toy'")) == before


# Explain


def test_every_link_of_a_sound_version_is_there(project: Path) -> None:
    found = links("models:/toy@champion")
    assert list(found) == [
        "alias", "version", "decision", "metrics", "MLflow run", "Prefect flow run", "git commit", "params",
        "stage hashes", "tokenizer", "base checkpoint", "raw data", "environment",
    ]  # fmt: skip
    states = {name: link.state for name, link in found.items()}
    assert states == dict.fromkeys(found, "present") | {"Prefect flow run": "none"}
    assert found["alias"].value == "champion → version 2"
    assert found["params"].details == ["against the champion of then, version 1:", "train.learning_rate: 1e-07 → 0.005"]
    assert [detail.split()[0] for detail in found["stage hashes"].details] == list(record.STAGES)


def test_a_dirty_tree_is_told_with_the_files_that_differed(project: Path) -> None:
    commit = links("toy@1")["git commit"]
    assert commit.state == "changed"
    assert "not the whole truth" in commit.advice
    assert "differed from it: notes.txt" in commit.details
    assert "differed and is recorded: params.yaml" in commit.details


@pytest.mark.parametrize(
    ("tag", "value", "link", "state", "said"),
    [
        (record.COMMIT, "f" * 40, "git commit", "missing", "neither in this repository nor at its origin"),
        (record.CHECKPOINT_SHA256, "f" * 64, "base checkpoint", "changed", "other weights under this name"),
        (record.CHECKPOINT, "./nowhere", "base checkpoint", "missing", "there is no folder nowhere"),
        (record.RAW_SHA256, "f" * 64, "raw data", "changed", "Other bytes than those are in data/raw here"),
        (record.TOKENIZER, "f" * 64, "tokenizer", "changed", "others than those of tokenize"),
        (f"{record.STAGE}fine-tune", "f" * 64, "stage hashes", "changed", "other of fine-tune than the tags"),
        (f"{registry.SCORE}accuracy", "0.123", "metrics", "changed", "other numbers"),
    ],
)
def test_a_link_that_broke_is_found_and_says_what_to_do(
    project: Path, tag: str, value: str, link: str, state: str, said: str
) -> None:
    with tagged(2, tag, value):
        found = links("toy")
    assert (found[link].state, said in found[link].advice) == (state, True), found[link]
    assert {name for name, each in found.items() if each.is_broken} == {link}


def test_artifacts_are_held_to_their_digests(project: Path) -> None:
    with spoilt(artifacts(2) / "model/config.json"):
        assert links("toy")["version"].state == "changed"
    with spoilt(artifacts(2) / "lineage/params.yaml"):
        found = links("toy")
        assert found["MLflow run"].details == ["lineage/params.yaml: changed"]
        assert "lineage/params.yaml" in found["params"].advice
    with away(artifacts(2) / "model"):
        assert links("toy")["version"].state == "missing"


def test_raw_data_is_looked_for_here_in_the_cache_on_the_remote_and_at_its_origin(
    project: Path, tmp_path: Path
) -> None:
    def place() -> str:
        return links("toy")["raw data"].value.rpartition("(in ")[2].rstrip(")")

    assert place() == "data/raw here"
    with away(project / "data/raw/toy"):
        assert place() == "the DVC cache"
        run("dvc", "remote", "add", "--local", "--default", "storage", str(tmp_path / "remote"), cwd=project)
        run("dvc", "push", "-q", "data/raw/toy.dvc", cwd=project)
        with away(project / ".dvc/cache"):
            assert place() == "the DVC remote"
            with recorded.opened("toy") as version:
                assert raw_places.put(recorded.raw_of(version), tmp_path / "put") == "the DVC remote"
            assert (tmp_path / "put/rows.csv").read_bytes() == (project / "data/sample/toy/rows.csv").read_bytes()
            shutil.rmtree(tmp_path / "remote")
            assert place() == "its origin data/sample/toy"
            with away(project / "data/sample/toy"):
                assert place().startswith("data/sample/toy at commit")
        run("dvc", "remote", "remove", "--local", "storage", cwd=project)
    with recorded.opened("toy@1") as version:  # which is the only place that still has its rows under DVC
        assert raw_places.put(recorded.raw_of(version), tmp_path / "old") == "the DVC cache"


def test_the_command_tells_by_its_exit_code_whether_a_link_broke(project: Path) -> None:
    whole = run("tuneline", "explain", "toy", "--json", cwd=project)
    assert json.loads(whole.stdout)["model"] == "models:/toy/2"
    broken = run("tuneline", "explain", "toy@1", cwd=project, check=False, COLUMNS="100")
    assert broken.returncode == 2
    assert max(map(len, broken.stdout.splitlines())) <= 100


# Rebuild


def test_a_rebuild_gives_identical_bytes_and_less_is_told_with_the_stage_that_differed(project: Path) -> None:
    client = tracking.connect()

    def held() -> list[Any]:
        versions = client.search_model_versions("name = 'toy'")
        experiment = client.get_experiment_by_name("tuneline")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        return [sorted(version.version for version in versions), sorted(run.info.run_id for run in runs)]

    before, said = held(), list[str]()
    verdict = rebuilding.rebuild("toy@2", keep=True, say=said.append)
    assert (verdict.verdict, verdict.why, verdict.stages, verdict.environment) == ("identical bytes", [], [], [])
    assert said[-4:] == ["validate ...", "tokenize ...", "fine-tune ...", "evaluate ..."]
    assert held() == before  # the registry and its runs are only read

    workspace = Path(str(verdict.workspace))
    judged = judge_of(workspace)
    (workspace / "data/model/config.json").write_text("{}")  # as if the weights had come out otherwise
    edit(workspace / "dvc.lock", md5_of(workspace, "fine-tune", "data/model"), "0" * 32)
    found = judged(["CPU AMD EPYC → Intel Xeon"])
    assert found.verdict == "identical predictions"
    assert found.why == [
        "fine-tune first differed: data/model",
        "the environment is not that of then: CPU AMD EPYC → Intel Xeon",
    ]
    shutil.copyfile(artifacts(1) / "predictions.parquet", workspace / "data/reports/predictions.parquet")
    shutil.copyfile(artifacts(1) / "evaluation.json", workspace / "data/reports/evaluation.json")
    worse = judged([])
    assert (worse.verdict, worse.reproduced) == ("not reproduced", False)
    assert worse.why[-2] == "fine-tune first differed: data/model"
    assert "an operation without a deterministic form" in worse.why[-1]
    shutil.rmtree(workspace)


def judge_of(workspace: Path) -> Callable[[list[str]], rebuilding.Verdict]:
    def judged(environment: list[str]) -> rebuilding.Verdict:
        with recorded.opened("toy@2") as version:
            return rebuilding.judge(version, workspace, None, environment, [])

    return judged


def md5_of(workspace: Path, stage: str, out: str) -> str:
    lock = rebuilding.stages_of(workspace)
    return next(str(each["md5"]) for each in lock[stage]["outs"] if each["path"] == out)


def test_what_cannot_be_built_again_is_refused_with_the_reason(project: Path) -> None:
    with tagged(2, record.COMMIT, "f" * 40), pytest.raises(rebuilding.clones.WorkspaceError, match="Push it there"):
        rebuilding.rebuild("toy@2", say=print)
    with tagged(2, record.COMMIT, "none"), pytest.raises(TrackingError, match="outside git"):
        rebuilding.rebuild("toy@2", say=print)
    with tagged(2, record.RAW_SHA256, "f" * 64), pytest.raises(DataError, match=r"neither here.*dvc push"):
        rebuilding.rebuild("toy@2", say=print)
    with spoilt(artifacts(2) / "lineage/params.yaml"), pytest.raises(TrackingError, match=r"params\.yaml.*is changed"):
        rebuilding.rebuild("toy@2", say=print)
    assert not (project.parent / "home/workspaces/rebuild-toy-2").exists()


# Diff


def test_two_versions_are_told_apart_by_params_rows_scores_and_answers(project: Path) -> None:
    found = diffing.diff("toy@1", "models:/toy@champion")
    assert (found["then"], found["now"]) == ("models:/toy/1", "models:/toy/2")
    assert found["params"] == {"train.learning_rate": (1e-07, 0.005)}
    assert found["data"]["changes"] == {"removed": {"train": 1}, "relabelled": {"train": 1}, "added": {"train": 1}}
    shown = {each["kind"]: (each["id"], each["text"]) for each in found["data"]["examples"]}
    assert shown["added"] == (str(NEW), "good lamp that is new")
    assert shown["removed"] == (str(GONE), None)  # no file that is here has its text

    evaluations = [json.loads((artifacts(number) / "evaluation.json").read_text()) for number in (1, 2)]
    then, now = (each["metrics"]["accuracy"] for each in evaluations)
    accuracy = found["metrics"]["values"]["accuracy"]
    assert (found["metrics"]["paired"], accuracy["then"], accuracy["now"]) == (True, then, now)
    assert accuracy["comparison"]["gain"] == pytest.approx(now - then)
    assert accuracy["comparison"]["test"] == "McNemar's exact test"
    flipped = found["predictions"]
    net = flipped["counts"]["wrong_to_right"] - flipped["counts"]["right_to_wrong"]
    assert net == round((now - then) * flipped["rows"]) > 0
    assert all(each["gold"] != each["answer"] for kind in flipped["examples"].values() for each in kind)


def test_scores_on_other_test_rows_stand_apart(project: Path) -> None:
    with recorded.opened("toy@1") as before, recorded.opened("toy@2") as after:
        sides = Answered.of(before), Answered.of(after)
        fewer = replace(sides[1], rows=sides[1].rows[:-1])
        found = diffing.metrics(before, after, sides[0], fewer)
    assert not found["paired"]
    assert found["not_paired"] == "the test rows differ (17 and 16 of them, 16 in both)"
    assert found["values"]["accuracy"]["comparison"] is None
    assert all(found["values"]["accuracy"]["intervals"])


def test_the_difference_fits_on_a_screen(project: Path) -> None:
    shown = run("tuneline", "diff", "toy@1", "toy@2", cwd=project, COLUMNS="100").stdout
    assert max(map(len, shown.splitlines())) <= 100
    assert "train.learning_rate" in shown
    assert "wrong → right" in shown
    assert json.loads(run("tuneline", "diff", "toy@2", "toy@2", "--json", cwd=project).stdout)["params"] == {}
