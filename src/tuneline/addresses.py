"""Addresses, fit to be shown: in a message, a log, an artifact.

http://ada:s3cret@10.0.0.5:5000?key=1  →  http://***@10.0.0.5:5000
"""

import re


def safe_url(url: str) -> str:
    """The URL without user, password and query."""
    head, at, tail = url.rpartition("@")
    scheme = f"{head.partition('://')[0]}://" if "://" in head else ""
    return (f"{scheme}***@{tail}" if at else url).partition("?")[0]


def safe_text(text: str) -> str:
    """The text with its URLs made safe."""
    return re.sub(r"\S+://\S+", lambda url: safe_url(url[0]), text)
