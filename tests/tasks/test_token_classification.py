"""Tags of words: where they stand among the pieces, what is wrong with a row, what comes back."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.conftest import ROOT, run
from tuneline import layout
from tuneline.errors import DataError, ParamsError
from tuneline.params import Data, Sections, check_params
from tuneline.rows import describe, read_rows
from tuneline.stages import validate
from tuneline.suggest import suggested_params
from tuneline.tasks import task_class
from tuneline.tasks.base import by_row

NER = {"name": "token-classification"}
POS = {"name": "token-classification", "scheme": "plain"}
LABELS = ["B-PER", "I-PER", "O"]


def task(**options: Any) -> Any:
    return task_class("token-classification").model_validate(NER | options)


@pytest.fixture
def tokenizer() -> Tokenizer:
    """One piece for each letter: a word of n letters has n pieces. `~` leaves nothing."""
    pieces = {piece: i for i, piece in enumerate(["[PAD]", "[CLS]", "[SEP]", *"abcdefgh"])}
    found = Tokenizer(models.WordLevel(pieces, unk_token="a"))
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("~", "removed"), pre_tokenizers.Split("", "isolated")]
    )
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return found


def outputs_for(features: list[dict[str, Any]], codes: list[int]) -> list[np.ndarray]:
    """For each feature, logits (tokens, 3) that give the code of the word at each position a probability of 0.9."""
    return [logits_of([codes[word] if word >= 0 else 0 for word in f["words"]], 0.9) for f in features]


def logits_of(codes: list[int], probability: float) -> np.ndarray:
    """(tokens, 3): each token's code is this likely, and both others are equally so."""
    return np.log(np.where(np.eye(3, dtype=bool)[codes], probability, (1 - probability) / 2))


# Encoding


def test_the_label_stands_on_the_first_piece(tokenizer: Tokenizer) -> None:
    [feature] = task().encode(tokenizer, [{"tokens": ["abc", "d"], "tags": ["B-PER", "O"]}], LABELS)
    assert feature["labels"] == [-100, 0, -100, -100, 2, -100]
    assert feature["words"] == [-1, 0, -1, -1, 1, -1]


@pytest.mark.parametrize("stride", [0, 1, 2, 3])
def test_windows_lose_no_word_and_a_word_counts_where_it_begins(tokenizer: Tokenizer, stride: int) -> None:
    row = {"tokens": ["ab", "cdefgh", "a", "bc", "d", "e", "fgh", "a"]}
    ner = task(stride=stride)
    ner.limit(tokenizer, 8)
    features = ner.encode(tokenizer, [row, {"tokens": ["a"]}], LABELS)
    assert [len(each) for each in by_row(features)] == [len(features) - 1, 1]
    long = features[:-1]
    assert {word for feature in long for word in feature["words"]} == {-1, *range(8)}
    assert all(len(feature["input_ids"]) <= 8 for feature in long)
    for feature in long:  # the piece under a word is the word's first letter
        for piece, word in zip(feature["input_ids"], feature["words"], strict=True):
            assert word < 0 or tokenizer.id_to_token(piece) == row["tokens"][word][0]
    codes = [0, 1, 2, 0, 1, 2, 2, 0]
    [prediction] = task(**POS).decode(outputs_for(long, codes), long, [row], LABELS)
    assert prediction["tags"] == [LABELS[code] for code in codes]


def test_a_word_in_two_windows_is_read_where_it_is_farther_from_the_edge() -> None:
    windows = [{"window": 0, "words": [-1, 0, 1, -1]}, {"window": 1, "words": [-1, -1, 1, 2, 3, -1]}]
    # Word 1 stands one position from the edge in the first window, and two in the second.
    outputs = [logits_of([2] * 4, 0.5), logits_of([0] * 6, 0.9)]
    [prediction] = task(**POS).decode(outputs, windows, [{"tokens": list("abcd")}], LABELS)
    assert prediction["tags"] == ["O", "B-PER", "B-PER", "B-PER"]


def test_a_word_without_a_piece_counts_as_missed(tokenizer: Tokenizer) -> None:
    row = {"tokens": ["ab", "~", "c"], "tags": ["O", "B-PER", "O"]}
    features = task().encode(tokenizer, [row], LABELS)
    for options, expected in (({}, "O"), (POS, None)):
        found = task(**options)
        predictions = found.decode(outputs_for(features, [2, 0, 2]), features, [row], LABELS)
        assert predictions[0]["tags"] == ["O", expected, "O"]
        assert found.score(predictions, [row], LABELS).per_row.tolist() == [pytest.approx(2 / 3)]


