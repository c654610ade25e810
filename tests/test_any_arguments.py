"""Whatever words a command is given, it ends with a sentence: never with an error of another kind."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.cli import cli
from tuneline.errors import PipelineError

WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=20),  # which no argument can hold
    st.sampled_from(
        ["", ".", "..", "/", "~", "-", "--", "toy", "toy@1", "toy@champion", "models:/toy/1", "models:/", "a" * 5000,
         "hf://datasets/x", "hf://datasets/a/b@c", "file:///etc/passwd", "s3://bucket/x", "rows.csv", "folder",
         "'; drop table runs; --", "$(touch pwned)", "%s", "{0}"]
    ),
)  # fmt: skip
COMMANDS = {  # words of a command → how many are free
    ("data", "add"): 2, ("data", "push"): 1, ("score",): 3, ("drift",): 2, ("models",): 1, ("history",): 1,
    ("promote",): 2, ("rollback",): 1, ("explain",): 1, ("rebuild",): 1, ("diff",): 2, ("stage",): 1,
}  # fmt: skip
REASONED = ("promote", "rollback")


@pytest.fixture
def place(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a registry in which nothing is, a file and a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TUNELINE_HOME", str(tmp_path / "home"))
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    (tmp_path / "rows.csv").write_text("text,label\ngood,a\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_command_ends_with_a_sentence(place: Path, command: tuple[str, ...], data: st.DataObject) -> None:
    words = [data.draw(WORDS) for _ in range(COMMANDS[command])]
    reason = ["--reason", data.draw(WORDS)] if command[0] in REASONED else []
    ended = CliRunner().invoke(cli, [*command, *reason, "--", *words])
    assert ended.exception is None or isinstance(ended.exception, SystemExit | PipelineError), ended.exc_info
    assert not list(place.rglob("pwned"))
