"""Spans of a context: where they stand among the pieces, which one is answered, what is wrong with a row."""

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
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.conftest import ROOT, run
from tuneline import layout
from tuneline.batching import logits_of
from tuneline.errors import DataError, ParamsError
from tuneline.params import Data, Sections, check_params
from tuneline.rows import read_rows
from tuneline.stages import validate
from tuneline.tasks import task_class
from tuneline.tasks.base import Feature

UNLIKELY = 1e-6


def task(**options: Any) -> Any:
    return task_class("question-answering").model_validate({"name": "question-answering"} | options)


def answer(context: str, text: str) -> dict[str, Any]:
    return {"text": text, "answer_start": context.index(text)}


@pytest.fixture
def tokenizer() -> Tokenizer:
    """One piece for each letter, none for a space."""
    pieces = {piece: i for i, piece in enumerate(["[PAD]", "[CLS]", "[SEP]", *"abcdefghij"])}
    found = Tokenizer(models.WordLevel(pieces, unk_token="a"))
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return found


# Encoding


def test_an_answer_is_the_positions_of_its_first_and_last_piece(tokenizer: Tokenizer) -> None:
    context = "ab cd e"
    row = {"question": "j", "context": context, "answers": [answer(context, "cd")]}
    [feature] = task().encode(tokenizer, [row], [])
    # [CLS] j [SEP] a b c d e [SEP]
    assert feature["starts"] == [-1, -1, -1, 0, 1, 3, 4, 6, -1]
    assert feature["ends"] == [-1, -1, -1, 1, 2, 4, 5, 7, -1]
    assert feature["labels"] == [5, 6]


def test_a_question_without_answer_has_both_positions_at_cls(tokenizer: Tokenizer) -> None:
    [feature] = task().encode(tokenizer, [{"question": "j", "context": "ab", "answers": []}], [])
    assert feature["labels"] == [0, 0]


def test_windows_cover_the_context_and_hold_all_of_an_answer_or_none(tokenizer: Tokenizer) -> None:
    context = "ab cde fgh ij a bcd ef ghij abcdefg hij ab c"
    row = {"question": "jjj", "context": context, "answers": [answer(context, "ef ghij")]}
    qa = task(max_question_length=4, stride=7)
    qa.limit(tokenizer, 28)
    features = qa.encode(tokenizer, [row], [])
    assert [feature["window"] for feature in features] == list(range(len(features)))
    assert all(len(feature["input_ids"]) <= 28 for feature in features)
    read = {place for feature in features for place in feature["starts"]} - {-1}
    assert read == {place for place, letter in enumerate(context) if letter != " "}
    held = [context[f["starts"][f["labels"][0]] : f["ends"][f["labels"][1]]] for f in features if any(f["labels"])]
    assert held and set(held) == {"ef ghij"}
    assert any(feature["labels"] == [0, 0] for feature in features)


def test_a_question_is_cut_so_that_the_context_has_room(tokenizer: Tokenizer) -> None:
    qa = task(max_question_length=4, stride=2)
    for limited in (False, True):
        if limited:
            qa.limit(tokenizer, 24)
        [feature, *_] = qa.encode(tokenizer, [{"question": "abcde fghij" * 9, "context": "ab"}], [])
        assert [tokenizer.id_to_token(i) for i in feature["input_ids"]][1:6] == [*"abcd", "[SEP]"]


def test_windows_that_would_never_move_on_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ParamsError, match=r"tokenize\.max_length: is 96, which leaves no room .* task\.stride \(24\)"):
        task().limit(tokenizer, 96)


# Decoding


def window(context: str, begin: int = 0, number: int = 0) -> Feature:
    """A window of one token for each letter of the context from `begin` on, after [CLS], a question and [SEP]."""
    places = range(begin, len(context))
    starts = [-1, -1, -1, *places, -1]
    ends = [-1, -1, -1, *(place + 1 for place in places), -1]
    return {"window": number, "input_ids": starts, "starts": starts, "ends": ends}


