"""The validate stage on small real files: what it keeps, what it refuses and why."""

import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuneline import layout
from tuneline.errors import DataError
from tuneline.params import Sections, check_params
from tuneline.rows import read_rows
from tuneline.stages import validate

ROOT = Path(__file__).parent.parent
WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in ("a", "en", "ol", "ir", "um", "ys", "et")]
LENIENT = {"max_rejected_share": 1, "max_control_characters": 1, "max_duplicate_share": 1,
           "max_near_duplicate_share": 1, "max_leaked_share": 1, "min_rows_per_label": 1}  # fmt: skip


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / layout.SUITE, layout.SUITE)


def rows(count, seed=0, length=12):
    """Rows without a fault: random texts, labels in turn, ids."""
    rng = random.Random(seed)
    return [
        {
            "id": f"s{seed}r{number}",
            "text": " ".join(rng.choices(WORDS, k=length)),
            "label": ("neg", "pos")[number % 2],
        }
        for number in range(count)
    ]


def write(**files):
    """One CSV per split, or `rows` for a single file without a split."""
    folder = layout.RAW / "reviews"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


def run(checks=LENIENT, task=None, **data):
    data = {"name": "reviews", "columns": {"id": "id"}, "checks": checks} | data
    task = {"name": "text-classification"} | (task or {})
    defaults: dict[str, dict[str, object]] = {"model": {}, "tokenize": {}, "train": {}, "evaluate": {}}
    params = check_params({"data": data, "task": task, "register": {"name": "reviews"}, **defaults})
    validate.run(Sections(params, validate.SECTIONS))


def kept(split):
    return pq.read_table(layout.split_file(layout.VALIDATED, split)).to_pylist()


def texts(split):
    return [row["text"] for row in kept(split)]


def rejects():
    """{(file, row): (column, reason)}; the file without its folder."""
    return {
        (Path(line["file"]).stem, line["row"]): (line["column"], line["reason"])
        for line in pq.read_table(layout.REJECTS).to_pylist()
    }


def numbers():
    return json.loads(layout.VALIDATION.read_text(encoding="utf-8"))


# What comes out


def test_sound_rows_are_all_kept_in_three_splits(capsys):
    write(rows=rows(500))
    run(checks={})
    assert capsys.readouterr().out == "validate: 500 rows, 0 refused\n"
    whole = sorted(kept("train") + kept("validation") + kept("test"), key=lambda row: row["row"])
    assert [row["row"] for row in whole] == list(range(500))
    assert [row["text"] for row in whole] == [row["text"] for row in rows(500)]
    assert whole[7] | {"text": ""} == {
        "row": 7, "id": "s0r7", "text": "", "text_pair": None, "label": "pos",
        "file": "data/raw/reviews/rows.csv", "line": 9,
    }  # fmt: skip
    assert rejects() == {}


def test_a_column_that_is_kept_goes_with_its_rows_and_no_other_does():
    write(rows=[row | {"country": "DE" if number % 3 else "", "shop": "x"} for number, row in enumerate(rows(60))])
    run(keep=["country"])
    found = kept("train") + kept("validation") + kept("test")
    assert [row["country"] for row in sorted(found, key=lambda row: row["row"])] == [None, "DE", "DE"] * 20
    assert list(found[0]) == ["row", "id", "text", "text_pair", "label", "country", "file", "line"]


def test_rows_stand_in_raw_order():
    write(rows=rows(300))
    run()
    numbers = [row["row"] for row in kept("train")]
    assert numbers == sorted(numbers)


def test_two_runs_give_the_same_bytes():
    write(rows=rows(300) + rows(3, seed=0))
    digests = []
    for _ in range(2):
        run()
        files = sorted(layout.VALIDATED.iterdir())
        digests.append([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])
        shutil.rmtree(layout.VALIDATED)
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


def test_the_size_of_the_batches_does_not_change_the_bytes(monkeypatch):
    write(rows=rows(300))
    run()
    before = layout.split_file(layout.VALIDATED, "train").read_bytes()

    def in_small_batches(*arguments):
        for batch in read_rows(*arguments):
            for start in range(0, len(batch), 7):
                yield batch.slice(start, 7)

    monkeypatch.setattr(validate, "read_rows", in_small_batches)
    run()
    assert layout.split_file(layout.VALIDATED, "train").read_bytes() == before


