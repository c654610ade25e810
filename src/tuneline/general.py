"""General text: a file with one text a line, which params pin by its sha256, for DVC does not watch it."""

from pathlib import Path

from tuneline.digests import file_digest
from tuneline.errors import ParamsError


def pinned_lines(path: Path, sha256: str | None, section: str) -> list[str]:
    """The lines that are not blank. ParamsError, naming `section` of params, when the file is missing, is not the one
    that is pinned (None pins nothing), or is not UTF-8."""
    if not path.is_file():
        raise ParamsError(f"{section}.text: there is no file {path}. Expected UTF-8 with one text a line.")
    found = file_digest(path)
    if sha256 is not None and found != sha256:
        raise ParamsError(
            f"{section}.sha256: {path} has sha256 {found}, not {sha256}. Use the file you pinned, or correct the pin."
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ParamsError(f"{section}.text: byte {error.start} of {path} is not UTF-8. Save it as UTF-8.") from error
    return [line.strip() for line in lines if line.strip()]