def output(feature: Feature, first: dict[int, float], last: dict[int, float]) -> np.ndarray:
    """Logits (tokens, 2) that give each named position its probability."""
    chances = np.full((len(feature["starts"]), 2), UNLIKELY)
    for column, named in enumerate((first, last)):
        for position, chance in named.items():
            chances[position, column] = chance
    return np.log(chances)


def decoded(context: str, *windows: tuple[Feature, np.ndarray], **options: Any) -> dict[str, Any]:
    features, outputs = [each[0] for each in windows], [each[1] for each in windows]
    [found] = task(**options).decode(outputs, features, [{"question": "", "context": context}], [])
    return dict(found)


def test_the_answer_is_the_likeliest_span_of_the_context() -> None:
    context = "abcdef"
    feature = window(context)
    # Position 1 is the question's, and position 7 ("e") ends before 8 ("f") begins: neither makes a span.
    found = decoded(context, (feature, output(feature, {1: 0.5, 8: 0.3, 4: 0.2}, {1: 0.5, 7: 0.3, 5: 0.2})))
    # Spans: b to e 0.2 · 0.3 = 0.06, b to c 0.2 · 0.2 = 0.04
    assert (found["answer"], found["start"], found["end"]) == ("bcde", 1, 5)
    assert found["score"] == pytest.approx(0.06, rel=1e-4)
    short = decoded(
        context, (feature, output(feature, {1: 0.5, 8: 0.3, 4: 0.2}, {1: 0.5, 7: 0.3, 5: 0.2})), max_answer_length=2
    )
    assert short["answer"] == "bc"


def test_of_several_windows_the_likeliest_span_counts() -> None:
    context = "abcdef"
    first, second = window(context[:4]), window(context, begin=2, number=1)
    found = decoded(
        context,
        (first, output(first, {0: 0.8, 3: 0.2}, {0: 0.8, 3: 0.2})),
        (second, output(second, {0: 0.1, 4: 0.9}, {0: 0.1, 5: 0.9})),
    )
    assert (found["answer"], found["start"], found["end"]) == ("de", 3, 5)
    assert found["score"] == pytest.approx(0.81, rel=1e-4)
    assert found["null_score"] == pytest.approx(0.01, rel=1e-4)  # the lesser of 0.64 and 0.01


def test_the_likeliest_spans_are_listed_with_their_places() -> None:
    context = "abcdef"
    first, second = window(context[:4]), window(context, begin=2, number=1)
    windows = (
        (first, output(first, {0: 0.4, 3: 0.4, 5: 0.2}, {0: 0.5, 5: 0.5})),
        (second, output(second, {0: 0.3, 3: 0.5, 5: 0.2}, {3: 0.6, 5: 0.4})),
    )
    # The first window: a to c 0.4 · 0.5 = 0.2, c alone 0.2 · 0.5 = 0.1. The second: c alone 0.5 · 0.6 = 0.3, c to e
    # 0.5 · 0.4 = 0.2, e alone 0.2 · 0.4 = 0.08. What stands in both windows is listed once, as sure as the surer one.
    listed = [("c", 2, 3, 0.3), ("abc", 0, 3, 0.2), ("cde", 2, 5, 0.2), ("e", 4, 5, 0.08)]
    found = decoded(context, *windows, candidates=4)
    assert [tuple(each.values()) for each in found["candidates"]] == [
        (text, start, end, pytest.approx(score, rel=1e-4)) for text, start, end, score in listed
    ]
    assert found["candidates"][0] == {"answer": "c", **{name: found[name] for name in ("start", "end", "score")}}
    for count in (1, 2):
        assert decoded(context, *windows, candidates=count)["candidates"] == found["candidates"][:count]
    silent = decoded(context, *windows, candidates=0)
    assert "candidates" not in silent and "candidates" not in task(candidates=0).answer_types
    assert {name: found[name] for name in silent} == silent


