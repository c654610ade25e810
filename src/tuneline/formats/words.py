"""CoNLL and CoNLL-U: one word a line, a blank line after each sentence.

Ada     B-PER
wrote   O
"""

import re
from collections.abc import Iterator
from typing import Any

from tuneline.formats.base import Chunk, Problems, Reading, Source, by_key, gather
from tuneline.formats.encodings import text_lines

CONLLU_COLUMNS = 10


def read_conll(source: Source, reading: Reading) -> Iterator[Chunk]:
    """CoNLL: one word a line, its tag last, a blank line after each sentence. Gives tokens and tags."""
    problems = Problems(source.shown, "Each line holds a word, then its tag, between them one tab (or spaces).")
    yield from gather(_sentences(source, reading, problems), problems, by_key(reading))


def _sentences(source: Source, reading: Reading, problems: Problems) -> Iterator[tuple[int, dict[str, Any], int]]:
    tokens: list[str] = []
    tags: list[str] = []
    first, width, tabs = 1, 0, False
    for number, line in enumerate(text_lines(source.paths[0], source.shown, reading.encoding), start=1):
        if line.isspace() or line.startswith("-DOCSTART-"):
            if tokens:
                yield first, {"tokens": tokens, "tags": tags}, len(tokens)
                tokens, tags = [], []
            continue
        if not width:
            tabs = "\t" in line
        fields = line.rstrip("\r\n").split("\t") if tabs else re.split(r"[ \t]+", line.strip(" \t\r\n"))
        width = width or max(2, len(fields))
        if len(fields) != width:
            problems.add(number, f"{len(fields)} columns, expected {width}: {line.strip()[:60]!r}")
            continue
        first = first if tokens else number
        tokens.append(fields[0])
        tags.append(fields[-1])
    if tokens:
        yield first, {"tokens": tokens, "tags": tags}, len(tokens)


def read_conllu(source: Source, reading: Reading) -> Iterator[Chunk]:
    """CoNLL-U: tokens (FORM), tags (UPOS) and id (sent_id).

    Ranges (`1-2`) and empty nodes (`1.1`) are no words: https://universaldependencies.org/format.html
    """
    problems = Problems(source.shown, "A CoNLL-U line holds ten columns with tabs between them.")
    yield from gather(_trees(source, reading, problems), problems, by_key(reading))


def _trees(source: Source, reading: Reading, problems: Problems) -> Iterator[tuple[int, dict[str, Any], int]]:
    row: dict[str, Any] = {"id": None, "tokens": [], "tags": []}
    first = 1
    for number, line in enumerate(text_lines(source.paths[0], source.shown, reading.encoding), start=1):
        if line.isspace():
            if row["tokens"]:
                yield first, row, len(row["tokens"])
            row = {"id": None, "tokens": [], "tags": []}
        elif line.startswith("#"):
            key, _, value = line[1:].partition("=")
            row["id"] = value.strip() if key.strip() == "sent_id" else row["id"]
        else:
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != CONLLU_COLUMNS:
                problems.add(number, f"{len(fields)} columns, expected {CONLLU_COLUMNS}: {line.strip()[:60]!r}")
            elif fields[0].isdecimal():
                first = first if row["tokens"] else number
                row["tokens"].append(fields[1])
                row["tags"].append(fields[3])
    if row["tokens"]:
        yield first, row, len(row["tokens"])
