"""The lines of a text file, and what is said when its bytes are not text.

data/raw/reviews/train.csv row 1: the bytes are UTF-16, expected utf-8. Set data.encoding: utf-16, or ...
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from tuneline.errors import DataError

# What the first bytes tell, and the codecs that read it.
READ_BY = {
    "utf-8": ("utf-8", "utf-8-sig"),
    "utf-16": ("utf-16", "utf-16-le", "utf-16-be"),
    "utf-16-le": ("utf-16-le", "utf-16"),
    "utf-16-be": ("utf-16-be",),
    "utf-32": ("utf-32", "utf-32-le", "utf-32-be"),
}
NOT_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel sheet",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "Parquet",
}


def text_lines(path: Path, shown: str, encoding: str) -> Iterator[str]:
    """The lines of a text file with their line ends (LF, CRLF or CR), a byte-order mark taken off.

    DataError on bytes that the encoding does not know, and on NUL bytes, with the line.
    """
    _check_first_bytes(path, shown, encoding)
    try:
        with path.open(encoding="utf-8-sig" if _is_utf8(encoding) else encoding, newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    at = line.index("\0") + 1
                    raise DataError(
                        f"{shown} row {number}: a NUL byte at character {at}. Text holds none. "
                        "Is the file damaged, or in another encoding? Write it again, or set data.encoding."
                    )
                yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:
        raise _undecodable(path, shown, encoding) from error


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _check_first_bytes(path: Path, shown: str, encoding: str) -> None:
    """DataError for an empty file, and for one whose first bytes tell another encoding."""
    with path.open("rb") as file:
        start = file.read(4096)
    if not start.strip():
        if not start or path.stat().st_size == len(start):
            raise DataError(f"{shown}: the file is empty. Expected rows: take it away, or write it again.")
        return
    other = next((what for magic, what in NOT_TEXT.items() if start.startswith(magic)), None)
    if other:
        raise DataError(
            f"{shown}: the file is {other}, expected text. Unpack or export it, and give it its own ending."
        )
    found = _told_by_first_bytes(start)
    name = codecs.lookup(encoding).name
    if found and name not in READ_BY[found]:
        raise DataError(
            f"{shown} row 1: the bytes are {found.upper()}, expected {encoding}. "
            f"Set data.encoding: {found}, or save the file as UTF-8."
        )


def _told_by_first_bytes(start: bytes) -> str | None:
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return name
    even, odd = start[::2].count(0), start[1::2].count(0)  # Western text in UTF-16 is a NUL every other byte
    if max(even, odd) > 0.3 * len(start) / 2 and min(even, odd) < 0.1 * max(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def likely_encoding(path: Path) -> str:
    """utf-8, utf-16, cp1252 or latin-1: what the bytes of a text file look like."""
    with path.open("rb") as file:
        told = _told_by_first_bytes(file.read(4096))
    if told:
        return told
    decoder = codecs.getincrementaldecoder("utf-8")()
    high: set[int] = set()  # bytes that are printable in cp1252 and control characters in latin-1
    broken = False
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            high |= set(block) & set(range(0x80, 0xA0))
            try:
                broken = broken or decoder.decode(block) is None
            except UnicodeDecodeError:
                broken = True
    if not broken and not decoder.getstate()[0]:
        return "utf-8"
    return "cp1252" if high and not high & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"


def _undecodable(path: Path, shown: str, encoding: str) -> DataError:
    """Where the first byte stands that does not decode, and which encoding the file likely has."""
    at, line = _first_undecodable(path, encoding)
    likely = likely_encoding(path)
    if likely == encoding or not _is_utf8(encoding):
        advice = "Set data.encoding to the one that the file was saved in: utf-8, latin-1 and cp1252 are usual."
    else:
        advice = f"Likely {likely}: set data.encoding: {likely}, or save the file as {encoding}."
    return DataError(f"{shown} row {line}: byte {at + 1:,} of the file is not {encoding}. {advice}")


def _first_undecodable(path: Path, encoding: str) -> tuple[int, int]:
    """Offset of the first byte that does not decode, and the line it stands on."""
    decoder = codecs.getincrementaldecoder(encoding)()
    before, line, after_return = 0, 1, False
    with path.open("rb") as file:
        while True:
            block = file.read(1 << 20)
            kept = len(decoder.getstate()[0])  # bytes of a character that the last block began
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = error.start - kept
                return before + at, line + _line_ends(block[: max(at, 0)], after_return)
            if not block:
                return before, line
            line += _line_ends(block, after_return)
            before, after_return = before + len(block), block.endswith(b"\r")


def _line_ends(block: bytes, after_return: bool) -> int:
    """LF, CRLF and CR in a block; an LF that ends a CRLF begun in the block before does not count again."""
    ends = block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
    return ends - (after_return and block.startswith(b"\n"))