def test_where_no_answer_is_given_the_list_says_which_it_would_have_been() -> None:
    feature = window("abc")
    found = decoded("abc", (feature, output(feature, {0: 0.6, 3: 0.4}, {0: 0.6, 3: 0.4})), unanswerable=True)
    assert (found["answer"], found["candidates"][0]["answer"]) == ("", "a")
    nothing = window("")
    assert decoded("", (nothing, output(nothing, {0: 0.9}, {0: 0.9})))["candidates"] == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "a"),  # SQuAD 1.1: every question has an answer
        ({"unanswerable": True}, ""),  # 0.36 for none, 0.16 for the span
        ({"unanswerable": True, "null_threshold": 0.9}, "a"),  # ln(0.36 / 0.16) = 0.81
    ],
)
def test_no_answer_is_given_where_it_is_likelier_by_the_threshold(options: dict[str, Any], text: str) -> None:
    feature = window("abc")
    found = decoded("abc", (feature, output(feature, {0: 0.6, 3: 0.4}, {0: 0.6, 3: 0.4})), **options)
    assert found["answer"] == text
    assert (found["start"], found["end"]) == ((0, 1) if text else (None, None))


def test_the_null_threshold_is_chosen_on_validation_unless_params_name_one() -> None:
    # How much likelier none is than the span: ln(0.36 / 0.16) = 0.81 where "a" is right, ln(0.64 / 0.04) = 2.77 where
    # there is no answer.
    rows = [{"question": "", "context": "abc", "answers": answers} for answers in ([answer("abc", "a")], [])]
    features = [window("abc"), window("abc")]
    outputs = [
        output(features[0], {0: 0.6, 3: 0.4}, {0: 0.6, 3: 0.4}),
        output(features[1], {0: 0.8, 3: 0.2}, {0: 0.8, 3: 0.2}),
    ]
    plain = task(unanswerable=True)
    assert [each["answer"] for each in plain.decode(outputs, features, rows, [])] == ["", ""]
    fitted = plain.fitted(outputs, features, rows, [])
    assert fitted.null_threshold == pytest.approx(np.log(0.36 / 0.16), rel=1e-4)
    assert [each["answer"] for each in fitted.decode(outputs, features, rows, [])] == ["a", ""]
    assert plain.fits and not fitted.fits
    assert not task().fits and not task(unanswerable=True, null_threshold=0.0).fits
    assert (
        plain.fitted(outputs[:1], features[:1], rows[:1], []) == plain
    )  # all of them have an answer: nothing to choose


def test_padding_is_never_answered() -> None:
    feature = window("abc")
    logits = output(feature, {3: 0.9}, {4: 0.9})
    padded = np.concatenate([logits, np.full((4, 2), -100.0)])
    assert decoded("abc", (feature, padded)) == decoded("abc", (feature, logits))


def test_an_empty_context_has_no_answer() -> None:
    feature = window("")
    assert decoded("", (feature, output(feature, {0: 0.9}, {0: 0.9})))["answer"] == ""


def test_an_answer_is_cut_from_the_context_as_it_stands(tokenizer: Tokenizer) -> None:
    context = "ab   cd\ne"
    features = task().encode(tokenizer, [{"question": "j", "context": context}], [])
    # [CLS] j [SEP] a b c d e [SEP]
    found = decoded(context, (features[0], output(features[0], {4: 0.9}, {7: 0.9})))
    assert (found["answer"], context[found["start"] : found["end"]]) == ("b   cd\ne",) * 2


# Training


def test_two_scores_of_each_token_become_one_tensor_without_padding() -> None:
    outputs = {"start_logits": torch.tensor([[1.0, 2.0, 9.0]]), "end_logits": torch.tensor([[3.0, 4.0, 9.0]])}
    logits = logits_of(task().head([]), outputs, torch.tensor([[1, 1, 0]]))
    assert logits.shape == (1, 2, 3)
    # e / (e + e²) = 0.2689 for both, as if the third position were not there
    assert logits.softmax(dim=-1)[0].tolist() == [pytest.approx([0.2689, 0.7311, 0.0], abs=1e-4)] * 2


