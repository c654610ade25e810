"""Whatever bytes a raw file holds, it is read or refused by its name: never an error of another kind."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneline.errors import DataError
from tuneline.params import Data
from tuneline.rows import read_rows
from tuneline.tasks import task_class


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["good", None, "bad"], "label": ["a", "b", "c"]}), sink)
    return sink.getvalue().to_pybytes()


SQUAD = (
    b'{"data": [{"title": "t", "paragraphs": [{"context": "a b c", "qas": [{"id": "1", "question": "what", '
    b'"answers": [{"text": "b", "answer_start": 2}]}]}]}]}'
)
WHOLE: dict[str, tuple[str, bytes]] = {  # file name → task, and a file that is read
    "train.csv": ("text-classification", b'id,text,label\n1,"good, very",a\n2,"two\nlines",b\n'),
    "train.tsv": ("text-classification", b"text\tlabel\ngood\ta\nbad\tb\n"),
    "train.jsonl": ("text-classification", b'{"text": "good", "label": 1}\n{"text": "bad", "label": true}\n'),
    "train.json": ("text-classification", b'[{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}]'),
    "train.parquet": ("text-classification", parquet_bytes()),
    "train.conll": ("token-classification", b"EU\tB-ORG\nrejects\tO\n\nit\tO\n"),
    "train.conllu": ("token-classification", b"# text = It is\n1\tIt\tit\tPRON\t_\t_\t2\tx\t_\t_\n\n"),
    "squad.json": ("question-answering", SQUAD),
    "train.txt": ("masked-lm", b"a line\n\nanother\n"),
}  # fmt: skip
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ODD = ["\u202e", "\u200b", "e\u0301", FAMILY, "\ufeff", "\x00", "\x1a", "\x85", "\u2028"]
PIECES = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(ODD).map(lambda text: text.encode()),
    st.sampled_from([b'"', b"\n", b"\r", b"\t", b",", b"{", b"[" * 3000, b"\\ud800", b"NaN", b"-1e999", b"1" * 5000]),
)


def attempt(folder: Path, name: str, content: bytes, kind: str) -> str | None:
    """The error, if any."""
    (folder / name).write_bytes(content)
    task: Any = task_class(kind).model_validate({"name": kind})
    try:
        for batch in read_rows(folder, Data(name="x"), task):
            batch.validate(full=True)
    except DataError as error:
        return str(error)
    return None


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
