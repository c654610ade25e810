"""Perplexity and bits per byte, worked by hand; the head computed where it is asked."""

import math
from pathlib import Path

import pytest
import torch

from tuneline.batching import PadBatch
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.likelihoods import answers, scored
from tuneline.metrics.likelihood import bits_per_byte, perplexity
from tuneline.modelling import initial_model
from tuneline.params import Model
from tuneline.tasks import task_class
from tuneline.tasks.base import IGNORED_LABEL


def test_perplexity_by_hand() -> None:
    # probabilities 1/2, 1/4 and 1/8: their geometric mean is (1/64)^(1/3) = 1/4
    assert perplexity(math.log(2) + math.log(4) + math.log(8), 3) == pytest.approx(4)


def test_bits_per_byte_by_hand() -> None:
    # two tokens of probability 1/16 are 8 bits, over the 4 bytes of "né!" in UTF-8
    assert bits_per_byte(2 * math.log(16), len("né!".encode())) == pytest.approx(2)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    found = answers(torch.zeros(7, 50), torch.arange(7), 1)
    assert perplexity(found[:, 0].sum(), 7) == pytest.approx(50)


def test_answers_are_the_nats_of_the_gold_and_the_likeliest_tokens() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]).log()
    [first, second] = answers(logits, torch.tensor([1, 2]), 2).tolist()
    assert first[0] == pytest.approx(math.log(4))
    assert second == pytest.approx([-math.log(0.7), 2, 1, -math.log(0.7), -math.log(0.2)])


@pytest.mark.parametrize("name", ["masked-lm", "causal-lm"])
def test_the_head_at_the_labelled_tokens_alone_gives_the_same(name: str, toy_checkpoint: Path) -> None:
    task = task_class(name).model_validate({"name": name})
    head = task.head([])
    model = initial_model(find_checkpoint(Model(checkpoint=str(toy_checkpoint))), head, Model(dropout=0.0), 0).eval()
    rows = [{"text": "the kettle was not very good"}, {"text": "a lamp"}]
    batch = PadBatch(0)(task.encode(load_tokenizer(toy_checkpoint), rows, []))
    gold = batch.pop("labels")
    logits, asked = scored(head, model, batch, gold)
    chosen = gold != IGNORED_LABEL
    assert torch.equal(asked, gold[chosen])
    assert torch.allclose(logits, model(**batch).logits[chosen], atol=1e-6)
    assert not model.get_output_embeddings()._forward_pre_hooks