@pytest.mark.parametrize("columns", [{"id": "id"}, {}])
def test_appended_rows_never_move_old_ones(columns):
    write(rows=rows(300))
    run(columns=columns)
    before = {split: texts(split) for split in layout.SPLITS}
    write(rows=rows(300) + rows(200, seed=1))
    run(columns=columns)
    old = {row["text"] for row in rows(300)}
    assert before == {split: [text for text in texts(split) if text in old] for split in layout.SPLITS}


def test_rows_of_a_group_stay_together():
    write(rows=[{**row, "writer": f"w{number // 10}"} for number, row in enumerate(rows(400))])
    run(columns={"id": "id", "group": "writer"})
    split_of: dict[int, set[str]] = {row["row"] // 10: set() for row in kept("train")}
    for split in layout.SPLITS:
        for row in kept(split):
            split_of.setdefault(row["row"] // 10, set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())


def test_time_splits_old_from_new():
    write(rows=[{**row, "at": f"2024-{1 + number // 10:02}-01"} for number, row in enumerate(rows(120))])
    splits = {"validation_from": "2024-09-01", "test_from": "2024-11-01"}
    run(columns={"id": "id", "time": "at"}, splits=splits)
    assert [len(kept(split)) for split in layout.SPLITS] == [80, 20, 20]
    assert [row["row"] for row in kept("test")] == list(range(100, 120))


def test_files_that_give_splits_are_kept_as_they_are():
    write(train=rows(80), validation=rows(10, seed=1), test=rows(10, seed=2))
    run()
    assert [texts(split) for split in layout.SPLITS] == [
        [row["text"] for row in each] for each in (rows(80), rows(10, seed=1), rows(10, seed=2))
    ]


def test_max_rows_keeps_a_stable_few_and_counts_the_others():
    write(train=rows(80), test=rows(20, seed=2))
    run(max_rows={"train": 30, "test": 5}, splits={"validation": 0})
    assert (len(kept("train")), len(kept("test"))) == (30, 5)
    assert numbers()["left_out_by_max_rows"] == 65
    assert numbers()["refused"] == 0


def test_without_validation_the_file_is_empty_and_whole():
    write(rows=rows(100))
    run(splits={"validation": 0})
    assert pq.read_table(layout.split_file(layout.VALIDATED, "validation")).num_rows == 0


# What is refused


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"text": "   "}, "text", "text is blank"),
        ({"text": ""}, "text", "text is blank"),
        ({"text": "\u00a0\u2003"}, "text", "text is blank"),
        ({"label": ""}, "label", "label is missing"),
        ({"label": "negg"}, "label", "label is 'negg'. Known labels: neg, pos. Did you mean 'neg'?"),
        ({"text": "abcd"}, "text", "text has 4 characters, fewer than 5"),
        ({"text": "naïve " * 40}, "text", "text has 240 characters, more than 200"),
        ({"text": "rings the \x07 bell"}, "text", "text holds the control character U+0007"),
        (
            {"text": "the cafÃ© was shut"},
            "text",
            "text holds 'Ã©': read in another encoding than it was written in",
        ),
        (
            {"text": "itâ€™s broken"},
            "text",
            "text holds 'â€': read in another encoding than it was written in",
        ),
        (
            {"text": "lost \ufffd here"},
            "text",
            "text holds '\ufffd': read in another encoding than it was written in",
        ),
        ({"id": "s0r3"}, "id", "id repeats that of data/raw/reviews/rows.csv row 5"),
        ({"id": ""}, "id", "id is missing"),
    ],
)
def test_an_unsound_row_is_refused_for_its_own_reason(change, column, reason):
    lines = rows(200)
    lines[41] |= change
    write(rows=lines)
    run(checks=LENIENT | {"min_length": 5, "max_length": 200}, task={"label_names": ["neg", "pos"]})
    assert rejects() == {("rows", 43): (column, reason)}
    assert numbers()["refused"] == 1
    assert 41 not in {row["row"] for split in layout.SPLITS for row in kept(split)}


@pytest.mark.parametrize(
    "text",
    [
        "tabs\tand\r\nlines are fine here",
        "NÃO É A MAÇÃ” disse ela",
        "naïve café, 20 °C",
        "«PÂ» is here",
        "漢字と仮名です",
    ],
)
def test_sound_text_is_not_taken_for_broken(text):
    write(rows=[*rows(100), {"id": "x", "text": text, "label": "pos"}])
    run(checks={})
    assert numbers()["refused"] == 0


def test_the_first_of_two_rows_with_one_id_is_the_sound_one():
    lines = rows(100)
    lines[10] |= {"id": "twice", "text": " "}
    lines[20] |= {"id": "twice"}
    write(rows=lines)
    run()
    assert rejects() == {("rows", 12): ("text", "text is blank")}


