"""Outs are put in place whole, and nothing half-written stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuneline import layout

WRITES = """
import os, sys
from pathlib import Path
from tuneline import layout
with layout.staged(Path("data/out")) as [place]:
    place.write_text("half")
    print("wrote", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def writer() -> subprocess.Popen[str]:
    """A process in the middle of writing an out."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "wrote\n"
    return process


def test_what_a_killed_process_had_half_written_goes_and_that_of_a_living_one_stays(here: Path) -> None:
    killed, living = writer(), writer()
    killed.kill()
    killed.wait()
    with layout.staged(Path("data/other")) as [place]:
        place.write_text("whole")
        assert len(list(layout.SCRATCH.glob("[!.]*"))) == 2  # this one and the living one
    assert Path("data/other").read_text() == "whole"
    assert not Path("data/out").exists()
    living.communicate("")
    assert living.returncode == 0
    assert Path("data/out").read_text() == "half"
    assert not list(layout.SCRATCH.glob("[!.]*"))


def test_a_block_that_fails_leaves_what_was_there(here: Path) -> None:
    Path("out").write_text("before")
    with pytest.raises(ZeroDivisionError), layout.staged(Path("out")) as [place]:
        place.write_text("after")
        raise ZeroDivisionError
    assert Path("out").read_text() == "before"
    assert not list(layout.SCRATCH.glob("[!.]*"))
