"""Rows that came, went and changed, told from their digests."""

from pathlib import Path

from tuneline.parquet import schema_of, write_rows
from tuneline.record import ROW_TYPES, inputs_key
from tuneline.row_changes import Change, Known, changes, counts, examples, read_known
from tuneline.tasks import task_class

TASK = task_class("text-classification").model_validate({"name": "text-classification"})
GOOD, BAD = '{"label": "good"}', '{"label": "bad"}'


def known(id: str | None, text: str, gold: str = GOOD, split: str = "train") -> Known:
    return Known(split, id, inputs_key({"text": text}, TASK), gold)


def test_rows_with_ids_are_known_by_them() -> None:
    then = [known("1", "a"), known("2", "b"), known("3", "c"), known("4", "d", split="test")]
    now = [known("2", "b", BAD), known("3", "C"), known("4", "d"), known("5", "e", split="validation")]
    found = changes(then, now)
    assert [(change.kind, (change.now or change.then).id) for change in found] == [  # type: ignore[union-attr]
        ("removed", "1"), ("relabelled", "2"), ("rewritten", "3"), ("moved", "4"), ("added", "5"),
    ]  # fmt: skip
    assert counts(found) == {
        "removed": {"train": 1}, "relabelled": {"train": 1}, "rewritten": {"train": 1}, "moved": {"train": 1},
        "added": {"validation": 1},
    }  # fmt: skip


def test_without_ids_a_row_is_known_by_its_texts_and_copies_are_counted() -> None:
    then = [known(None, "a"), known(None, "a"), known(None, "b")]
    now = [known(None, "a"), known("7", "b", BAD)]
    assert [change.kind for change in changes(then, now)] == ["removed", "relabelled"]
    assert changes(then, then) == []


def test_one_row_can_change_in_more_than_one_way() -> None:
    found = changes([known("1", "a")], [known("1", "a", BAD, "test")])
    assert [change.kind for change in found] == ["relabelled", "moved"]


def test_examples_have_the_texts_that_some_file_still_holds(tmp_path: Path) -> None:
    place = tmp_path / "train.parquet"
    write_rows(place, [{"text": "a kettle"}, {"text": "a lamp"}], schema_of({"text": "string"}))
    found = [Change("relabelled", known("1", "a lamp"), known("1", "a lamp", BAD))]
    found += [Change("added", None, known(str(number), f"gone {number}")) for number in range(9)]
    shown = examples(found, TASK, [place])
    assert shown[0] == {
        "kind": "relabelled", "id": "1", "text": "a lamp",
        "then": {"split": "train", "label": "good"}, "now": {"split": "train", "label": "bad"},
    }  # fmt: skip
    assert [each["text"] for each in shown[1:]] == [None, None, None]


def test_recorded_rows_are_read_back(tmp_path: Path) -> None:
    rows = [known("1", "a"), known(None, "b", BAD, "test")]
    write_rows(tmp_path / "rows.parquet", [{"row": 0, **row._asdict()} for row in rows], schema_of(ROW_TYPES))
    assert read_known(tmp_path / "rows.parquet") == rows