def test_a_repeat_is_refused_and_the_first_is_kept():
    first = rows(50)
    again = {"id": "again", "text": f"  {first[7]['text'].upper()} ", "label": first[7]["label"]}
    write(train=[*first, again], test=rows(10, seed=2))
    run(splits={"validation": 0})
    assert rejects() == {("train", 52): ("text", "repeats data/raw/reviews/train.csv row 9")}
    assert numbers()["duplicates"] == 1


def test_one_text_with_two_labels_is_refused_outside_the_test_split():
    train, test = rows(50), rows(10, seed=2)
    train[20] |= {"text": train[7]["text"], "label": "neg"}  # row 7 is pos
    train[30] |= {"text": test[3]["text"], "label": "neg"}  # test row 3 is pos
    test[5] |= {"text": test[4]["text"]}  # neg and pos, both in test: kept
    write(train=train, test=test)
    run(splits={"validation": 0})
    found = rejects()
    assert set(found) == {("train", 9), ("train", 22), ("train", 32)}
    assert found["train", 9] == (
        "text",
        "the same text is labelled 'neg' in data/raw/reviews/train.csv row 22",
    )
    assert found["train", 22] == (
        "text",
        "the same text is labelled 'pos' in data/raw/reviews/train.csv row 9",
    )
    assert len(kept("test")) == 10
    assert numbers()["conflicts"] == 3


def test_the_copy_outside_the_test_split_is_refused():
    train, validation, test = rows(50), rows(10, seed=1), rows(10, seed=2)
    train[8] |= {"text": test[2]["text"], "label": test[2]["label"]}
    train[9] |= {"text": validation[3]["text"], "label": validation[3]["label"]}
    validation[6] |= {"text": test[4]["text"], "label": test[4]["label"]}
    write(train=train, validation=validation, test=test)
    run()
    place = "data/raw/reviews/"
    assert rejects() == {
        ("train", 10): ("text", f"the same text stands in the test split: {place}test.csv row 4"),
        ("train", 11): ("text", f"the same text stands in the validation split: {place}validation.csv row 5"),
        ("validation", 8): ("text", f"the same text stands in the test split: {place}test.csv row 6"),
    }
    assert [len(kept(split)) for split in layout.SPLITS] == [48, 9, 10]
    assert (numbers()["leaked"], numbers()["leaked_test_rows"]) == (3, 2)


def test_a_near_copy_of_a_test_row_is_refused_outside_the_test_split():
    train, test = rows(50, length=30), rows(10, seed=2, length=30)
    train[8] |= {"text": test[2]["text"] + " indeed"}  # 28 of 29 3-grams
    write(train=train, test=test)
    run(splits={"validation": 0})
    reason = "nearly the same text stands in the test split: data/raw/reviews/test.csv row 4 (0.97 alike)"
    assert rejects() == {("train", 10): ("text", reason)}
    assert (len(kept("test")), numbers()["leaked_test_rows"]) == (10, 1)


def test_near_duplicates_within_training_are_counted_and_kept():
    train = rows(50, length=30)
    train[8] |= {"text": train[2]["text"] + " indeed"}
    write(train=train, test=rows(10, seed=2))
    run(splits={"validation": 0})
    assert (len(kept("train")), rejects(), numbers()["near_duplicates"]) == (50, {}, 1)


def test_a_reject_holds_the_value_clipped():
    lines = rows(100)
    lines[41] |= {"text": "x" * 300}
    write(rows=lines)
    run(checks=LENIENT | {"max_length": 250})
    (line,) = pq.read_table(layout.REJECTS).to_pylist()
    assert line["value"] == "x" * 200


# What stops the pipeline


def test_a_failed_check_names_numbers_limit_key_and_rows_and_writes_nothing():
    lines = rows(100)
    for number in range(10, 17):
        lines[number] |= {"text": " "}
    write(rows=lines)
    with pytest.raises(DataError) as error:
        run(checks={})
    message = str(error.value)
    assert "data/raw/reviews: 2 of 17 checks failed." in message
    assert "Found: 7 of 100 rows fail (7%). Limit: at most 2% may fail." in message
    assert "    data/raw/reviews/rows.csv row 12: text is blank\n" in message
    assert "row 16: text is blank" in message
    assert "row 17: text is blank" not in message  # the first five are enough
    assert "change data.checks.max_rejected_share." in message
    assert not layout.VALIDATED.exists()
    last = layout.STATE / "last-validation"
    assert sorted(path.name for path in last.iterdir()) == ["data_docs.html", "rejects.parquet"]
    assert str(last / "rejects.parquet") in message
    assert pq.read_table(last / "rejects.parquet").num_rows == 7
    assert [path.name for path in layout.STATE.iterdir() if path != layout.SCRATCH] == ["last-validation"]


