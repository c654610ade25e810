"""Environments as text, and what differs between two of them."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tuneline.environment import Environment, differences, read, this

THEN = Environment(
    {"Python": "CPython 3.11.9", "CPU": "AMD EPYC", "CPU capability": "AVX2", "torch threads": "2"},
    {"attrs": "25.1", "torch": "2.13.0", "zipp": "3.1"},
)


def test_what_is_written_is_read_back() -> None:
    assert read(str(THEN)) == THEN
    assert str(THEN).splitlines()[2:5] == ["# CPU capability AVX2", "# torch threads 2", "attrs==25.1"]


def test_the_machine_comes_first_then_what_computes_then_the_rest() -> None:
    now = Environment({**THEN.facts, "CPU": "Intel Xeon"}, {"attrs": "25.2", "torch": "2.14.0", "numpy": "2.3"})
    assert differences(THEN, now) == [
        "CPU AMD EPYC → Intel Xeon",
        "numpy none → 2.3",
        "torch 2.13.0 → 2.14.0",
        "attrs 25.1 → 25.2",
        "zipp 3.1 → none",
    ]


def test_this_process_differs_from_itself_in_nothing_and_lists_what_is_installed() -> None:
    here = this()
    assert differences(read(str(here)), here) == []
    assert here.packages["torch"] == version("torch")
    assert here.facts["CPU"]


def test_a_distribution_without_metadata_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib_metadata  # noqa: F401, PLC0415  libraries load it, and then it finds the distributions

    before = this()
    (tmp_path / "torch-9.9.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert this() == before