def test_a_tag_that_no_training_row_has_is_not_learned_but_missed(tokenizer: Tokenizer) -> None:
    [feature] = task().encode(tokenizer, [{"tokens": ["a"], "tags": ["B-LOC"]}], LABELS)
    assert feature["labels"] == [-100, -100, -100]


def test_a_stride_that_leaves_no_room_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ParamsError, match=r"task\.stride: is 8, more than half"):
        task(stride=8).limit(tokenizer, 16)


# Rows


@pytest.mark.parametrize(
    ("options", "tags", "said"),
    [
        ({}, ["O"], "tags has 1 tags for 2 tokens"),
        ({"scheme": "plain"}, ["", "NOUN"], "word 1 ('Ada') is ''. Expected a tag"),
        ({}, ["O", "NOUN"], "word 2 ('wrote') is 'NOUN'. Expected O, B-TYPE, I-TYPE"),
        (
            {},
            ["O", "I-PER"],
            "word 2 ('wrote') is I-PER, between O and the end. Expected tags in BIO: an entity begins",
        ),
        ({"scheme": "BIOES"}, ["B-PER", "O"], "word 1 ('Ada') is B-PER, between the start and O"),
        ({"tag_names": ["O", "B-PER"]}, ["B-PRE", "O"], "Known tags: B-PER, O. Did you mean 'B-PER'?"),
    ],
)
def test_a_broken_row_is_told_by_word(options: dict[str, Any], tags: list[str], said: str) -> None:
    assert said in task(**options).problem({"tokens": ["Ada", "wrote"], "tags": tags})


def test_tag_names_are_held_to_the_scheme() -> None:
    with pytest.raises(ValidationError, match="tag_names: NOUN cannot stand in scheme BIO"):
        task(tag_names=["O", "NOUN"])


def test_iob1_may_begin_an_entity_with_i() -> None:
    assert task(scheme="IOB1").problem({"tokens": ["Ada", "wrote"], "tags": ["I-PER", "O"]}) is None


# Answers


def test_entities_of_a_raw_text_have_their_place_in_it(tokenizer: Tokenizer) -> None:
    row = task().inputs({"text": "Ada  Lovelace, wrote."})
    assert row["tokens"] == ["Ada", "Lovelace", ",", "wrote", "."]
    features = task().encode(tokenizer, [row], LABELS)
    [prediction] = task().decode(outputs_for(features, [0, 1, 2, 2, 2]), features, [row], LABELS)
    assert prediction["entities"] == [
        {
            "type": "PER",
            "text": "Ada  Lovelace",
            "score": pytest.approx(0.9),
            "start_word": 0,
            "end_word": 2,
            "start": 0,
            "end": 13,
        }
    ]


def test_a_stray_tag_is_answered_as_the_begin_of_an_entity(tokenizer: Tokenizer) -> None:
    row = {"tokens": ["a", "b"]}
    features = task().encode(tokenizer, [row], LABELS)
    [prediction] = task().decode(outputs_for(features, [2, 1]), features, [row], LABELS)
    assert prediction["tags"] == ["O", "B-PER"]
    assert [(e["type"], e["text"]) for e in prediction["entities"]] == [("PER", "b")]


def test_an_empty_text_has_no_words(tokenizer: Tokenizer) -> None:
    row = task().inputs({"text": "  "})
    features = task().encode(tokenizer, [row], LABELS)
    [prediction] = task().decode(outputs_for(features, []), features, [row], LABELS)
    assert (prediction["tags"], prediction["entities"]) == ([], [])


def test_words_that_are_no_list_are_refused() -> None:
    with pytest.raises(DataError, match=r"tokens is 'Ada wrote'. Expected a list of words"):
        task().inputs({"tokens": "Ada wrote"})


def test_a_mistake_names_the_wrong_words_alone() -> None:
    row = {"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}
    found = task().mistake(row, {"tags": ["O", "O"], "scores": [0.7, 0.9]})
    assert (found.text, found.gold, found.predicted, found.score) == ("Ada wrote", "Ada: B-PER", "Ada: O", 0.7)


# From file to row


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/words of an empty project."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw/words").mkdir(parents=True)
    shutil.copy(ROOT / layout.SUITE, layout.SUITE)
    return layout.RAW / "words"


