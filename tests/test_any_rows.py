"""Whatever bytes a raw file holds, it is read or refused by its name: never an error of another kind."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.raw_files import WHOLE, attempt

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ODD = ["\u202e", "\u200b", "e\u0301", FAMILY, "\ufeff", "\x00", "\x1a", "\x85", "\u2028"]
PIECES = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(ODD).map(lambda text: text.encode()),
    st.sampled_from([b'"', b"\n", b"\r", b"\t", b",", b"{", b"[" * 3000, b"\\ud800", b"NaN", b"-1e999", b"1" * 5000]),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_whole_is_read(folder: Path, name: str) -> None:
    kind, content = WHOLE[name]
    assert attempt(folder, name, content, kind) is None


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_its_name(folder: Path, name: str, data: st.DataObject) -> None:
    kind, whole = WHOLE[name]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    error = attempt(folder, name, whole[:start] + data.draw(PIECES) + whole[end:], kind)
    assert error is None or name in error


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(PIECES, max_size=6).map(b"".join))
def test_any_bytes_are_read_or_refused_by_the_name_of_their_file(folder: Path, name: str, content: bytes) -> None:
    error = attempt(folder, name, content, WHOLE[name][0])
    assert error is None or name in error or "no rows" in error
    shutil.rmtree(folder)
    folder.mkdir()