# Scores and mistakes


def test_questions_without_answer_have_scores_of_their_own() -> None:
    rows = [
        {"answers": [{"text": "Denver Broncos", "answer_start": 0}]},
        {"answers": []},
        {"answers": []},
    ]
    predictions = [{"answer": "Broncos"}, {"answer": ""}, {"answer": "Denver"}]
    score = task(unanswerable=True).score(predictions, rows, [])
    # The first: precision 1, recall 1/2, F1 2/3. Then 1 and 0.
    assert score.per_row.tolist() == [pytest.approx(2 / 3), 1, 0]
    assert score.metrics == {
        "f1": pytest.approx(5 / 9), "exact_match": pytest.approx(1 / 3),
        "has_answer_f1": pytest.approx(2 / 3), "has_answer_exact_match": 0,
        "no_answer_f1": 0.5, "no_answer_exact_match": 0.5,
    }  # fmt: skip


def test_a_split_without_such_questions_has_no_score_of_them() -> None:
    rows = [{"answers": [{"text": "Denver", "answer_start": 0}]}]
    found = task(unanswerable=True).score([{"answer": "Denver"}], rows, []).metrics
    assert set(found) == {"f1", "exact_match", "has_answer_f1", "has_answer_exact_match"}


def test_a_mistake_shows_every_gold_answer_once() -> None:
    row = {"question": "Who?", "context": "Ada, Ada L.", "answers": [{"text": "Ada"}, {"text": "Ada"}, {"text": "L."}]}
    found = task().mistake(row, {"answer": "", "score": 0.1, "null_score": 0.8})
    assert (found.text, found.gold, found.predicted, found.score) == (
        "Who?\nAda, Ada L.", "Ada | L.", "(no answer)", 0.8,
    )  # fmt: skip


# Rows


def test_a_question_without_answer_needs_the_option() -> None:
    row = {"question": "Who?", "context": "Ada.", "answers": []}
    assert "task.unanswerable: true" in str(task().problem(row))
    assert task(unanswerable=True).problem(row) is None


@pytest.mark.parametrize("empty", [[], {"text": [], "answer_start": []}])
def test_a_set_with_such_questions_is_recognised(empty: Any) -> None:
    full = [{"text": "Ada", "answer_start": 0}]
    assert task_class("question-answering").fitting([{"answers": full}]) == {}
    assert task_class("question-answering").fitting([{"answers": full}, {"answers": empty}]) == {"unanswerable": True}


def test_a_row_to_predict_needs_both_texts() -> None:
    with pytest.raises(DataError, match="context is None"):
        task().inputs({"question": "Who?"})


# Rows from files, and what validate says of them


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw/squad in a project of its own, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    (layout.RAW / "squad").mkdir(parents=True)
    shutil.copy(ROOT / layout.SUITE, layout.SUITE)
    return layout.RAW / "squad"


def read() -> list[Any]:
    batches = read_rows(layout.RAW / "squad", Data(name="squad"), task())
    return [row["answers"] for batch in batches for row in batch.to_pylist()]


