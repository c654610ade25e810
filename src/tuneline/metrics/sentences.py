"""A text as its sentences, by simple rules, without a model: for ROUGE-Lsum, and for the lead of a text."""

import re

END = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences(text: str) -> list[str]:
    """The sentences of a text. One ends with a line, or with . ! or ? before white space: `Dr. Who` is two."""
    return [sentence for sentence in (part.strip() for part in END.split(text)) if sentence]
