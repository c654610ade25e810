"""What doctor finds in real repositories and on this machine, and how it tells it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.conftest import run
from tests.test_structure import HEAVY
from tuneline import doctor
from tuneline.doctor import checkout, machine
from tuneline.doctor.check import Check
from tuneline.params import Model

PARAMS = """
data: {name: toy}
task: {name: text-classification}
model: {checkpoint: checkpoint}
tokenize: {}
train: {}
evaluate: {}
register: {name: toy}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository under git and DVC with params and a checkpoint, which its origin has."""
    root = tmp_path_factory.mktemp("doctor") / "project"
    root.mkdir()
    (root / "params.yaml").write_text(PARAMS)
    (root / "constraints.txt").write_text("")
    (root / "checkpoint").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (root / "checkpoint" / name).write_text("{}")
    run("git", "init", "-q", "-b", "main", cwd=root)
    run("git", "config", "user.email", "test@example.org", cwd=root)
    run("git", "config", "user.name", "test", cwd=root)
    run("dvc", "init", "-q", cwd=root)
    run("dvc", "config", "core.analytics", "false", cwd=root)
    run("dvc", "remote", "add", "--default", "storage", str(root.parent / "storage"), cwd=root)
    run("git", "add", "-A", cwd=root)
    run("git", "commit", "-qm", "a project", cwd=root)
    run("git", "clone", "-q", "--bare", ".", "../origin.git", cwd=root)
    run("git", "remote", "add", "origin", str(root.parent / "origin.git"), cwd=root)
    run("git", "fetch", "-q", "origin", cwd=root)
    return root


@pytest.fixture
def sound(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_NO_ANALYTICS", raising=False)
    return root


def told(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_sound_checkout_is_told_in_aligned_lines(sound: Path) -> None:
    environment = {"TUNELINE_HOME": str(sound / ".home"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = run(sys.executable, "-m", "tuneline", "doctor", cwd=sound, check=False, **environment)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert "\x1b" not in done.stdout, "colours belong on a terminal alone"
    states = {line[9:32].strip(): line[:9].strip() for line in lines[:-1] if not line.startswith(" ")}
    assert set(states) >= {"Python", "required packages", "disk here", "GPU", "port 4200", "port 5000"}
    for name in ("git", "uncommitted changes", "origin", "DVC cache", "DVC remote", "telemetry of DVC", "params.yaml",
                 "checkpoint", "telemetry"):  # fmt: skip
        assert states[name] == "ok", done.stdout
    problems = list(states.values()).count("problem")  # of this machine, if any
    assert lines[-1].startswith(f"problems: {problems}, ")
    assert done.returncode == (2 if problems else 0)


def test_a_problem_ends_with_exit_code_2_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Check("git", "ok", "commit 1c140f1"), Check("port 5000", "problem", "first\nsecond", "stop it")]
    monkeypatch.setattr(doctor, "CHECKS", [lambda: findings])
    console = Console(record=True, width=40)
    assert doctor.show(console) == 2
    assert console.export_text().splitlines() == [
        "ok       git                    commit 1c140f1",
        "problem  port 5000              first",
        " " * 32 + "second",
        " " * 32 + "→ stop it",
        "",
        "problems: 1, warnings: 0",
    ]
    monkeypatch.setattr(doctor, "CHECKS", [lambda: [Check("origin", "warning", "none", "add one")]])
    assert doctor.show(console) == 0, "a warning keeps nobody from working"


def test_it_loads_no_heavy_library(sound: Path) -> None:
    heavy = tuple(name for name in HEAVY if name != "pydantic")
    script = (
        "import sys, tuneline.doctor; list(tuneline.doctor.examine())\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert run(sys.executable, "-c", script, cwd=sound).stdout == "[]\n"


# git


def test_a_folder_outside_a_repository_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [found] = checkout.git()
    assert found.state == "problem"
    assert "not a git repository" in found.found


def test_git_that_is_not_installed_is_a_problem(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    [found] = checkout.git()
    assert found.state == "problem"
    assert "git" in found.advice


def test_a_repository_without_a_commit_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("git", "init", "-q", cwd=tmp_path)
    assert [(check.state, check.found) for check in checkout.git()] == [("problem", "no commit yet")]


def test_uncommitted_files_are_named_up_to_five(sound: Path) -> None:
    (sound / "params.yaml").write_text("")
    for number in range(6):
        (sound / f"new{number}.txt").write_text("")
    found = told(checkout.git())["uncommitted changes"]
    assert found.state == "warning"
    assert found.found.startswith("params.yaml, new0.txt, new1.txt, new2.txt, new3.txt and 2 more:")


def test_a_commit_that_was_not_pushed_is_a_warning(sound: Path) -> None:
    run("git", "commit", "-q", "--allow-empty", "-m", "not pushed", cwd=sound)
    origin = told(checkout.git())["origin"]
    assert (origin.state, origin.advice) == ("warning", "git push (or git fetch, where it has been pushed)")
    run("git", "push", "-q", "origin", "main", cwd=sound)
    assert told(checkout.git())["origin"].state == "ok"


def test_a_missing_origin_is_a_warning(sound: Path) -> None:
    run("git", "remote", "remove", "origin", cwd=sound)
    origin = told(checkout.git())["origin"]
    assert (origin.state, origin.found) == ("warning", "none: flows clone from this folder")


def test_the_token_of_an_origin_is_not_printed(sound: Path) -> None:
    run("git", "remote", "set-url", "origin", "https://me:t0ken@example.org/project.git", cwd=sound)
    assert told(checkout.git())["origin"].found == "https://***@example.org/project.git"


# DVC


def test_a_checkout_without_dvc_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [found] = checkout.dvc()
    assert found.state == "problem"
    assert "dvc init" in found.advice


def test_settings_that_dvc_cannot_read_are_a_problem(sound: Path) -> None:
    (sound / ".dvc/config.local").write_text("[cache\n")
    [found] = checkout.dvc()
    assert found.state == "problem"
    assert ".dvc/config.local" in found.advice


def test_hard_links_into_a_shared_cache_are_a_problem(sound: Path, tmp_path: Path) -> None:
    (sound / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n    type = hardlink,copy\n")
    found = told(checkout.dvc())["DVC cache"]
    assert found.state == "problem"
    assert "truncate a finished model" in found.found
    run("dvc", "config", "--local", "cache.type", "symlink,copy", cwd=sound)  # the advice
    assert told(checkout.dvc())["DVC cache"].state == "ok"


def test_a_cache_on_another_file_system_is_a_warning_unless_files_are_linked(sound: Path) -> None:
    other = Path("/dev/shm/dvc-cache")
    if not other.parent.is_dir() or other.parent.stat().st_dev == sound.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    assert checkout.cache(other, "reflink,copy").state == "warning"
    assert checkout.cache(other, "symlink,copy").state == "ok"


def test_a_missing_dvc_remote_and_usage_reports_are_warnings(sound: Path) -> None:
    run("dvc", "remote", "remove", "storage", cwd=sound)
    run("dvc", "config", "--unset", "core.analytics", cwd=sound)
    found = told(checkout.dvc())
    assert [found[name].state for name in ("DVC remote", "telemetry of DVC")] == ["warning", "warning"]


# params.yaml and the checkpoint


def test_every_slip_in_params_is_told(sound: Path) -> None:
    (sound / "params.yaml").write_text(PARAMS.replace("train: {}", "train: {lerning_rate: 1, num_train_epochs: 0}"))
    [found] = checkout.params()
    assert found.state == "problem"
    assert "train.lerning_rate: unknown key. Did you mean 'learning_rate'?" in found.found
    assert "train.num_train_epochs" in found.found


def test_weights_that_are_not_the_pinned_ones_are_a_problem(sound: Path) -> None:
    found = checkout.checkpoint(Model(checkpoint="checkpoint", sha256="0" * 64))
    assert found.state == "problem"
    assert "sha256" in found.found


@pytest.mark.parametrize(("offline", "state"), [("0", "warning"), ("1", "problem")])
def test_a_checkpoint_that_only_the_hub_has_needs_the_network(
    sound: Path, monkeypatch: pytest.MonkeyPatch, offline: str, state: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    found = checkout.checkpoint(Model(checkpoint="nobody/has-this"))
    assert found.state == state
    assert "nobody/has-this" in found.found


# Packages


def test_a_requirement_out_of_bounds_or_missing_is_a_problem() -> None:
    found = machine.required(["fastapi<0.1", "no-such-package>=1", "click", 'not-there; extra == "s3"'])
    assert found.state == "problem"
    fastapi, missing = found.found.split("; ")
    assert fastapi.startswith("fastapi 0.") and fastapi.endswith(", needed <0.1")
    assert missing == "no-such-package is missing"


def test_versions_other_than_the_pinned_ones_are_named_up_to_five(tmp_path: Path) -> None:
    names = ["click", "rich", "pydantic", "numpy", "dvc", "torch"]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join([f"{name}==0.0.1" for name in names] + ["no-such-package==1.0"]))
    found = machine.pinned(constraints)
    assert found.state == "warning"
    assert found.found.startswith("6 differ: click ")
    assert found.found.count("(pinned 0.0.1)") == 5
    assert found.found.endswith(" and 1 more; 1 not installed: no-such-package")


def test_a_build_of_the_pinned_version_is_that_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_version", {"torch": "2.13.0+cpu"}.get)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    assert machine.pinned(tmp_path / "constraints.txt").state == "ok"


# The machine


@pytest.mark.parametrize(("free_gb", "state"), [(1.9, "problem"), (9.9, "warning"), (10.1, "ok")])
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, state: str
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: SimpleNamespace(free=int(free_gb * 1e9)))
    found = machine.disk("disk", tmp_path / "not" / "made" / "yet")
    assert (found.state, found.found) == (state, f"{free_gb} GB free at {tmp_path / 'not' / 'made' / 'yet'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert machine.disk("disk", tmp_path / "home").state == "problem"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program of that name that runs this shell text."""

    def install(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(("torch", "state"), [("2.13.0", "ok"), ("2.13.0+cpu", "warning")])
def test_gpus_are_listed_and_a_torch_that_cannot_use_them_is_a_warning(
    nvidia_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, torch: str, state: str
) -> None:
    nvidia_smi("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 81079 MiB'")
    monkeypatch.setattr(machine, "_version", {"torch": torch}.get)
    [found] = machine.gpus()
    assert found.state == state
    assert found.found.startswith("NVIDIA H100 80GB HBM3, 81079 MiB free of 81559 MiB")


def test_a_driver_that_fails_is_a_warning(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    [found] = machine.gpus()
    assert (found.state, found.found.count("version mismatch")) == ("warning", 1)


def test_telemetry_that_was_switched_on_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (off, *_) in machine.TELEMETRY_OFF.items():
        monkeypatch.setenv(name, off)
    assert [check.state for check in machine.telemetry()] == ["ok"]
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("PREFECT_SERVER_ANALYTICS_ENABLED")
    [found] = machine.telemetry()
    assert found.state == "warning"
    assert found.advice == "export DO_NOT_TRACK=true PREFECT_SERVER_ANALYTICS_ENABLED=false"
