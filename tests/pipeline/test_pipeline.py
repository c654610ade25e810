"""From raw rows to the registry, with real DVC, git and MLflow, on a toy checkpoint."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.conftest import change, run, write_toy_rows
from tuneline.digests import tree_digest

pytestmark = pytest.mark.slow
STAGES = ["validate", "tokenize", "fine-tune", "evaluate", "register"]


def repro(project: Path, **env: Any) -> list[str]:
    """Run dvc repro; the stages that ran, in order."""
    return re.findall(r"Running stage '(.*?)'", run("dvc", "repro", cwd=project, **env).stdout)


def registration(project: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((project / "data/reports/registration.json").read_text())
    return found


def test_one_command_takes_raw_rows_to_a_champion_and_a_second_changes_nothing(project: Path) -> None:
    assert repro(project) == STAGES
    first = registration(project)
    assert first["version"] == 1
    assert first["decision"]["outcome"] == "promoted"  # type: ignore[index]
    lock = (project / "dvc.lock").read_bytes()
    assert repro(project) == ["register"]
    again = registration(project)
    assert (again["version"], again["run_id"]) == (first["version"], first["run_id"])
    assert again["decision"]["outcome"] == "champion"  # type: ignore[index]
    assert (project / "dvc.lock").read_bytes() == lock
    summary = run("tuneline", "summary", cwd=project).stdout
    assert "accuracy" in summary
    assert "toy version 1" in summary
    assert "Against its base: similarity_agreement" in summary

    # A champion predicts in a process that knows nothing of tuneline, from its own folder alone.
    script = (
        "import sys; sys.modules['tuneline.training'] = None; sys.path = [p for p in sys.path if 'src' not in p]\n"
        "import mlflow; model = mlflow.pyfunc.load_model('models:/toy@champion')\n"
        "print(model.predict(['good kettle number 3', 'awful lamp number 4'])['label'].tolist())\n"
        "import tuneline; print(tuneline.__file__)"
    )
    env: dict[str, Any] = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    labels, home = run(sys.executable, "-c", script, cwd=project.parent, **env).stdout.splitlines()[-2:]
    assert labels == "['good', 'bad']"
    assert "mlartifacts" in home

    # What it kept of its base is measured, and stands in the version's tags and in the run.
    evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    kept = evaluation["forgetting"]["metrics"]
    assert set(kept) == {"similarity_agreement", "cka_mean", "cka_last"}
    assert all(-1 <= value < 1 for value in kept.values())
    script = (
        "import json, mlflow; client = mlflow.MlflowClient()\n"
        "v = client.get_model_version_by_alias('toy', 'champion')\n"
        "print(json.dumps([v.tags, client.get_run(v.run_id).data.metrics]))"
    )
    tags, logged = json.loads(run(sys.executable, "-c", script, cwd=project, **env).stdout.splitlines()[-1])
    for name, value in kept.items():
        assert json.loads(tags[f"tuneline.forgetting.{name}"]) == logged[f"forgetting.{name}"] == value

    # dvc shows the same numbers and can draw them.
    shown = json.loads(run("dvc", "metrics", "show", "--json", cwd=project).stdout)
    assert shown[""]["data"]["data/reports/evaluation.json"]["data"]["metrics"] == evaluation["metrics"]
    run("dvc", "plots", "show", cwd=project)
    assert (project / "dvc_plots/index.html").stat().st_size > 1000


def test_each_change_reruns_what_it_concerns_and_no_more(project: Path) -> None:
    repro(project)
    (project / "README.md").write_text("another text\n")
    assert repro(project) == ["register"]
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.006")
    assert repro(project) == ["fine-tune", "evaluate", "register"]
    write_toy_rows(project / "data/sample/toy/rows.csv", rows=81)
    assert repro(project) == STAGES


def test_two_clones_write_the_same_lock_byte_for_byte(project: Path) -> None:
    clones = [project.parent / name for name in ("here", "there")]
    for clone in clones:
        run("git", "clone", "-q", str(project), str(clone), cwd=project.parent)
        assert repro(clone) == STAGES
    first, second = ((clone / "dvc.lock").read_bytes() for clone in clones)
    assert first == second


def test_a_second_server_gets_the_whole_run_and_a_model_from_the_cache(project: Path) -> None:
    import mlflow  # noqa: PLC0415

    repro(project)
    other = f"sqlite:///{project / 'other.db'}"
    assert repro(project, MLFLOW_TRACKING_URI=other) == ["register"]
    counts = []
    for uri in (f"sqlite:///{project / 'mlflow.db'}", other):
        client = mlflow.MlflowClient(uri, uri)
        run_id = str(client.get_model_version_by_alias("toy", "champion").run_id)
        points = client.get_metric_history(run_id, "train_loss")
        counts.append([(point.step, point.value) for point in points])
        assert client.get_run(run_id).data.params["train.learning_rate"] == "0.005"
    assert counts[0] == counts[1] != []

    # A version never comes without its scores and its report: they go first.
    (project / "data/reports/report.json").unlink()
    third = f"sqlite:///{project / 'third.db'}"
    assert run("tuneline", "stage", "register", cwd=project, check=False, MLFLOW_TRACKING_URI=third).returncode
    assert list(mlflow.MlflowClient(third, third).search_model_versions()) == []


def test_a_champion_that_was_not_told_of_its_decision_is_told_by_the_next_register(project: Path) -> None:
    """As after a kill between the alias and the tags."""
    import mlflow  # noqa: PLC0415

    repro(project)
    uri = f"sqlite:///{project / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, uri)
    told = client.get_model_version_by_alias("toy", "champion").tags
    assert told["tuneline.decision.outcome"] == "promoted"
    for tag in told:
        if tag.startswith("tuneline.decision."):
            client.delete_model_version_tag("toy", "1", tag)
    (project / "data/reports/registration.json").unlink()
    assert repro(project) == ["register"]
    assert client.get_model_version_by_alias("toy", "champion").tags == told
    assert registration(project)["decision"]["outcome"] == "promoted"  # type: ignore[index]


def test_a_finished_training_gives_the_same_bytes_again_until_another_one_begins(project: Path) -> None:
    outs = [project / "data" / out for out in ("model", "reports/training.json", "reports/learning_curve.csv")]
    home, checkpoints = project.parent / "home", project / ".tuneline/checkpoints"

    def fine_tune() -> str:
        return run("dvc", "repro", "--no-commit", "fine-tune", cwd=project, TUNELINE_HOME=str(home)).stdout

    fine_tune()
    first = [tree_digest(out) for out in outs]
    shutil.rmtree(project / "data/model")  # not committed yet: this is the only place where they are
    assert "was finished before" in fine_tune()
    assert [tree_digest(out) for out in outs] == first

    [finished] = checkpoints.iterdir()
    with FileLock(home / f"locks/fine-tune-{finished.name[:32]}.lock"):  # as a flow that has still to commit
        change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.006")
        fine_tune()
        assert len(list(checkpoints.iterdir())) == 2
    change(project / "params.yaml", "learning_rate: 0.006", "learning_rate: 0.007")
    fine_tune()
    [last] = checkpoints.iterdir()
    assert last != finished


def test_a_better_challenger_becomes_champion_and_a_worse_one_does_not(project: Path) -> None:
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.0000001")
    repro(project)
    poor = registration(project)
    change(project / "params.yaml", "learning_rate: 0.0000001", "learning_rate: 0.005")
    repro(project)
    good = registration(project)
    assert (poor["version"], good["version"], good["decision"]["outcome"]) == (1, 2, "promoted")  # type: ignore[index]
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.0000002")
    repro(project)
    last = registration(project)
    assert (last["version"], last["decision"]["outcome"]) == (3, "kept")  # type: ignore[index]


def test_a_champion_of_other_test_rows_is_scored_again_on_these(project: Path) -> None:
    repro(project)
    write_toy_rows(project / "data/sample/toy/rows.csv", rows=90)
    repro(project)
    decision = registration(project)["decision"]
    assert isinstance(decision["champion"], float)  # type: ignore[index]
    old_rows = registration(project)["old_rows"]  # and the new model on those of the champion
    assert old_rows["champion_version"] == 1  # type: ignore[index]
    assert isinstance(old_rows["challenger"], float)  # type: ignore[index]
    assert "test rows of version 1" in run("tuneline", "summary", cwd=project).stdout


def test_tracking_that_is_away_costs_no_training(project: Path) -> None:
    gone = "http://127.0.0.1:9"
    done = run("dvc", "repro", cwd=project, check=False, MLFLOW_TRACKING_URI=gone)
    assert "Running stage 'register'" in done.stdout
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Not decided yet" in (project / "data/reports/report.html").read_text()
    assert repro(project) == ["register"]
    assert "Promoted: it is the champion now" in (project / "data/reports/report.html").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: text-classification", "name: text-clasification", "Did you mean 'text-classification'?"),
        ("learning_rate: 0.005", "learning_rate: fast", "train.learning_rate"),
        ("checkpoint: checkpoint", "checkpoint: ./nowhere", "there is no folder nowhere"),
        ("checkpoint: checkpoint", "checkpoint: nobody/nothing", "HF_HUB_OFFLINE"),
        ("max_length: 16", "max_length: 65", "64 positions"),
        ("label_names: [bad, good]", "label_names: [bad, goood]", "Did you mean 'goood'?"),
    ],
)
def test_a_slip_in_params_ends_with_its_path_and_no_traceback(project: Path, old: str, new: str, said: str) -> None:
    change(project / "params.yaml", old, new)
    done = run("dvc", "repro", cwd=project, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (project / "data/model").exists()


def test_a_stage_that_a_person_can_mend_exits_with_two(project: Path) -> None:
    (project / "params.yaml").unlink()
    assert run("tuneline", "stage", "validate", cwd=project, check=False).returncode == 2


def test_a_full_disk_is_named_and_leaves_nothing_half_written(project: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    repro(project)
    shutil.rmtree(project / "data/validated")
    script = (
        "import errno, pathlib, pytest\nfrom tuneline import layout\n"
        "from tuneline.errors import StorageError\n"
        "with pytest.raises(StorageError, match='no space left'):\n"
        "    with layout.staged(layout.VALIDATED) as [place]:\n"
        "        place.mkdir(); (place / 'a').write_text('x'); open('/dev/full', 'w', 1).write('x\\n')\n"
        "assert not layout.VALIDATED.exists()\n"
        "assert not list(layout.SCRATCH.glob('[!.]*'))\n"
    )
    run(sys.executable, "-c", script, cwd=project)


def test_a_second_repro_at_once_is_told_and_harms_nothing(project: Path) -> None:
    import subprocess  # noqa: PLC0415
    import time  # noqa: PLC0415

    first = subprocess.Popen(["dvc", "repro"], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(4)
    second = run("dvc", "repro", cwd=project, check=False)
    out, _ = first.communicate(timeout=300)
    assert first.returncode == 0, out
    if second.returncode:
        assert re.search(r"lock|being (used|written)", second.stderr), second.stderr
        assert "Traceback" not in second.stderr
    assert repro(project) == ["register"]
