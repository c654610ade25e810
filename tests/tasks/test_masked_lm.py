"""Masks: whole words, the same ones whenever a model is scored, others in each epoch; and what is served."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.errors import DataError, ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.packaging import complete
from tuneline.packing import blocks
from tuneline.params import Model, Sections, Train, check_params
from tuneline.tasks import task_class
from tuneline.tasks.base import IGNORED_LABEL, Feature
from tuneline.training import Trained, fine_tune

LETTERS = "abcdefghij"
TEXTS = [
    " ".join(LETTERS[start:stop] for start, stop in ((i % 4, 4 + i % 6), (0, 2), (3, 9), (i % 7, 8))) for i in range(24)
]


def task(**options: Any) -> Any:
    return task_class("masked-lm").model_validate({"name": "masked-lm"} | options)


@pytest.fixture
def tokenizer() -> Tokenizer:
    """One piece for each letter, so that a word has as many pieces as letters."""
    pieces = {piece: i for i, piece in enumerate(["[PAD]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])}
    pieces |= {f"##{letter}": len(pieces) + i for i, letter in enumerate(LETTERS)}
    found = Tokenizer(models.WordPiece(pieces, unk_token="a"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    found.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    return found


def encoded(tokenizer: Tokenizer, texts: list[str], **options: Any) -> list[Feature]:
    found: list[Feature] = task(**options).encode(tokenizer, [{"text": text} for text in texts], [])
    return found


def true_ids(feature: Feature) -> list[int]:
    pairs = zip(feature["input_ids"], feature["labels"], strict=True)
    return [read if label == IGNORED_LABEL else label for read, label in pairs]


def words_of(feature: Feature) -> list[list[bool]]:
    """Of each word, which of its pieces are to be predicted."""
    words: list[list[bool]] = []
    for kind, label in zip(feature["words"], feature["labels"], strict=True):
        if kind == 1 or (kind == 0 and not words):
            words.append([])
        if kind != -1:
            words[-1].append(label != IGNORED_LABEL)
    return words


# Masks


def test_words_are_masked_whole(tokenizer: Tokenizer) -> None:
    for feature in encoded(tokenizer, TEXTS, mlm_probability=0.4):
        assert all(len(set(word)) == 1 for word in words_of(feature))


def test_without_whole_words_pieces_are_masked_by_themselves(tokenizer: Tokenizer) -> None:
    features = encoded(tokenizer, TEXTS, mlm_probability=0.4, whole_word_masking=False)
    assert any(len(set(word)) == 2 for feature in features for word in words_of(feature))


def test_a_block_that_begins_within_a_word_masks_what_it_has_of_it_whole(tokenizer: Tokenizer) -> None:
    made = blocks(encoded(tokenizer, TEXTS), 7)
    varied = [
        task(mlm_probability=0.5).varied(block, tokenizer, np.random.default_rng(i)) for i, block in enumerate(made)
    ]
    assert any(block["words"][0] == 0 for block in varied)
    assert all(len(set(word)) == 1 for block in varied for word in words_of(block))


def test_special_tokens_are_never_predicted_and_every_text_has_a_word_that_is(tokenizer: Tokenizer) -> None:
    for feature in encoded(tokenizer, [*TEXTS, "a"]):
        special = [label for kind, label in zip(feature["words"], feature["labels"], strict=True) if kind == -1]
        assert set(special) == {IGNORED_LABEL}
        assert any(label != IGNORED_LABEL for label in feature["labels"])


def test_eight_in_ten_are_hidden_one_replaced_and_one_left(tokenizer: Tokenizer) -> None:
    features = encoded(
        tokenizer, [f"{text} {'abcdefghij ' * 40}{i}" for i, text in enumerate(TEXTS * 3)], mlm_probability=0.5
    )
    pairs = [(read, label) for f in features for read, label in zip(f["input_ids"], f["labels"], strict=True)]
    asked = np.array([pair for pair in pairs if pair[1] != IGNORED_LABEL])
    assert (asked[:, 0] == 3).mean() == pytest.approx(0.8, abs=0.02)
    assert (asked[:, 0] == asked[:, 1]).mean() == pytest.approx(0.1, abs=0.02)
    unasked = np.array([pair[0] for pair in pairs if pair[1] == IGNORED_LABEL])
    assert not (unasked == 3).any()


def test_the_share_is_kept_in_tokens(tokenizer: Tokenizer) -> None:
    [feature] = encoded(tokenizer, ["abc de " * 40], mlm_probability=0.2)  # 200 pieces
    assert sum(label != IGNORED_LABEL for label in feature["labels"]) == 40


def test_masks_of_validation_follow_from_the_text_alone(tokenizer: Tokenizer) -> None:
    together = encoded(tokenizer, TEXTS)
    assert [encoded(tokenizer, [text])[0] for text in reversed(TEXTS)] == together[::-1]


def test_each_epoch_masks_other_words_of_the_same_text(tokenizer: Tokenizer) -> None:
    [block] = blocks(encoded(tokenizer, TEXTS[:4]), 500)
    epochs = [task().varied(block, tokenizer, np.random.default_rng((0, epoch, 0))) for epoch in range(5)]
    assert len({tuple(epoch["labels"]) for epoch in epochs}) == 5
    assert {tuple(true_ids(epoch)) for epoch in epochs} == {tuple(true_ids(block))}
    again = task().varied(epochs[3], tokenizer, np.random.default_rng((0, 1, 0)))
    assert again == epochs[1]  # whatever was masked before


# Bad input


def test_a_tokenizer_without_mask_is_refused() -> None:
    plain = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ParamsError, match=r"no token \[MASK\] or <mask>.*causal-lm"):
        task().limit(plain, 128)


def test_a_text_to_predict_must_be_a_string() -> None:
    with pytest.raises(DataError, match=r"text is None\. Expected a string"):
        task().inputs({"text": None})


# A model


def trained(checkpoint: Path, folder: Path, texts: list[str], **params: Any) -> Trained:
    lm, tokenizer = task(), load_tokenizer(checkpoint)
    rows = [{"text": text} for text in texts]
    found = find_checkpoint(Model(checkpoint=str(checkpoint)))
    model = initial_model(found, lm.head([]), Model(dropout=0.0, attention_dropout=0.0), seed=0)
    values = {"learning_rate": 0.01, "num_train_epochs": 60, "per_device_train_batch_size": 4, "threads": 1} | params
    return fine_tune(
        model, lm, [], tokenizer, Train.model_validate(values), (lm.encode(tokenizer, rows, []), rows), ([], []),
        checkpoints=folder, callbacks=[], max_length=8,
    )  # fmt: skip


HOW = ("good", "bad", "fine", "great", "poor", "awful", "lovely", "broken")
EIGHT = [f"the {('kettle', 'lamp')[i % 2]} was {how}" for i, how in enumerate(HOW)]


def test_eight_rows_are_learned_and_serve_the_same_from_a_folder(toy_checkpoint: Path, tmp_path: Path) -> None:
    result = trained(toy_checkpoint, tmp_path / "c", EIGHT)
    rows = [{"text": text} for text in EIGHT]
    predictor = Predictor(result.task, [], result.model, load_tokenizer(toy_checkpoint), 8)
    start = initial_model(find_checkpoint(Model(checkpoint=str(toy_checkpoint))), task().head([]), Model(), seed=0)
    before = Predictor(task(), [], start, load_tokenizer(toy_checkpoint), 8)
    scores = [
        task().score(each.predict_features(each.encode(rows), rows), rows, []).metrics for each in (before, predictor)
    ]
    assert scores[1]["perplexity"] < scores[0]["perplexity"] / 2
    result.model.save_pretrained(tmp_path / "model")
    sections = _sections(toy_checkpoint)
    record = {"best": {}, "train_rows": 8, "steps": result.steps, "inputs_digest": "0", "bf16": False}
    complete(tmp_path / "model", sections, result.task, [], toy_checkpoint, find_checkpoint(sections.model), record)
    served = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(["the [MASK] was good", *EIGHT])
    ours = predictor.predict([{"text": "the [MASK] was good"}, *rows])
    # What is served runs without padding, which rounds otherwise.
    assert served["nats"].tolist() == [pytest.approx(each["nats"], rel=1e-4) for each in ours]
    [filled] = served["masks"][0]
    assert [each["token"] for each in filled[:1]] == [ours[0]["masks"][0][0]["token"]]
    assert len(filled) == 5
    assert sum(each["score"] for each in filled) <= 1
    assert served["tokens"][0] == 0
    assert served["tokens"][1] == 1


def _sections(checkpoint: Path) -> Sections:
    plain = {
        "data": {"name": "toy"}, "task": {"name": "masked-lm"}, "model": {"checkpoint": str(checkpoint)},
        "tokenize": {"max_length": 8}, "train": {}, "evaluate": {}, "register": {"name": "toy"},
    }  # fmt: skip
    return Sections(check_params(plain), ("data", "task", "model", "tokenize", "train"))


def test_the_body_of_a_masked_model_starts_a_classifier(toy_checkpoint: Path, tmp_path: Path) -> None:
    result = trained(toy_checkpoint, tmp_path / "c", EIGHT, num_train_epochs=1)
    folder = tmp_path / "model"
    result.model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((toy_checkpoint / name).read_bytes())
    head = task_class("text-classification").model_validate({"name": "text-classification"}).head(["bad", "good"])
    model = initial_model(find_checkpoint(Model(checkpoint=str(folder))), head, Model(), seed=0)
    kept = dict(result.model.bert.named_parameters())
    body = {name: value for name, value in model.bert.named_parameters() if name in kept}
    assert len(body) == len(kept) > 10
    assert all(bool((value == kept[name]).all()) for name, value in body.items())
    assert not [name for name, _ in model.named_parameters() if name.startswith("cls")]
