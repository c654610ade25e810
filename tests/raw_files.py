"""A small raw file of each format, and what reading one gives."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
