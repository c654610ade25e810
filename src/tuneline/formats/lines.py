"""Plain text and parallel text: one row a line.

train.en: A man in an orange hat.      train.de: Ein Mann mit einem orangefarbenen Hut.
"""

from collections.abc import Iterator, Sequence

from tuneline.errors import DataError
from tuneline.formats.base import Chunk, Problems, Reading, Source, gather
from tuneline.formats.encodings import text_lines


def read_text(source: Source, reading: Reading) -> Iterator[Chunk]:
    """Plain text: one row a line; blank lines are skipped."""
    lines = enumerate(text_lines(source.paths[0], source.shown, reading.encoding), start=1)
    rows = ((number, line.rstrip("\r\n"), len(line)) for number, line in lines if not line.isspace())
    yield from gather(rows, Problems(source.shown), lambda texts: {"text": texts})


def read_parallel(source: Source, reading: Reading) -> Iterator[Chunk]:
    """Two files, line by line: columns by language (`en`, `de`), and source and target, in the order of the
    languages' names where data.columns does not say."""
    files = [text_lines(path, path.name, reading.encoding) for path in source.paths]
    rows = _pairs(source, files)
    languages = [path.suffix[1:] for path in source.paths]

    def columns(pairs: Sequence[tuple[str, str]]) -> dict[str, Sequence[str]]:
        left, right = zip(*pairs, strict=True)
        return {"source": left, "target": right, languages[0]: left, languages[1]: right}

    yield from gather(rows, Problems(source.shown), columns)


def _pairs(source: Source, files: list[Iterator[str]]) -> Iterator[tuple[int, tuple[str, str], int]]:
    count = 0
    for count, (left, right) in enumerate(zip(*files, strict=False), start=1):
        yield count, (left.rstrip("\r\n"), right.rstrip("\r\n")), len(left) + len(right)
    lengths = [sum(1 for _ in text_lines(path, path.name, "latin-1")) for path in source.paths]
    if lengths[0] != lengths[1]:
        found = " and ".join(f"{path.name} {n:,}" for path, n in zip(source.paths, lengths, strict=True))
        raise DataError(
            f"{source.shown} row {count + 1}: one file goes on and the other ends. Found lines: {found}. "
            "Expected as many in both: line n of one is the translation of line n of the other."
        )
