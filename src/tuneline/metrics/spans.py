"""Entities in sequences of tags, and how far predicted ones agree with gold.

    ["B-PER", "I-PER", "O", "B-LOC"]  →  [Span("PER", 0, 2), Span("LOC", 3, 4)]

A scheme is a table of steps from one tag to the next, `BI=`: from B to I of the same type (≠: of another one,
*: whatever it is). The tables and the way they are walked are those of seqeval's strict mode, to which the tests
hold them: https://github.com/chakki-works/seqeval/blob/master/seqeval/scheme.py
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from tuneline.metrics.weighted import Measure, Quotient

OUTSIDE = "O"
Tags = Sequence[str | None]  # None: no tag at all, which counts as outside


class Span(NamedTuple):
    """One entity: the words from start up to, but not including, end."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class Scheme:
    """How tags write entities."""

    prefixes: str
    starts: tuple[str, ...]  # steps into the first word of an entity
    goes_on: tuple[str, ...]  # steps within one
    ends: tuple[str, ...]  # steps out of one that is whole
    rule: str  # for people


SCHEMES = {
    "BIO": Scheme("BI", ("*B*",), ("BI=", "II="), ("***",), "an entity begins with B-{type}"),
    "IOB1": Scheme(
        "BI",
        ("OI*", "II≠", "BI*", "IB=", "BB="),
        ("BI=", "II="),
        ("II≠", "IO*", "IB*", "BO*", "BI≠", "BB="),
        "B-{type} stands only where another {type} ends right before it",
    ),
    "BIOES": Scheme(
        "BIES",
        ("*B*", "*S*"),
        ("BI=", "BE=", "II=", "IE="),
        ("S**", "E**"),
        "an entity is S-{type} alone, or goes from B-{type} over I-{type} to E-{type}",
    ),
}


def spans(tags: Tags, scheme: str) -> list[Span]:
    """The whole entities, from left to right. Tags that break the scheme belong to none."""
    steps = SCHEMES[scheme]
    walk = [*(tag or OUTSIDE for tag in tags), OUTSIDE]
    found: list[Span] = []
    start, before = 0, OUTSIDE
    while start < len(tags):
        end = start + 1
        if _fits(steps.starts, before, walk[start]):
            while end < len(tags) and _fits(steps.goes_on, walk[end - 1], walk[end]):
                end += 1
            if _fits(steps.ends, walk[end - 1], walk[end]):
                found.append(Span(type_of(walk[start]), start, end))
        start, before = end, walk[end - 1]
    return found


@cache
def _fits(steps: tuple[str, ...], before: str, tag: str) -> bool:
    same = "=" if type_of(before) == type_of(tag) else "≠"
    return any(step[0] in ("*", before[0]) and step[1] in ("*", tag[0]) and step[2] in ("*", same) for step in steps)


def type_of(tag: str) -> str:
    """`B-PER` → `PER`; nothing for `O`."""
    return tag[2:]


def is_tag(tag: str, scheme: str) -> bool:
    """Whether the scheme knows such a tag."""
    return tag == OUTSIDE or (tag[:1] in SCHEMES[scheme].prefixes and tag[1:2] == "-" and len(tag) > 2)


def stray(tags: Tags, scheme: str) -> int | None:
    """The first word whose tag belongs to no whole entity; None in a legal sequence."""
    inside = {word for span in spans(tags, scheme) for word in range(span.start, span.end)}
    return next((word for word, tag in enumerate(tags) if tag not in (None, OUTSIDE) and word not in inside), None)


def legal(tags: Sequence[str], scheme: str) -> list[str]:
    """The tags with each stray one read as the begin of an entity, as conlleval reads them. Legal ones stay."""
    return written(_lenient(tags), scheme)


def written(units: Iterable[Span], scheme: str) -> list[str]:
    """The tags of spans written one after the other: only their types and lengths count. One without a type is
    outside all entities."""
    tags: list[str] = []
    before = ""
    for span in units:
        length = span.end - span.start
        prefixes = _prefixes(length, scheme, touches=span.type == before)
        tags += [f"{prefix}-{span.type}" for prefix in prefixes] if span.type else [OUTSIDE] * length
        before = span.type
    return tags


def _lenient(tags: Sequence[str]) -> list[Span]:
    """Entities, and words outside one by one, without a gap."""
    found: list[Span] = []
    before = OUTSIDE
    for word, tag in enumerate(tags):
        if tag[0] in "OBS" or before[0] in "OES" or type_of(before) != type_of(tag):
            found.append(Span(type_of(tag), word, word + 1))
        else:
            found[-1] = found[-1]._replace(end=word + 1)
        before = tag
    return found


def _prefixes(length: int, scheme: str, *, touches: bool) -> str:
    """The prefixes of an entity's words. touches: one of the same type ends right before it."""
    if scheme == "BIOES":
        return "S" if length == 1 else f"B{'I' * (length - 2)}E"
    return ("B" if touches or scheme == "BIO" else "I") + "I" * (length - 1)


def likely_scheme(sequences: Sequence[Sequence[str]]) -> str:
    """The scheme that sequences of tags are written in: `plain` where they write no entities."""
    tags = {tag for sequence in sequences for tag in sequence}
    if not all(is_tag(tag, "BIOES") for tag in tags):
        return "plain"
    if not all(is_tag(tag, "BIO") for tag in tags):
        return "BIOES"
    return "BIO" if all(stray(sequence, "BIO") is None for sequence in sequences) else "IOB1"


class Matches(NamedTuple):
    """Entities of one sequence by type: those that are right, found, and there in the gold."""

    right: Counter[str]
    found: Counter[str]
    there: Counter[str]


def matches(gold: Tags, predicted: Tags, scheme: str) -> Matches:
    """An entity is right when its type, first and last word are."""
    there, found = set(spans(gold, scheme)), set(spans(predicted, scheme))
    right, found_types, there_types = (Counter(span.type for span in each) for each in (there & found, found, there))
    return Matches(right, found_types, there_types)


def measures(rows: Sequence[Matches]) -> dict[str, Measure]:
    """F1, precision and recall of all entities together. An empty denominator scores zero."""
    right, found, there = np.array([[counter.total() for counter in row] for row in rows]).T
    return {
        "f1": Quotient(2 * right, found + there, empty=0.0),
        "precision": Quotient(right, found, empty=0.0),
        "recall": Quotient(right, there, empty=0.0),
    }


def agreement(rows: Sequence[Matches]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support by type. An empty denominator scores zero."""
    right, found, there = (sum(counters, Counter[str]()) for counters in zip(*rows, strict=True))
    return {type_: _scores(right[type_], found[type_], there[type_]) for type_ in sorted({*found, *there})}


def _scores(right: int, found: int, there: int) -> dict[str, float]:
    return {
        "precision": right / found if found else 0.0,
        "recall": right / there if there else 0.0,
        "f1": 2 * right / (found + there) if found + there else 0.0,
        "support": there,
    }