def write(folder: Path, split: str, *rows: dict[str, Any]) -> None:
    (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def validated() -> dict[tuple[str, int], tuple[str, str]]:
    """Run validate without limits; file and row → column and first reason of each refused row."""
    shares = ("rejected_share", "control_characters", "duplicate_share", "near_duplicate_share", "leaked_share")
    checks = {f"max_{share}": 1 for share in shares}
    sections = {"data": {"name": "squad", "checks": checks}, "task": {"name": "question-answering"},
                "register": {"name": "squad"}}  # fmt: skip
    empty: dict[str, dict[str, Any]] = {section: {} for section in ("model", "tokenize", "train", "evaluate")}
    validate.run(Sections(check_params(sections | empty), validate.SECTIONS))
    lines = pq.read_table(layout.REJECTS).to_pylist()
    return {(Path(line["file"]).stem, line["row"]): (line["column"], line["reason"]) for line in reversed(lines)}


def test_answers_are_read_in_the_layout_of_squad_and_in_that_of_the_hub(folder: Path) -> None:
    texts = {"question": "Who?", "context": "Ada wrote."}
    write(
        folder,
        "a",
        {**texts, "answers": [{"text": "Ada", "answer_start": 0}]},
        {**texts, "answers": {"text": ["Ada"], "answer_start": [0]}},
        {**texts, "answers": {"text": [], "answer_start": []}},
        {**texts, "answers": None},
    )
    expected: list[Any] = [[{"text": "Ada", "answer_start": 0}]] * 2 + [[], None]
    assert read() == expected
    (folder / "a.jsonl").unlink()
    hub = pa.array([{"text": ["Ada"], "answer_start": [0]}],
                   pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int32())}))  # fmt: skip
    pq.write_table(pa.table({"question": ["Who?"], "context": ["Ada wrote."], "answers": hub}), folder / "a.parquet")
    assert read() == expected[:1]


@pytest.mark.parametrize("answers", ["Ada", ["Ada"], [{"text": "Ada"}], [{"text": "Ada", "answer_start": "0"}]])
def test_what_is_no_list_of_answers_is_told(folder: Path, answers: Any) -> None:
    write(folder, "a", {"question": "Who?", "context": "Ada wrote.", "answers": answers})
    with pytest.raises(DataError, match=r'row 1: answers is .* Expected a list of \{"text": string, "answer_start"'):
        read()


def test_validate_names_what_is_wrong_and_lets_a_context_stand_in_two_splits(folder: Path) -> None:
    def row(question: str, text: str, start: int, context: str = "Then Ada wrote a letter home.") -> dict[str, Any]:
        return {"question": question, "context": context, "answers": [{"text": text, "answer_start": start}]}

    write(
        folder,
        "train",
        row("Who wrote it?", "Ada", 5),
        row("What did she write?", "a letter", 15),
        row("Where to?", "home", 14),
        row(" ", "Ada", 5),
        row("When was it?", "then", 0, context=""),
        row("Whom did she tell?", "Ada", 5),
        row("Whom did she tell?", "home", 24),
    )
    write(folder, "dev", row("Which one was it?", "Ada", 0, context="Ada it was, of all people."))
    write(folder, "test", row("Who wrote it?", "Ada", 5), row("What did she do there?", "wrote", 9))
    told = validated()
    assert told[("train", 1)][1] == "the same text stands in the test split: data/raw/squad/test.jsonl row 1"
    assert ("train", 2) not in told and not any(file == "test" for file, _ in told)
    assert told[("train", 3)] == (
        "answers", "answers: 'home' should begin at character 14, where the context has ' a l'. It stands at 24",
    )  # fmt: skip
    assert told[("train", 4)] == ("question", "question is blank")
    assert told[("train", 5)] == ("context", "context is blank")
    assert told[("train", 6)][1] == "the same text is labelled otherwise in data/raw/squad/train.jsonl row 7"
    assert told[("train", 7)][1].endswith("row 6")


def test_the_questions_of_a_context_stay_in_one_split(folder: Path) -> None:
    rows = [
        {
            "question": f"Who was number {i} of {j}?",
            "context": f"It was {i} {i}.",
            "answers": [{"text": str(i), "answer_start": 7}],
        }
        for i in range(60)
        for j in range(4)
    ]
    write(folder, "all", *rows)
    validated()
    contexts = [
        set(pq.read_table(layout.split_file(layout.VALIDATED, split))["context"].to_pylist()) for split in layout.SPLITS
    ]
    assert all(contexts) and sum(map(len, contexts)) == len(set.union(*contexts))


