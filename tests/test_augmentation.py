"""Edits of training rows: each does what it says, gold stays right, and the same seed draws the same."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tests.conftest import ROOT
from tests.test_params import SOUND
from tuneline.augmentation import NEAR, Augmenter, Editor, kept, mask_word, mistyped, recased, swapped
from tuneline.checkpoints import load_tokenizer
from tuneline.errors import ParamsError
from tuneline.examples import Examples
from tuneline.metrics import spans
from tuneline.params import Augmentation, check_params
from tuneline.tasks import task_class
from tuneline.tasks.base import Row, Task

ALL: dict[str, Any] = {"word_dropout": 0.3, "word_swap": 0.3, "masking": 0.2, "case": 0.3, "typos": 0.3}
SEEDS = st.integers(0, 2**32 - 1)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=8)


def editor(seed: int = 0, mask: str = "[MASK]", **edits: float) -> Editor:
    return Editor(Augmentation.model_validate(edits), mask, np.random.default_rng(seed))


def task(name: str, **options: Any) -> Task:
    return task_class(name).model_validate({"name": name, **options})


# The edits


def test_dropout_leaves_out_a_share_and_always_one_word() -> None:
    random = np.random.default_rng(0)
    assert len(kept(10_000, 0.3, random)) == pytest.approx(7_000, abs=200)
    assert all(len(kept(2, 0.99, random)) >= 1 for _ in range(50))
    assert kept(0, 0.5, random) == []


def test_a_swap_moves_a_word_by_one_place() -> None:
    order = swapped(range(1000), 0.5, np.random.default_rng(0))
    assert sorted(order) == list(range(1000)) != order
    assert max(abs(place - number) for place, number in enumerate(order)) == 1
    assert swapped([0, 1, 2], 1.0, np.random.default_rng(0)) == [1, 0, 2]


def test_another_case_is_another_case_of_the_same_letters() -> None:
    random = np.random.default_rng(0)
    assert {recased("Ada", random) for _ in range(50)} == {"ada", "ADA"}
    assert recased("7:30", random) == "7:30"


def test_each_slip_of_the_keyboard_is_one_of_four() -> None:
    seen = {mistyped("no", np.random.default_rng(seed)) for seed in range(500)}
    assert seen == {"o", "n", "on", "nno", "noo", *(key + "o" for key in NEAR["n"]), *("n" + key for key in NEAR["o"])}
    assert set(NEAR["s"]) == set("adwezx")
    assert {word[0].isupper() for word in (mistyped("NO", np.random.default_rng(seed)) for seed in range(50))} == {True}


def test_slips_leave_digits_marks_and_single_letters_that_they_would_empty() -> None:
    random = np.random.default_rng(0)
    assert mistyped("7:30", random) == "7:30"
    assert mistyped("न\u0947", random) == "न\u0947"  # a letter with a vowel sign: neither goes alone
    assert all(mistyped("a", random) for _ in range(50))


@given(WORDS, SEEDS)
def test_a_slip_changes_few_characters_and_brings_no_white_space(word: str, seed: int) -> None:
    slipped = mistyped(word, np.random.default_rng(seed))
    assert slipped.split() == [slipped]
    assert abs(len(slipped) - len(word)) <= 1


@given(st.text(), SEEDS)
def test_a_text_keeps_a_word_and_the_white_space_at_its_ends(text: str, seed: int) -> None:
    edited = editor(seed, **ALL).text(text)
    assert bool(edited.split()) == bool(text.split())
    if text.split():
        assert text[: len(text) - len(text.lstrip())] == edited[: len(edited) - len(edited.lstrip())]
        assert text[len(text.rstrip()) :] == edited[len(edited.rstrip()) :]


@given(st.text(), SEEDS)
def test_without_edits_a_text_stays_as_it_is(text: str, seed: int) -> None:
    assert editor(seed).text(text) == text


# Gold


@given(st.text(min_size=1), st.none() | st.text(), SEEDS)
def test_both_texts_of_a_pair_are_edited_and_the_label_stays(text: str, pair: str | None, seed: int) -> None:
    row = {"text": text, "text_pair": pair, "label": "good", "id": 7}
    edited = task("text-classification").augmented(row, editor(seed, **ALL))
    assert (edited["label"], edited["id"], edited.keys()) == ("good", 7, row.keys())
    assert (edited["text_pair"] is None) == (pair is None)


@st.composite
def tagged(draw: st.DrawFn, scheme: str) -> Row:
    """A row of entities and words outside, its tags legal in the scheme. Each word ends with a number of its own."""
    types = draw(st.lists(st.sampled_from(["", "PER", "LOC"]), min_size=1, max_size=8))
    lengths = [draw(st.integers(1, 3)) if type_ else 1 for type_ in types]
    ends = np.cumsum(lengths).tolist()
    units = [spans.Span(t, end - n, end) for t, n, end in zip(types, lengths, ends, strict=True)]
    tags = spans.written(units, scheme)
    return {"tokens": [f"{draw(WORDS)}\u2116{i}" for i in range(len(tags))], "tags": tags}


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES"])
@given(st.data(), SEEDS)
def test_entities_stay_whole_and_keep_their_type(scheme: str, data: st.DataObject, seed: int) -> None:
    row = data.draw(tagged(scheme))
    tagger = task("token-classification", scheme=scheme)
    assert tagger.problem(row) is None
    edited = tagger.augmented(row, editor(seed, word_dropout=0.3, word_swap=0.4))
    assert tagger.problem(edited) is None

    def entities(row: Row) -> set[tuple[str, tuple[str, ...]]]:
        return {(span.type, tuple(row["tokens"][span.start : span.end])) for span in spans.spans(row["tags"], scheme)}

    assert entities(edited) <= entities(row)
    outside = [{token for token, tag in zip(each["tokens"], each["tags"], strict=True) if tag == "O"}
               for each in (row, edited)]  # fmt: skip
    assert outside[1] <= outside[0]


@given(st.data(), SEEDS)
def test_spelling_keeps_every_tag(data: st.DataObject, seed: int) -> None:
    row = data.draw(tagged("BIO"))
    edited = task("token-classification").augmented(row, editor(seed, masking=0.2, case=0.3, typos=0.5))
    assert edited["tags"] == row["tags"]


def test_plain_tags_go_with_their_words() -> None:
    row = {"tokens": list("abcdefgh"), "tags": [f"T{letter}" for letter in "abcdefgh"]}
    edited = task("token-classification", scheme="plain").augmented(row, editor(word_dropout=0.3, word_swap=0.5))
    assert edited["tags"] == [f"T{letter}" for letter in edited["tokens"]] != row["tags"]


def test_a_row_whose_new_order_needs_an_unknown_tag_stays() -> None:
    row = {"tokens": ["Ada", "met", "Bob"], "tags": ["I-PER", "O", "I-PER"]}
    edit = editor(word_swap=1.0)  # met Ada Bob: I-PER twice would be one entity
    names = ["O", "I-PER", "B-PER"]
    assert task("token-classification", scheme="IOB1").augmented(row, edit)["tags"] == ["O", "I-PER", "B-PER"]
    assert task("token-classification", scheme="IOB1", tag_names=names).augmented(row, edit) != row
    assert task("token-classification", scheme="IOB1", tag_names=names[:2]).augmented(row, edit) is row


@st.composite
def asked(draw: st.DrawFn) -> Row:
    """A question, a context, and up to four answers that may touch, overlap and begin within a word."""
    context = draw(st.text(st.sampled_from("ab Ä\n\u00a0é.") | st.characters(exclude_categories=["Cs"]), max_size=60))
    answers = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(context)))
        text = context[start : start + draw(st.integers(1, 12))]
        if text.strip():
            answers.append({"text": text, "answer_start": start})
    return {"question": draw(st.text(min_size=1)), "context": context, "answers": answers}


@given(asked(), SEEDS)
def test_answers_stand_where_answer_start_says(row: Row, seed: int) -> None:
    asker = task("question-answering", unanswerable=True)
    edited = asker.augmented(row, editor(seed, **ALL))
    assert [answer["text"] for answer in edited["answers"]] == [answer["text"] for answer in row["answers"]]
    for answer in edited["answers"]:
        assert edited["context"].startswith(answer["text"], answer["answer_start"])
    assert asker.problem(edited) is None


def test_the_words_that_an_answer_touches_stay_and_others_change() -> None:
    row = {
        "question": "who wrote the first program",
        "context": "it was in the notes (Ada's) that the first program stood",
        "answers": [{"text": "Ada", "answer_start": 21}, {"text": "first program", "answer_start": 37}],
    }
    edited = task("question-answering").augmented(row, editor(typos=1.0))
    assert "(Ada's)" in edited["context"] and "first program" in edited["context"]
    assert not {"notes", "that", "stood"} & set(edited["context"].split())
    assert edited["question"] != row["question"]


@pytest.mark.parametrize(
    ("name", "seed"), [("text-classification", 0), ("token-classification", 0), ("question-answering", 1)]
)
def test_the_examples_of_the_docs_are_true(name: str, seed: int) -> None:
    lines = (ROOT / "docs/augmentation.md").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("    {")]
    before, after = next(
        pair for pair in pairwise(rows) if set(pair[0]) == {*task(name).edited, *task(name).gold} - {"text_pair"}
    )
    edit = editor(seed, word_dropout=0.1, word_swap=0.15, masking=0.1, case=0.1, typos=0.2)
    assert task(name).augmented(before, edit) == after


# In training


def test_all_edits_are_off_by_default(toy_checkpoint: Path) -> None:
    assert not Augmentation().is_on
    assert not Augmentation(probability=0, typos=0.1).is_on
    rows = [{"text": "good kettle", "label": "good"}]
    classifier, tokenizer = task("text-classification"), load_tokenizer(toy_checkpoint)
    features = classifier.encode(tokenizer, rows, ["good"])
    assert Examples((features, rows), classifier, ["good"], tokenizer, Augmentation(), 0)[0] is features[0]


def test_a_row_that_is_not_chosen_is_read_as_it_is(toy_checkpoint: Path) -> None:
    augmenter = Augmenter(Augmentation(probability=0.25, word_dropout=0.5), load_tokenizer(toy_checkpoint))
    row, random = {"text": "a kettle and a lamp", "label": "good"}, np.random.default_rng(0)
    same = sum(augmenter.read(task("text-classification"), row, random) is row for _ in range(4000))
    assert same == pytest.approx(3000, abs=120)


def test_an_example_depends_on_seed_epoch_and_index_alone(toy_checkpoint: Path) -> None:
    rows = [{"text": "it was a very good kettle and a lovely lamp", "label": "good"}] * 20
    classifier, tokenizer = task("text-classification"), load_tokenizer(toy_checkpoint)
    features = classifier.encode(tokenizer, rows, ["good"])

    def read(seed: int, epoch: int, order: range) -> list[Any]:
        examples = Examples((features, rows), classifier, ["good"], tokenizer, Augmentation(**ALL), seed)
        examples.epoch = epoch
        return [found["input_ids"] for _, found in sorted((index, examples[index]) for index in order)]

    assert read(0, 1, range(20)) == read(0, 1, range(19, -1, -1))
    assert read(0, 1, range(20)) != read(0, 2, range(20)) != read(1, 2, range(20))
    assert len({tuple(ids) for ids in read(0, 0, range(20))}) > 5


def test_a_later_window_is_that_of_the_edited_row(toy_checkpoint: Path) -> None:
    tagger, tokenizer = task("token-classification"), load_tokenizer(toy_checkpoint)
    words = ["the", "kettle", "was", "very", "good", "and", "the", "lamp", "is", "not"]
    tags = ["O", "B-THING", "O", "O", "O", "O", "O", "B-THING", "O", "O"]
    rows = [{"tokens": words[:2], "tags": tags[:2]}, {"tokens": words, "tags": tags}]
    labels = tagger.labels(rows)
    tagger.limit(tokenizer, 7)
    features = tagger.encode(tokenizer, rows, labels)
    edits = Augmentation(probability=1, masking=1.0)
    examples = Examples((features, rows), tagger, labels, tokenizer, edits, 0)
    assert [feature["window"] for feature in features] == [0, 0, 1, 2]
    for index, plain in enumerate(features):
        assert {key: examples[index][key] for key in ("window", "words", "labels")} == {
            key: plain[key] for key in ("window", "words", "labels")
        }
        assert examples[index]["input_ids"] != plain["input_ids"]
    shorter = Examples((features, rows), tagger, labels, tokenizer, Augmentation(probability=1, word_dropout=0.99), 0)
    assert shorter[3]["window"] == 0  # the last one there is


def test_the_mask_is_the_mask_token_or_the_unknown_token(toy_checkpoint: Path) -> None:
    assert mask_word(load_tokenizer(toy_checkpoint)) == "[MASK]"
    without = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    without.add_special_tokens(["[UNK]"])
    assert mask_word(without) == "[UNK]"
    neither = Tokenizer(models.WordLevel({"a": 0}))
    assert mask_word(neither) is None
    with pytest.raises(ParamsError, match=r"train\.augmentation\.masking: .*no mask token"):
        Augmenter(Augmentation(masking=0.1), neither)


def test_a_task_that_edits_no_column_refuses_augmentation() -> None:
    document = {**SOUND, "train": {"augmentation": {"typos": 0.1}}}
    assert check_params(document).train.augmentation.is_on
    with pytest.raises(ParamsError, match=r"train\.augmentation: makes no sense for the task masked-lm"):
        check_params({**document, "task": {"name": "masked-lm"}})


def test_the_examples_of_a_report_show_what_changed(toy_checkpoint: Path) -> None:
    rows = [{"text": f"{'word ' * 50}good kettle", "label": "good"}] * 20
    augmenter = Augmenter(Augmentation(typos=0.02), load_tokenizer(toy_checkpoint))
    shown = augmenter.examples(task("text-classification"), rows, seed=0)
    assert len(shown) == 3
    assert all(example["before"] != example["after"] and example["column"] == "text" for example in shown)
    assert len({len(example["before"]) for example in shown}) > 1  # each from a little before its first edit
