"""Clones that runs work in."""

import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import fine_tune, workspaces
from flows.workspaces import Workspace, safe_name, workspace
from tests.conftest import ROOT, run
from tuneline import clones, host
from tuneline.clones import RemoteAway, WorkspaceError


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a commit, a tag and a branch; flows believe that they come from it."""
    root = tmp_path / "origin"
    root.mkdir()
    run("git", "init", "-q", "-b", "main", cwd=root)
    run("git", "config", "user.email", "test@example.org", cwd=root)
    run("git", "config", "user.name", "test", cwd=root)
    run("dvc", "init", "-q", cwd=root)
    for text in ("one", "two"):
        (root / "file").write_text(text)
        run("git", "add", "-A", cwd=root)
        run("git", "commit", "-qm", text, cwd=root)
    run("git", "tag", "first", "HEAD~", cwd=root)
    run("git", "branch", "side", "HEAD~", cwd=root)
    monkeypatch.setenv("TUNELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(workspaces, "origin", lambda: str(root))
    monkeypatch.setattr(clones, "PAUSES", (0, 0))
    return root


@pytest.mark.parametrize(("revision", "text"), [("main", "two"), ("first", "one"), ("side", "one"), ("HEAD~", "one")])
def test_a_run_works_at_the_commit_branch_or_tag_it_names(origin: Path, revision: str, text: str) -> None:
    with workspace("otter", revision) as place:
        assert (place.folder / "file").read_text() == text
        assert place.commit == run("git", "rev-parse", revision, cwd=origin).stdout.strip()
        assert place.run("dvc", "cache", "dir") == str(host.cache())


def test_a_workspace_goes_with_success_and_stays_after_failure(origin: Path) -> None:
    with workspace("otter", "main") as place:
        pass
    assert not place.folder.exists()
    with pytest.raises(RuntimeError), workspace("otter", "main") as place:
        raise RuntimeError
    assert (place.folder / "file").exists()
    with workspace("otter", "first") as place:  # a second try of the same run begins anew
        assert (place.folder / "file").read_text() == "one"


def test_what_links_point_to_survives_the_workspace(origin: Path) -> None:
    with workspace("otter", "main") as place:
        (place.folder / ".tuneline/checkpoints/d").mkdir()
        kept = host.cache() / "kept"
        kept.write_text("model")
        (place.folder / "link").symlink_to(kept)
    assert kept.read_text() == "model"
    assert (host.checkpoints() / "d").is_dir()


def test_an_unknown_revision_is_named_with_the_origin(origin: Path) -> None:
    with (
        pytest.raises(WorkspaceError, match=f"{origin} has no commit, tag or branch 'nowhere'"),
        workspace("a", "nowhere"),
    ):
        pass


def test_an_origin_that_is_away_can_be_tried_again_and_is_named_without_its_password(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "origin", lambda: "http://ada:s3cret@127.0.0.1:9/project.git")
    with pytest.raises(RemoteAway, match=r"127\.0\.0\.1") as away, workspace("otter", "main"):
        pass
    assert "s3cret" not in str(away.value)


def test_a_command_that_asks_another_machine_is_tried_again(origin: Path) -> None:
    with workspace("otter", "main") as place:
        tries = "echo >> tries; test $(wc -l < tries) -eq 3 && echo had it"
        assert place.ask("bash", "-c", tries) == "had it"


def test_what_a_person_must_mend_is_told_with_the_workspace_that_was_kept(origin: Path) -> None:
    with pytest.raises(WorkspaceError) as refused, workspace("otter", "main") as place:
        place.run("git", "rev-parse", "--verify", "nothing")
    assert str(refused.value).endswith(f"The workspace is kept: {place.folder}")


def test_an_experiment_that_cannot_be_pushed_does_not_hide_the_registered_model(origin: Path) -> None:
    (origin / "dvc.yaml").write_text("stages: {}\n")
    run("git", "add", "dvc.yaml", cwd=origin)
    run("git", "commit", "-qm", "a pipeline", cwd=origin)
    with pytest.raises(RemoteAway, match=r"reviews version 7: promoted.*otter did not get"), workspace("otter", "main"):
        origin.rename(origin.with_name("gone"))
        fine_tune.save(Workspace(host.workspaces() / "otter", "", "otter"), "reviews version 7: promoted")


def test_a_deployment_holds_no_password(tmp_path: Path) -> None:
    build = YAML(typ="safe").load(ROOT / "prefect.yaml")["build"]
    [script] = [step["script"] for [step] in map(dict.values, build) if step["id"] == "origin"]
    for origin, shown in (
        ("https://ada:s3cret@example.org/a.git", "https://example.org/a.git"),
        ("https://t0ken@example.org/a@b.git", "https://example.org/a@b.git"),
        ("ssh://git:s3cret@example.org/a.git", "ssh://git@example.org/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/a.git", "/srv/a.git"),
    ):
        assert run(*shlex.split(script), cwd=tmp_path, TUNELINE_ORIGIN=origin).stdout.strip() == shown


def test_two_processes_do_not_share_a_workspace(origin: Path) -> None:
    with workspace("otter", "main"), pytest.raises(WorkspaceError, match="another process"), workspace("otter", "main"):
        pass


def test_a_name_becomes_a_folder_whatever_it_holds() -> None:
    assert safe_name("gentle-otter") == "gentle-otter"
    assert safe_name("../../etc/$(touch x)\n'\"") == "etc-touch-x"
    assert safe_name("…") == "run"