def read(**data: Any) -> list[tuple[Any, Any]]:
    batches = read_rows(layout.RAW / "words", Data(name="words", **data), task(scheme="plain"))
    return [(row["tokens"], row["tags"]) for batch in batches for row in batch.to_pylist()]


def validated(**options: Any) -> dict[int, tuple[str, str]]:
    """Run validate without limits; line → column and reason of each refused row."""
    shares = ("rejected_share", "control_characters", "duplicate_share", "near_duplicate_share", "leaked_share")
    checks = {f"max_{share}": 1 for share in shares}
    params = {"data": {"name": "words", "checks": checks}, "task": NER | options, "register": {"name": "words"}}
    empty: dict[str, dict[str, Any]] = {section: {} for section in ("model", "tokenize", "train", "evaluate")}
    validate.run(Sections(check_params(params | empty), validate.SECTIONS))
    return {line["row"]: (line["column"], line["reason"]) for line in pq.read_table(layout.REJECTS).to_pylist()}


def write_splits(folder: Path, train: list[dict[str, Any]]) -> None:
    for split, rows in (
        ("train", [*train, {"tokens": ["they", "left", "at", "noon"], "tags": ["O"] * 4}]),
        ("dev", [{"tokens": ["a", "quiet", "evening"], "tags": ["O"] * 3}]),
        ("test", [{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}]),
    ):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_lists_are_read_from_json_lines_parquet_and_conll(folder: Path) -> None:
    expected = [(["Ada", "wrote"], ["1", "0"])]
    (folder / "a.jsonl").write_text('{"tokens": ["Ada", "wrote"], "tags": [1, 0]}\n')
    assert read() == expected
    (folder / "a.jsonl").unlink()
    pq.write_table(pa.table({"words": [["Ada", "wrote"]], "tags": pa.array([[1, 0]])}), folder / "a.parquet")
    assert read(columns={"tokens": "words"}) == expected
    (folder / "a.parquet").unlink()
    (folder / "a.conll").write_text("Ada 1\nwrote 0\n")
    assert read() == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"tokens": "Ada wrote", "tags": ["O", "O"]}', "tokens is 'Ada wrote', a string. Expected a list of strings"),
        ('{"tokens": ["Ada", 5], "tags": ["O", "O"]}', "tokens holds 5, a number. Expected a list of strings"),
        ('{"tokens": ["Ada"], "tags": [["O"]]}', "tags holds ['O'], a list. Expected a list of strings, integers"),
        ('{"tokens": ["Ada"], "ner": ["O"]}', "no column 'tags'. Found columns: tokens, ner."),
    ],
)
def test_what_is_no_list_of_words_is_told(folder: Path, line: str, said: str) -> None:
    (folder / "a.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError) as refusal:
        read()
    assert said in str(refusal.value)


def test_a_parquet_column_of_texts_is_no_column_of_words(folder: Path) -> None:
    pq.write_table(pa.table({"tokens": ["Ada wrote"], "tags": [["O"]]}), folder / "a.parquet")
    with pytest.raises(DataError, match="'tokens' is of type string, expected list of string"):
        read()


def test_validate_names_what_is_wrong_with_words_and_tags(folder: Path) -> None:
    write_splits(
        folder,
        [
            {"tokens": [], "tags": []},
            {"tokens": ["Ada", " "], "tags": ["O", "O"]},
            {"tokens": ["Ada", None], "tags": ["O", "O"]},
            {"tokens": ["A\u0007da"], "tags": ["O"]},
            {"tokens": ["Ada", "left"], "tags": ["B-PER"]},
            {"tokens": ["Ada", "left"], "tags": ["O", "I-PER"]},
            {"tokens": ["Ada", "left"], "tags": None},
            {"tokens": ["ada", "WROTE"], "tags": ["O", "O"]},
        ],
    )
    told = validated()
    assert [told[line] for line in range(1, 8)] == [
        ("tokens", "tokens has no words"),
        ("tokens", "tokens: word 2 is blank"),
        ("tokens", "tokens: word 2 is blank"),
        ("tokens", "tokens holds the control character U+0007"),
        ("tags", "tags has 1 tags for 2 tokens. Expected one tag for each token"),
        ("tags", "tags: word 2 ('left') is I-PER, between O and the end. Expected tags in BIO: an entity begins with "
         "B-PER"),
        ("tags", "tags is missing"),
    ]  # fmt: skip
    assert "the same text" in told[8][1]
    [kept] = pq.read_table(layout.split_file(layout.VALIDATED, "test")).to_pylist()
    assert (kept["tokens"], kept["tags"]) == (["Ada", "wrote"], ["B-PER", "O"])


def test_the_same_words_with_other_tags_contradict_each_other(folder: Path) -> None:
    words = ["May", "I", "go"]
    write_splits(folder, [{"tokens": words, "tags": ["O"] * 3}, {"tokens": words, "tags": ["B-PER", "O", "O"]}])
    told = validated()
    assert told[1][1] == "the same text is labelled otherwise in data/raw/words/train.jsonl row 2"


@pytest.mark.parametrize(
    ("file", "text", "suggested"),
    [
        ("a.conll", "Ada B-PER\nwrote O\n", {"name": "token-classification"}),
        ("a.conll", "Ada O\n\nAda S-PER\n", {"name": "token-classification", "scheme": "BIOES"}),
        ("a.conllu", "1\tAda\t_\tPROPN" + "\t_" * 6, {"name": "token-classification", "scheme": "plain"}),
    ],
)
def test_a_new_set_of_words_gets_a_fitting_section(folder: Path, file: str, text: str, suggested: Any) -> None:
    (folder / file).write_text(text)
    section = YAML(typ="safe").load(suggested_params("words", describe(folder, Data(name="words")), {}))
    assert section["task"] == suggested


# The whole way

TOY = """
data:
  name: toy
  checks: {max_near_duplicate_share: 1.0, max_duplicate_share: 1.0, max_leaked_share: 1.0}
task: {name: token-classification}
model: {checkpoint: checkpoint, dropout: 0.0}
tokenize: {max_length: 8}
train:
  learning_rate: 0.01
  num_train_epochs: 8
  early_stopping_patience: 8
  per_device_train_batch_size: 8
  class_weights: balanced
  label_smoothing_factor: 0.05
  threads: 1
evaluate: {}
register: {name: toy}
"""


def write_toy_sentences(path: Path, rows: int = 120) -> None:
    """Things are entities, after `very` of two words; the longest sentences do not fit into a window."""
    things, lines = ("kettle", "lamp", "phone"), []
    for i in range(rows):
        thing = things[i % 3]
        named = ["very B-THING", f"{thing} I-THING"] if i % 2 else [f"{thing} B-THING"]
        lines += [*["the O"] * (i % 4), *named, "was O", f"number{i} O", *["not O"] * (i % 9), "fine O", ""]
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_conll_goes_the_whole_way_to_a_served_champion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_sentences(project / "data/sample/words/all.conll")
    said = run("tuneline", "data", "add", "--force", "toy", "data/sample/words", cwd=project).stdout
    assert "task:\n  name: token-classification" in said
    (project / "params.yaml").write_text(TOY)
    run("dvc", "repro", cwd=project)
    evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    assert evaluation["metrics"]["f1"] > 0.95
    assert list(evaluation["per_label"]) == ["THING"]
    assert set(evaluation["baseline"]) == set(evaluation["metrics"]) - {"ece", "brier"}  # its tags have no probability
    assert evaluation["calibration"]["ece"] == evaluation["metrics"]["ece"]
    tokens = json.loads((project / "data/tokenized/tokens.json").read_text())
    assert tokens["train"]["max"] > 8 and tokens["train"]["rows_truncated"] == 0

    monkeypatch.chdir(project)
    model = mlflow.pyfunc.load_model(str(project / "data/model"))
    test = pq.read_table(project / "data/reports/predictions.parquet").to_pylist()
    served = model.predict(pd.DataFrame({"tokens": [row["tokens"] for row in test]}))
    assert served["tags"].tolist() == [row["predicted_tags"] for row in test]
    [answer] = model.predict(["the very lamp was number3 fine"]).to_dict("records")
    [entity] = answer["entities"]
    assert (entity["text"], entity["type"], entity["start"], entity["end"]) == ("very lamp", "THING", 4, 13)
