"""Which rows of the data two versions do not share, told from what each recorded: no raw data is needed.

A row is known by its id, where every row of both versions has one, else by its texts. Rows that are alike are counted.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tuneline.parquet import read_batches
from tuneline.record import inputs_key
from tuneline.tasks.base import Row, Task

EXAMPLES = 3  # of each kind


class Known(NamedTuple):
    """A row as lineage/rows.parquet has it."""

    split: str
    id: str | None
    inputs: bytes
    gold: str


@dataclass(frozen=True)
class Change:
    """What became of one row. then, now: split and gold on each side; None where it is not there."""

    kind: str  # added, removed, relabelled, rewritten (same id, other texts) or moved (to another split)
    then: Known | None
    now: Known | None

    @property
    def split(self) -> str:
        """The split that the change concerns: the one that lost the row, else the one that has it."""
        here = self.now or self.then
        assert here is not None
        return here.split


def read_known(path: Path) -> list[Known]:
    """The rows that a version was made from."""
    columns = ["split", "id", "inputs", "gold"]
    return [Known(**row) for batch in read_batches(path, columns) for row in batch]


def changes(then: list[Known], now: list[Known]) -> list[Change]:
    """Every change, in the order of the rows then, and the added ones in their order now."""
    by_id = all(row.id is not None for rows in (then, now) for row in rows)
    before, after = (numbered(row.id if by_id else row.inputs for row in rows) for rows in (then, now))
    pairs = [(then[place], now[after[key]] if key in after else None) for key, place in before.items()]
    added = [now[place] for key, place in after.items() if key not in before]
    return [change for pair in pairs for change in _became(*pair)] + [Change("added", None, row) for row in added]


def numbered(keys: Iterable[Any]) -> dict[tuple[Any, int], int]:
    """(key, how many like it came before) → its place."""
    seen: Counter[Any] = Counter()
    places = {}
    for place, key in enumerate(keys):
        places[key, seen[key]] = place
        seen[key] += 1
    return places


def _became(then: Known, now: Known | None) -> list[Change]:
    if now is None:
        return [Change("removed", then, None)]
    kinds = {
        "relabelled": then.gold != now.gold,
        "rewritten": then.inputs != now.inputs,
        "moved": then.split != now.split,
    }
    return [Change(kind, then, now) for kind, is_so in kinds.items() if is_so]


def counts(found: Iterable[Change]) -> dict[str, dict[str, int]]:
    """{"added": {"train": 3}}"""
    counted: dict[str, dict[str, int]] = {}
    for change in found:
        splits = counted.setdefault(change.kind, {})
        splits[change.split] = splits.get(change.split, 0) + 1
    return counted


def examples(found: Iterable[Change], task: Task, places: Iterable[Path]) -> list[dict[str, Any]]:
    """The first changes of each kind, with their texts as far as the files in `places` hold them."""
    shown: list[Change] = []
    for change in found:
        if sum(other.kind == change.kind for other in shown) < EXAMPLES:
            shown.append(change)
    wanted = {row.inputs for change in shown for row in (change.then, change.now) if row}
    texts = _texts(wanted, task, places)
    return [_example(change, texts) for change in shown]


def _example(change: Change, texts: Mapping[bytes, str]) -> dict[str, Any]:
    here = change.now or change.then
    assert here is not None
    then, now = ({"split": row.split, **json.loads(row.gold)} if row else None for row in (change.then, change.now))
    return {"kind": change.kind, "id": here.id, "text": texts.get(here.inputs), "then": then, "now": now}


def _texts(wanted: set[bytes], task: Task, places: Iterable[Path]) -> dict[bytes, str]:
    """What the rows with these digests say, from whichever file has them. Reads no further than it must."""
    found: dict[bytes, str] = {}
    for place in places:
        if wanted <= found.keys():
            break
        for batch in read_batches(place):
            for row in batch:
                key = inputs_key(row, task)
                if key in wanted and key not in found:
                    found[key] = shown_inputs(row, task)
    return found


def shown_inputs(row: Row, task: Task) -> str:
    """The texts of a row in one line."""
    cells = [row.get(name) for name, column in task.columns.items() if not column.is_gold]
    return " | ".join(" ".join(cell) if isinstance(cell, list) else str(cell) for cell in cells if cell)
