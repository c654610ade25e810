"""Clones that runs work in."""

from pathlib import Path

import pytest

from flows import workspaces
from flows.workspaces import WorkspaceError, safe_name, workspace
from tests.conftest import run
from tuneline import host


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


def test_two_processes_do_not_share_a_workspace(origin: Path) -> None:
    with workspace("otter", "main"), pytest.raises(WorkspaceError, match="another process"), workspace("otter", "main"):
        pass


def test_a_name_becomes_a_folder_whatever_it_holds() -> None:
    assert safe_name("gentle-otter") == "gentle-otter"
    assert safe_name("../../etc/$(touch x)\n'\"") == "etc-touch-x"
    assert safe_name("…") == "run"