def test_every_failed_check_is_reported_at_once():
    lines = rows(100)
    lines[10] |= {"text": "bell \x07"}
    lines[11] |= {"label": "rare"}
    lines[12:40] = [dict(lines[50], id=f"copy{number}") for number in range(28)]
    write(train=lines, test=rows(10, seed=2))
    with pytest.raises(DataError) as error:
        run(checks={})
    message = str(error.value)
    for key in ("max_control_characters", "min_rows_per_label", "max_duplicate_share"):
        assert f"change data.checks.{key}." in message


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        ([{**row, "label": "pos"} for row in rows(40)], rows(10, seed=2), "two labels at least. Found: 1."),
        (rows(40), [*rows(10, seed=2), {"id": "x", "text": "so so", "label": "mixed"}],
         "label 'mixed': 0 train, 0 validation, 1 test"),
        ([dict(row, id=f"t{n}") for n, row in enumerate(rows(10, seed=2))], rows(10, seed=2),
         "split train: no rows are left"),
    ],
)  # fmt: skip
def test_rows_that_nothing_can_be_learned_from_stop_the_pipeline(train, test, expected):
    write(train=train, test=test)
    with pytest.raises(DataError) as error:
        run(splits={"validation": 0})
    assert expected in str(error.value)


def test_too_few_rows_for_a_test_split_stop_the_pipeline():
    write(rows=rows(3))
    with pytest.raises(DataError, match=r"split test: no rows are left(?s:.*)change data\.splits"):
        run(splits={"test": 0.01, "validation": 0})


# What a person reads


def test_a_script_in_a_text_is_escaped_in_the_data_docs():
    lines = rows(100)
    lines[10] |= {"text": "<script>alert('text')</script> \x07"}
    lines[11] |= {"label": "<script>alert('label')</script>"}
    lines[12] |= {"label": "<script>alert('label')</script>"}
    write(train=lines, test=rows(10, seed=2))
    run()
    page = layout.DATA_DOCS.read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 2


def test_the_data_docs_need_no_network():
    write(rows=rows(100))
    run()
    page = layout.DATA_DOCS.read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert "all 17 checks hold" in page


def test_numbers_add_up():
    write(train=[*rows(200), *({**row, "id": f"x{row['id']}"} for row in rows(4))], test=rows(10, seed=2))
    run()
    found = numbers()
    assert (found["rows"], found["refused"]) == (214, 4)
    assert sum(found["splits"].values()) == 210
    assert {label: sum(counts.values()) for label, counts in found["labels"].items()} == {"neg": 105, "pos": 105}


def test_a_repeat_inside_the_test_split_is_kept():
    test = rows(10, seed=2)
    write(train=rows(100), test=[*test, {**test[0], "id": "again"}])
    run()
    assert numbers()["splits"]["test"] == 11


def test_no_text_travels_into_great_expectations(monkeypatch):
    seen = {}
    check = validate.expectations.validate
    monkeypatch.setattr(
        validate.expectations, "validate", lambda tables, checks: seen.update(tables) or check(tables, checks)
    )
    write(rows=rows(100))
    run()
    assert not [name for name in seen["rows"].columns if "text" in name]
    assert rows(1)[0]["text"] not in seen["rows"].to_csv()


def test_the_hash_seed_of_the_process_does_not_matter(tmp_path):
    write(rows=rows(200))
    (tmp_path / "params.yaml").write_text(
        "data: {name: reviews}\ntask: {name: text-classification}\nregister: {name: reviews}\n"
        "model: {}\ntokenize: {}\ntrain: {}\nevaluate: {}\n",
        encoding="utf-8",
    )
    code = (
        "from tuneline.params import read_params; from tuneline.stages import validate; "
        "validate.run(read_params(*validate.SECTIONS))"
    )
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        found.append([file.read_bytes() for file in sorted(layout.VALIDATED.iterdir())])
    assert found[0] == found[1]


def test_split_files_have_a_plain_schema():
    write(rows=rows(100))
    run()
    schema = pq.read_schema(layout.split_file(layout.VALIDATED, "test"))
    assert schema.names == ["row", "id", "text", "text_pair", "label", "file", "line"]
    assert {name: schema.field(name).type for name in ("row", "line")} == {
        "row": pa.int64(),
        "line": pa.int64(),
    }
