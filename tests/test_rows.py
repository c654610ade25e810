"""rows: what each format gives, and what is said about each way a file can be broken."""

import json
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuneline.errors import DataError
from tuneline.formats.files import split_of
from tuneline.params import Data
from tuneline.rows import describe, read_rows
from tuneline.tasks import task_class

TASK = task_class("text-classification").model_validate({"name": "text-classification"})
COLUMNS = ["file", "row", "split", "id", "group", "time", "text", "text_pair", "label"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/reviews, relative to the current directory as in a run."""
    monkeypatch.chdir(tmp_path)
    place = Path("data/raw/reviews")
    place.mkdir(parents=True)
    return place


def write(folder: Path, name: str, content: str | bytes) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder: Path, **data: Any) -> list[dict[str, Any]]:
    batches = list(read_rows(folder, Data(name="reviews", **data), TASK))
    assert all(batch.schema.names == COLUMNS for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def refusal(folder: Path, **data: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **data)
    return str(caught.value)


def described(folder: Path, **data: Any) -> tuple[str, int, list[str], dict[str, Any]]:
    found = describe(folder, Data(name="reviews", **data))
    return found.format, found.rows, found.columns, found.first


# What is read


def test_a_csv_row_has_its_file_line_split_and_columns(folder: Path) -> None:
    write(folder, "train.csv", "text,label\nBroke.,negative\n")
    assert read(folder) == [
        {
            "file": "data/raw/reviews/train.csv",
            "row": 2,
            "split": "train",
            "id": None,
            "group": None,
            "time": None,
            "text": "Broke.",
            "text_pair": None,
            "label": "negative",
        }
    ]


def test_every_column_is_a_string_but_the_row(folder: Path) -> None:
    write(folder, "a.csv", "text,label\nx,1\n")
    schema = next(read_rows(folder, Data(name="reviews"), TASK)).schema
    assert {name: str(schema.field(name).type) for name in COLUMNS} == {
        name: "int64" if name == "row" else "string" for name in COLUMNS
    }


def test_a_csv_row_counts_from_the_line_it_begins_on(folder: Path) -> None:
    # header 1; the first record spans lines 2 to 4; line 5 is blank; the second record is line 6
    write(folder, "a.csv", 'text,label\n"one\ntwo\nthree",x\n\nfour,y\n')
    assert [(row["row"], row["text"]) for row in read(folder)] == [(2, "one\ntwo\nthree"), (6, "four")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_gives_the_same_rows(folder: Path, end: str) -> None:
    write(folder, "a.csv", end.join(["text,label", "a,x", "b,y", ""]))
    assert [(row["row"], row["text"], row["label"]) for row in read(folder)] == [(2, "a", "x"), (3, "b", "y")]


def test_words_that_mean_null_elsewhere_are_texts_in_csv(folder: Path) -> None:
    write(folder, "a.csv", "text,label\nNA,null\nNone,123\n,\n")
    assert [(row["text"], row["label"]) for row in read(folder)] == [
        ("NA", "null"),
        ("None", "123"),
        ("", None),
    ]


def test_mapped_columns_come_under_our_names(folder: Path) -> None:
    write(folder, "a.csv", "key,who,when,body,category\n7,ann,2024-01-31,Hello,x\n")
    columns = {"id": "key", "group": "who", "time": "when", "text": "body", "label": "category"}
    row = read(folder, columns=columns)[0]
    assert [row[name] for name in columns] == ["7", "ann", "2024-01-31", "Hello", "x"]


def test_an_id_column_that_is_not_mapped_stays_null(folder: Path) -> None:
    write(folder, "a.csv", "id,text,label\n7,Hello,x\n")
    assert read(folder)[0]["id"] is None


def test_an_optional_column_that_is_there_is_read(folder: Path) -> None:
    write(folder, "a.csv", "text,text_pair,label\na,b,x\n")
    assert read(folder)[0]["text_pair"] == "b"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("Training-00001.csv", "train"),
        ("trainset.csv", "train"),
        ("val.csv", "validation"),
        ("validation_2.csv", "validation"),
        ("DEV.csv", "validation"),
        ("test_2016_flickr.en", "test"),
        ("test1.csv", "test"),
        ("testimonials.csv", None),
        ("values.csv", None),
        ("devices.csv", None),
        ("reviews.csv", None),
    ],
)
def test_a_file_name_tells_its_split_when_it_begins_with_the_word(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_files_are_read_in_the_order_of_their_names_and_others_are_not_data(folder: Path) -> None:
    for name in ("train.csv", "dev.csv", ".hidden.csv", "README.txt", "LICENSE"):
        write(folder, name, "text,label\na,x\n")
    write(folder, "notes.pdf", "%PDF")
    (folder / "old").mkdir()
    assert [Path(row["file"]).name for row in read(folder)] == ["dev.csv", "train.csv"]
    assert describe(folder, Data(name="reviews")).not_read == ["notes.pdf", "old/"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(folder: Path) -> None:
    write(folder, "a.csv", b"\xef\xbb\xbftext,label\na,x\n")
    assert read(folder)[0]["text"] == "a"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_a_named_encoding_is_read(folder: Path, encoding: str) -> None:
    write(folder, "a.csv", "text,label\nCafé,x\n".encode(encoding))
    assert read(folder, encoding=encoding)[0]["text"] == "Café"


def test_a_row_of_ten_megabytes_is_read(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n" + "a" * 10_000_000 + ",x\nb,y\n")
    assert [(row["row"], len(row["text"])) for row in read(folder)] == [(2, 10_000_000), (3, 1)]


def test_batches_stay_small_in_rows_and_in_text(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n" + "a,x\n" * 12_000 + ("b" * 9_000_000 + ",x\n") * 3)
    sizes = [len(batch) for batch in read_rows(folder, Data(name="reviews"), TASK)]
    assert sizes == [5000, 5000, 2002, 1]  # 2,000 short rows and two long ones pass 16 million characters


def test_reading_streams(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n" + ("b" * 1000 + ",x\n") * 60_000)  # 60 MB
    tracemalloc.start()
    assert sum(len(batch) for batch in read_rows(folder, Data(name="reviews"), TASK)) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


def test_a_tsv_whose_writer_knew_no_quoting_keeps_its_quotes(folder: Path) -> None:
    # By the rules of quoting the first text would end on line 3 and swallow line 2.
    write(folder, "a.tsv", 'text\tlabel\n"he said\tx\nand left "\ty\n')
    assert [(row["row"], row["text"]) for row in read(folder)] == [(2, '"he said'), (3, 'and left "')]
    write(folder, "a.tsv", 'text\tlabel\n"Great" it is\tx\n')
    assert read(folder)[0]["text"] == '"Great" it is'


def test_a_tsv_with_quoted_fields_is_read_as_its_writer_meant(folder: Path) -> None:
    write(folder, "a.tsv", 'text\tlabel\n"a ""b""\nand c"\tx\n')
    assert [(row["row"], row["text"]) for row in read(folder)] == [(2, 'a "b"\nand c')]


def test_a_file_without_header_takes_the_names_of_params(folder: Path) -> None:
    write(folder, "a.tsv", "good\t1\nbad\t0\n")
    rows = read(folder, header=False, column_names=["text", "label"])
    assert [(row["row"], row["text"], row["label"]) for row in rows] == [(1, "good", "1"), (2, "bad", "0")]


def test_json_lines_give_integers_and_booleans_as_label_names(folder: Path) -> None:
    lines = ['{"text": "a", "label": 1}', "", '{"text": "b", "label": true}', '{"text": null}']
    write(folder, "a.jsonl", "\n".join(lines))
    found = [(row["row"], row["text"], row["label"]) for row in read(folder)]
    assert found == [(1, "a", "1"), (3, "b", "true"), (4, None, None)]


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}])
def test_a_json_list_counts_its_items_from_one(folder: Path, wrap: Any) -> None:
    write(
        folder,
        "a.json",
        json.dumps(wrap([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]), indent=1),
    )
    assert [(row["row"], row["text"]) for row in read(folder)] == [(1, "a"), (2, "b")]


def test_parquet_counts_rows_through_row_groups_and_casts_labels(folder: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", "c"], pa.large_string()),
            "label": pa.array([True, False, None]),
            "when": pa.array([0, 1, None], pa.timestamp("ms")),
            "number": pa.array([7, 8, 9], pa.int32()),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
        }
    )
    pq.write_table(table, folder / "a.parquet", row_group_size=2)
    rows = read(folder, columns={"time": "when", "id": "number", "group": "kind"})
    assert [(row["row"], row["text"], row["label"]) for row in rows] == [
        (1, "a", "true"),
        (2, "b", "false"),
        (3, "c", None),
    ]
    assert [(row["time"], row["id"], row["group"]) for row in rows] == [
        ("1970-01-01T00:00:00.000", "7", "u"),
        ("1970-01-01T00:00:00.001", "8", "v"),
        (None, "9", "u"),
    ]


def test_conll_sentences_end_at_a_blank_line_even_one_with_a_tab(folder: Path) -> None:
    write(folder, "train.conll", "-DOCSTART- -X-\n\nAda\tB-PER\nwrote\tO\n\t\nBerlin\tB-LOC\n")
    format_, rows, columns, first = described(folder)
    assert (format_, rows, columns) == ("conll", 2, ["tokens", "tags"])
    assert first == {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}


def test_conll_with_four_columns_takes_the_first_and_the_last(folder: Path) -> None:
    write(folder, "train.bio", "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n")
    assert described(folder)[3] == {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}


def test_conllu_skips_ranges_and_empty_nodes(folder: Path) -> None:
    lines = ["# sent_id = s1", *(f"{i}\t{w}\t_\t{t}" + "\t_" * 6 for i, w, t in CONLLU_WORDS), "", ""]
    write(folder, "train.conllu", "\n".join(lines))
    assert described(folder) == (
        "conllu",
        1,
        ["id", "tokens", "tags"],
        {"id": "s1", "tokens": ["do", "n't", "go"], "tags": ["AUX", "PART", "VERB"]},
    )


CONLLU_WORDS = [
    ("1-2", "don't", "_"),
    ("1", "do", "AUX"),
    ("2", "n't", "PART"),
    ("2.1", "to", "X"),
    ("3", "go", "VERB"),
]


def squad(**changes: Any) -> dict[str, Any]:
    question = {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]} | changes
    return {"data": [{"title": "T", "paragraphs": [{"context": "Ada wrote.", "qas": [question]}]}]}


def test_squad_gives_one_row_per_question(folder: Path) -> None:
    write(folder, "dev.json", json.dumps(squad()))
    format_, rows, columns, first = described(folder)
    assert (format_, rows) == ("json", 1)
    assert columns == ["id", "context", "question", "answers", "title"]
    assert first["answers"] == [{"text": "Ada", "answer_start": 0}]


def test_parallel_files_give_source_and_target_as_params_say(folder: Path) -> None:
    write(folder, "train.en", "A man.\nA dog.\n")
    write(folder, "train.de", "Ein Mann.\nEin Hund.\n")
    found = describe(folder, Data(name="reviews", columns={"source": "en", "target": "de"}))
    assert (found.format, found.rows, found.first["source"], found.first["target"]) == (
        "parallel",
        2,
        "A man.",
        "Ein Mann.",
    )
    assert found.files[0].shown == "data/raw/reviews/train.{en,de}"
    assert described(folder)[3]["source"] == "Ein Mann."  # by the languages' names: de before en


def test_plain_text_skips_blank_lines(folder: Path) -> None:
    write(folder, "train.txt", " \n = Title = \n\nWords.\n")
    assert described(folder) == ("text", 2, ["text"], {"text": " = Title = "})


def test_describe_counts_every_file(folder: Path) -> None:
    write(folder, "train.csv", "text,category\na,x\nb,y\n")
    write(folder, "test.csv", "text,category,extra\nc,x,1\n")
    found = describe(folder, Data(name="reviews"))
    assert [(file.shown, file.split, file.rows) for file in found.files] == [
        ("data/raw/reviews/test.csv", "test", 1),
        ("data/raw/reviews/train.csv", "train", 2),
    ]
    assert (found.rows, found.columns) == (3, ["text", "category"])
    assert found.first == {"text": "c", "category": "x", "extra": "1"}


# What is refused: folders and files


def test_a_missing_folder_says_how_to_bring_it_in(tmp_path: Path) -> None:
    said = refusal(tmp_path / "reviews")
    assert "no such folder" in said
    assert "tuneline data add reviews SOURCE" in said
    assert "dvc pull" in said


def test_a_folder_without_readable_files_lists_what_lies_there(folder: Path) -> None:
    write(folder, "reviews.xlsx", b"PK")
    (folder / "more").mkdir()
    assert "no file that can be read. Found: reviews.xlsx, more/." in refusal(folder)


def test_two_formats_in_a_folder_are_listed_and_data_format_chooses(folder: Path) -> None:
    write(folder, "a.csv", "text,label\na,x\n")
    write(folder, "b.jsonl", '{"text": "b", "label": "y"}\n')
    assert "more than one format (csv: a.csv; jsonl: b.jsonl)" in refusal(folder)
    assert [row["text"] for row in read(folder, format="jsonl")] == ["b"]


def test_data_format_reads_files_of_any_ending(folder: Path) -> None:
    write(folder, "reviews.data", "text,label\na,x\n")
    assert [row["text"] for row in read(folder, format="csv")] == ["a"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.txt", "a.conll"])
def test_an_empty_file_is_named(folder: Path, name: str) -> None:
    write(folder, name, "")
    assert refusal(folder).startswith(f"data/raw/reviews/{name}: the file is empty")


def test_a_header_without_rows_is_named(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n")
    assert "data/raw/reviews/a.csv: has a header and no rows" in refusal(folder)


def test_a_file_that_is_an_archive_is_told(folder: Path) -> None:
    write(folder, "a.csv", b"PK\x03\x04rest")
    assert "data/raw/reviews/a.csv: the file is a zip archive or an Excel sheet" in refusal(folder)


# Columns


def test_missing_columns_of_all_files_are_named_with_the_nearest(folder: Path) -> None:
    write(folder, "train.csv", "text,lable\na,x\n")
    write(folder, "test.csv", "txt,label\na,x\n")
    said = refusal(folder)
    assert "test.csv: no column 'text'. Found columns: txt, label. Did you mean 'txt'?" in said
    assert "train.csv: no column 'label'. Found columns: text, lable. Did you mean 'lable'?" in said
    assert "data.columns" in said


def test_a_mapped_column_that_is_missing_names_its_key_in_params(folder: Path) -> None:
    write(folder, "a.csv", "text,label\na,x\n")
    assert "no column 'key' (data.columns.id)" in refusal(folder, columns={"id": "key"})
    assert "no column 'pair' (data.columns.text_pair)" in refusal(folder, columns={"text_pair": "pair"})


def test_duplicate_column_names_are_refused(folder: Path) -> None:
    write(folder, "a.csv", "text,label,text\na,x,b\n")
    assert "a.csv row 1: the header names 'text' more than once" in refusal(folder)


def test_blank_column_names_of_a_spreadsheet_are_no_duplicates(folder: Path) -> None:
    write(folder, "a.csv", "text,label,,\na,x,,\n")
    assert len(read(folder)) == 1


@pytest.mark.parametrize(("mark", "shown"), [(";", '";"'), ("|", '"|"'), ("\t", '"\\t"')])
def test_a_wrong_delimiter_is_told_by_the_header(folder: Path, mark: str, shown: str) -> None:
    write(folder, "a.csv", f"text{mark}label\na{mark}x\n")
    assert f"set data.delimiter: {shown}" in refusal(folder)
    assert read(folder, delimiter=mark)[0]["label"] == "x"


def test_a_wrong_delimiter_is_told_even_when_texts_hold_commas(folder: Path) -> None:
    write(folder, "a.csv", "text;label\nwell, it broke;x\n")
    assert 'set data.delimiter: ";"' in refusal(folder)


def test_params_that_contradict_each_other_about_the_header_are_refused(folder: Path) -> None:
    write(folder, "a.csv", "text,label\na,x\n")
    assert "Set data.column_names" in refusal(folder, header=False)
    assert "Set data.header: false" in refusal(folder, column_names=["text", "label"])


# Rows


def test_ragged_rows_are_reported_at_once_by_their_lines(folder: Path) -> None:
    write(folder, "a.csv", 'text,label\nok,x\n"two\nlines",x\none, two,x\nfour\n')
    assert refusal(folder).splitlines()[:2] == [
        "data/raw/reviews/a.csv row 5: 3 fields, expected 2 (text, label)",
        "data/raw/reviews/a.csv row 6: 1 fields, expected 2 (text, label)",
    ]


def test_twenty_problems_are_shown_and_the_rest_counted(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n" + "lonely\n" * 23)
    lines = refusal(folder).splitlines()
    assert [lines[0].split(":")[0], lines[19].split(":")[0]] == [
        "data/raw/reviews/a.csv row 2",
        "data/raw/reviews/a.csv row 21",
    ]
    assert lines[20] == "and 3 more"


def test_a_broken_row_after_the_first_batch_still_stops_the_reading(folder: Path) -> None:
    write(folder, "a.csv", "text,label\n" + "a,x\n" * 6000 + "lonely\n")
    assert "a.csv row 6002: 1 fields" in refusal(folder)


def test_a_quote_that_is_never_closed_is_found_where_it_opens(folder: Path) -> None:
    write(folder, "a.csv", 'text,label\na,x\n"never closed,x\nb,y\nc,z\n')
    assert "a.csv row 3: a quoted field is opened here and never closed (looked until line 5)" in refusal(folder)


def test_a_quote_in_the_middle_of_a_quoted_field_is_found(folder: Path) -> None:
    write(folder, "a.csv", 'text,label\na,x\n"Great" product,x\n')
    assert "a.csv row 3: a quoted field ends on line 3 in the middle of text" in refusal(folder)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told(folder: Path, encoding: str) -> None:
    write(folder, "a.csv", "text,label\nHello there,x\n".encode(encoding))
    assert f"a.csv row 1: the bytes are {encoding.upper()}" in refusal(folder)
    assert f"Set data.encoding: {encoding}" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "start", "between"),
    [("a.csv", "text,label\n", ","), ("a.tsv", "text\tlabel\n", "\t"), ("a.txt", "", "")],
)
def test_latin_1_bytes_are_found_by_line_and_byte(folder: Path, name: str, start: str, between: str) -> None:
    head = f"{start}abc{between}x\r\nCaf".encode()
    write(folder, name, head + b"\xe9" + f"{between}x\n".encode())
    said = refusal(folder)
    line = 3 if start else 2
    assert f"{name} row {line}: byte {len(head) + 1:,} of the file is not utf-8" in said
    assert "set data.encoding: latin-1" in said


def test_undecodable_bytes_are_found_beyond_the_first_megabyte(folder: Path) -> None:
    write(folder, "a.csv", b"text,label\n" + b"aaaaaaa,x\n" * 300_000 + b"\x93quoted\x94,x\n")
    said = refusal(folder)
    assert "a.csv row 300002: byte 3,000,012" in said  # 11 bytes of header, 10 bytes a row
    assert "set data.encoding: cp1252" in said


def test_a_text_file_cut_in_the_middle_of_a_character_is_told(folder: Path) -> None:
    write(folder, "a.csv", "text,label\na,é".encode()[:-1])
    assert "a.csv row 2: byte" in refusal(folder)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_a_nul_byte_is_found_by_its_line(folder: Path, name: str) -> None:
    mark = "\t" if name == "a.tsv" else ","
    write(folder, name, f"text{mark}label\nab\0c{mark}x\n" if name != "a.jsonl" else '{"text": "a"}\n{"b\0')
    assert f"data/raw/reviews/{name} row 2: a NUL byte" in refusal(folder)


def test_broken_json_lines_are_reported_at_once(folder: Path) -> None:
    lines = ['{"text": "a", "label": "x"}', '{"text": "b"', '["c"]', "7", '{"text": "d", "label": "x"}']
    write(folder, "a.jsonl", "\n".join(lines))
    said = refusal(folder).splitlines()
    assert said[0].startswith("data/raw/reviews/a.jsonl row 2: not JSON: ")
    assert said[1].startswith("data/raw/reviews/a.jsonl row 3: a JSON list, expected an object")
    assert said[2] == "data/raw/reviews/a.jsonl row 4: a JSON number, expected an object"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_nested_too_deep_is_refused(folder: Path, name: str) -> None:
    write(folder, name, '{"text": ' + "[" * 100_000)
    assert "nested too deep" in refusal(folder)


def test_half_a_surrogate_pair_is_found_by_its_line(folder: Path) -> None:
    write(
        folder,
        "a.jsonl",
        '{"text": "fine \\ud83d\\ude00", "label": "x"}\n{"text": "no \\ud800", "label": "x"}\n',
    )
    assert "a.jsonl row 2: text holds \\ud800 at character 4" in refusal(folder)


def test_a_text_that_is_a_number_is_refused_in_json(folder: Path) -> None:
    write(
        folder,
        "a.jsonl",
        '{"text": 5, "label": "x"}\n{"text": "a", "label": 1.5}\n{"text": [], "label": {}}\n',
    )
    file, label = "data/raw/reviews/a.jsonl", "Expected a string, an integer or a boolean"
    assert refusal(folder).splitlines() == [
        f"{file} row 1: text is 5, a number. Expected a string",
        f"{file} row 2: label is 1.5, a decimal number. {label}",
        f"{file} row 3: text is [], a list. Expected a string",
        f"{file} row 3: label is {{}}, an object. {label}",
    ]


def test_json_lines_in_a_json_file_are_told(folder: Path) -> None:
    write(folder, "a.json", '{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n')
    assert "a.json row 2: not JSON: Extra data" in refusal(folder)
    assert "Set data.format: jsonl" in refusal(folder)
    assert len(read(folder, format="jsonl")) == 2


def test_a_json_file_without_a_list_is_refused(folder: Path) -> None:
    write(folder, "a.json", '{"version": 1}')
    assert "a.json: holds a JSON object with the keys version" in refusal(folder)


@pytest.mark.parametrize(
    ("column", "values", "found", "expected"),
    [
        ("text", [1, 2], "int64", "string"),
        ("text", [["a"], ["b"]], "list<", "string"),
        ("label", [0.5, 1.0], "double", "string, integer or boolean"),
        ("label", [{"a": 1}, None], "struct<", "string, integer or boolean"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused(
    folder: Path, column: str, values: list[Any], found: str, expected: str
) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]} | {column: values}), folder / "a.parquet")
    said = refusal(folder)
    assert f"data/raw/reviews/a.parquet: column '{column}' is of type {found}" in said
    assert f"expected {expected}." in said


def test_a_parquet_file_cut_short_is_told(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["a"] * 1000, "label": ["x"] * 1000}), folder / "a.parquet")
    whole = (folder / "a.parquet").read_bytes()
    write(folder, "a.parquet", whole[: len(whole) // 2])
    assert "data/raw/reviews/a.parquet: not a whole Parquet file" in refusal(folder)


def test_parquet_text_that_is_not_utf_8_is_refused(folder: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"Caf\xe9"]).buffers())
    pq.write_table(pa.table({"text": broken, "label": ["x"]}), folder / "a.parquet")
    assert "UTF8" in refusal(folder)


def test_a_conll_line_with_other_columns_is_found(folder: Path) -> None:
    write(folder, "train.conll", "Ada\tB-PER\nwrote\nit\tO\tO\n")
    said = refusal(folder).splitlines()
    assert said[0] == "data/raw/reviews/train.conll row 2: 1 columns, expected 2: 'wrote'"
    assert said[1].startswith("data/raw/reviews/train.conll row 3: 3 columns, expected 2")


def test_a_conllu_line_with_other_columns_is_found(folder: Path) -> None:
    write(folder, "train.conllu", "1\tdo\tAUX\n")
    assert "train.conllu row 1: 3 columns, expected 10" in refusal(folder)


def test_parallel_files_of_different_length_are_refused(folder: Path) -> None:
    write(folder, "train.en", "A man.\nA dog.\n")
    write(folder, "train.de", "Ein Mann.\n")
    said = refusal(folder)
    assert "train.{de,en} row 2: one file goes on and the other ends" in said
    assert "train.de 1 and train.en 2" in said


def test_a_parallel_file_without_its_partner_is_named(folder: Path) -> None:
    for name in ("train.en", "train.de", "test.en"):
        write(folder, name, "A man.\n")
    assert "without the other language: test.en" in refusal(folder, format="parallel")


def test_three_languages_need_a_choice(folder: Path) -> None:
    for name in ("train.en", "train.de", "train.fr"):
        write(folder, name, "A man.\n")
    assert "parallel text in de, en, fr. Expected two languages" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": None}, "data[0].paragraphs[0].qas[0]: question is null"),
        ({"answers": "Ada"}, "data[0].paragraphs[0].qas[0]: answers is string, expected a list"),
        ({"answers": [{"text": "Ada"}]}, "data[0].paragraphs[0].qas[0]: an answer lacks its text"),
    ],
)
def test_squad_problems_name_their_place(folder: Path, changes: dict[str, Any], said: str) -> None:
    write(folder, "dev.json", json.dumps(squad(**changes)))
    assert f"data/raw/reviews/dev.json row 1: {said}" in refusal(folder)


def test_a_squad_paragraph_without_questions_is_named(folder: Path) -> None:
    write(folder, "dev.json", json.dumps({"data": [{"paragraphs": [{"context": "Ada."}]}]}))
    assert "row 1: data[0].paragraphs[0] has no list of qas, found null" in refusal(folder)


def test_a_format_that_has_no_text_column_for_the_task_is_refused(folder: Path) -> None:
    write(folder, "train.conll", "Ada\tB-PER\n")
    assert "train.conll: no column 'text'. Found columns: tokens, tags." in refusal(folder)
    assert "row 1: tokens is ['Ada'], a list. Expected a string" in refusal(
        folder, columns={"text": "tokens", "label": "tags"}
    )


# Columns that are kept beside the task's


def test_a_kept_column_stays_with_the_rows_as_text(folder: Path) -> None:
    write(folder, "a.jsonl", "\n".join(
        json.dumps({"text": "x", "label": "a", "country": country, "stars": stars})
        for country, stars in (("DE", 4), ("", 4.5), (None, True), ("Å", ["a", 1]))
    ))  # fmt: skip
    batches = read_rows(folder, Data(name="reviews", keep=["country", "stars"]), TASK)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [(row["country"], row["stars"]) for row in rows] == [
        ("DE", "4"), (None, "4.5"), (None, "true"), ("Å", '["a", 1]'),
    ]  # fmt: skip
    assert list(rows[0]) == [*COLUMNS, "country", "stars"]


def test_kept_columns_of_parquet_may_be_of_any_type(folder: Path) -> None:
    table = pa.table({"text": ["x"], "label": ["a"], "day": [date(2026, 2, 3)], "price": [1.5],
                      "shop": pa.array(["Bonn"]).dictionary_encode()})  # fmt: skip
    pq.write_table(table, folder / "a.parquet")
    rows = next(read_rows(folder, Data(name="reviews", keep=["day", "price", "shop"]), TASK)).to_pylist()
    assert (rows[0]["day"], rows[0]["price"], rows[0]["shop"]) == ("2026-02-03", "1.5", "Bonn")


def test_a_kept_column_that_is_not_there_is_told(folder: Path) -> None:
    write(folder, "a.csv", "text,label,country\nx,a,DE\n")
    assert refusal(folder, keep=["contry"]) == (
        "data/raw/reviews/a.csv: no column 'contry' (data.keep). Found columns: text, label, country. Did you mean "
        "'country'?"
    )
