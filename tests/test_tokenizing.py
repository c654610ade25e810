"""One pass over a text gives its ids, cut, and its whole length."""

from pathlib import Path
from typing import Any

import pytest

from tuneline.checkpoints import load_tokenizer
from tuneline.tasks import task_class
from tuneline.tokenizing import Counting, Lengths, encode

TEXTS = ["good", "the lamp is very good and the phone was not", "", "bad " * 50, "unheard words"]


@pytest.mark.parametrize("max_length", [3, 5, 8, 64])
def test_lengths_are_those_of_whole_texts_and_ids_those_of_cut_ones(toy_checkpoint: Path, max_length: int) -> None:
    tokenizer = load_tokenizer(toy_checkpoint)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    whole = [len(each) for each in tokenizer.encode_batch(TEXTS)]
    tokenizer.enable_truncation(max_length)
    cut = [each.ids for each in tokenizer.encode_batch(TEXTS)]
    counting = Counting(tokenizer)
    assert [each.ids for each in counting.encode_batch(TEXTS)] == cut
    assert counting.lengths == whole


def test_rows_with_a_second_text_give_what_they_give_among_single_ones(toy_checkpoint: Path) -> None:
    task: Any = task_class("text-classification").model_validate({"name": "text-classification"})
    single = [{"text": text, "text_pair": None, "label": "good"} for text in TEXTS]
    pair = {"text": "the lamp is very good", "text_pair": "the phone was not", "label": "bad"}
    tokenizer = load_tokenizer(toy_checkpoint)
    tokenizer.no_padding()
    alone, together = Lengths(6), Lengths(6)
    features = encode(task, tokenizer, single, ["bad", "good"], 6, alone)
    mixed = encode(task, tokenizer, [*single, pair], ["bad", "good"], 6, together)
    assert mixed[: len(single)] == features
    assert len(mixed[-1][0]["input_ids"]) == 6
    assert together._lengths == [*alone._lengths, 12]