def test_positions_are_not_weighed_or_smoothed_like_classes() -> None:
    sections = {"data": {"name": "squad"}, "task": {"name": "question-answering"}, "register": {"name": "squad"},
                "train": {"class_weights": "balanced", "label_smoothing_factor": 0.1}}  # fmt: skip
    with pytest.raises(ParamsError, match="2 problems") as caught:
        check_params(sections | {section: {} for section in ("model", "tokenize", "evaluate")})
    assert "train.class_weights: makes no sense for the task question-answering" in str(caught.value)


# The whole way

TOY = """
data:
  name: toy
  checks: {max_near_duplicate_share: 1.0, max_duplicate_share: 1.0, max_leaked_share: 1.0}
task: {name: question-answering, unanswerable: true, max_question_length: 4, stride: 2}
model: {checkpoint: checkpoint, dropout: 0.0}
tokenize: {max_length: 24}
train:
  learning_rate: 0.01
  num_train_epochs: 8
  early_stopping_patience: 8
  per_device_train_batch_size: 8
  threads: 1
evaluate: {}
register: {name: toy}
"""


def write_toy_questions(path: Path, contexts: int = 100) -> None:
    """The answer is the thing that the context names; one in five names none; the longest do not fit in a window."""
    paragraphs = []
    for i in range(contexts):
        thing = ("kettle", "lamp", "very lovely phone")[i % 3] if i % 5 else ""
        context = " ".join(["it was", *[f"number{i}x{j}" for j in range(i % 26)], thing, "and", f"so{i}"])
        answers = [answer(context, thing)] if thing else []
        questions = [{"id": f"{i}{j}", "question": f"{j} {i} ?", "answers": answers} for j in "ab"]
        paragraphs.append({"context": context, "qas": questions})
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"data": [{"title": "Things", "paragraphs": paragraphs}]}))


@pytest.mark.slow
def test_squad_goes_the_whole_way_to_a_served_champion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_questions(project / "data/sample/questions/all.json")
    said = run("tuneline", "data", "add", "--force", "toy", "data/sample/questions", cwd=project).stdout
    assert "task:\n  name: question-answering\n  unanswerable: true" in said
    (project / "params.yaml").write_text(TOY)
    run("dvc", "repro", cwd=project)
    evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    assert evaluation["metrics"]["f1"] > 0.9
    assert {"has_answer_f1", "no_answer_f1"} < set(evaluation["metrics"])
    facts = json.loads((project / "data/model/tuneline.json").read_text())
    assert facts["task"]["null_threshold"] is not None
    tokens = json.loads((project / "data/tokenized/tokens.json").read_text())
    assert tokens["train"]["max"] > 24 and tokens["train"]["rows_truncated"] == 0

    def contexts(split: str) -> set[str]:
        return set(pq.read_table(project / f"data/validated/{split}.parquet")["context"].to_pylist())

    assert not contexts("train") & contexts("test") and not contexts("train") & contexts("validation")

    monkeypatch.chdir(project)
    model = mlflow.pyfunc.load_model(str(project / "data/model"))
    test = pq.read_table(project / "data/reports/predictions.parquet").to_pylist()
    served = model.predict(pd.DataFrame(test)[["question", "context"]]).astype(object)
    served = served.where(served.notna(), None)
    for name in ("answer", "start", "end"):
        assert served[name].tolist() == [row[name] for row in test]
    assert served["score"].tolist() == pytest.approx([row["score"] for row in test], abs=1e-4)
    for row in test:
        assert all(row["context"][each["start"] : each["end"]] == each["answer"] for each in row["candidates"])
    run("tuneline", "score", "toy", "data/reports/predictions.parquet", "scored", cwd=project)
    [part] = sorted(Path("scored").glob("*.parquet"))
    scored = pq.read_table(part)["candidates"].to_pylist()
    assert [[each["start"] for each in row] for row in scored] == [
        [each["start"] for each in row["candidates"]] for row in test
    ]
    given = [row for row in test if row["answer"]]
    assert all(row["context"][row["start"] : row["end"]] == row["answer"] for row in given)
