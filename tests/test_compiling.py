"""Layers that are compiled compute what they did, keep their names, and are as they were afterwards."""

from typing import Any

import pytest
import torch
import transformers

from tuneline.compiling import compiled
from tuneline.padding_free import freed
from tuneline.tasks.base import Head

CLASSIFIES = Head("AutoModelForSequenceClassification")
LENGTHS = ((5, 11, 1, 8), (7, 2, 30), (3,), (64, 64, 9, 20, 1))


def small(device: str) -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        "bert", vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48
    )
    return transformers.AutoModelForSequenceClassification.from_config(config).to(device).eval()


def batches(device: str) -> list[dict[str, torch.Tensor]]:
    masks = [(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long() for lengths in LENGTHS]
    return [{"input_ids": mask * 7, "attention_mask": mask.clone()} for mask in (each.to(device) for each in masks)]


def answers(model: Any, device: str) -> list[torch.Tensor]:
    return [model(**batch).logits.detach() for batch in batches(device)]


def test_a_compiled_model_answers_as_before_and_is_left_as_it_was() -> None:
    model = small("cpu")
    before, names = answers(model, "cpu"), list(model.state_dict())
    calls: list[Any] = []

    def watching(graph: torch.fx.GraphModule, _: Any) -> Any:
        calls.append(graph)
        return graph.forward

    with compiled(model, watching):
        torch.testing.assert_close(answers(model, "cpu"), before)
        assert calls
        assert list(model.state_dict()) == names
        seen = len(calls)
    assert answers(model, "cpu")[0].equal(before[0])
    assert len(calls) == seen


@pytest.mark.gpu
def test_on_a_gpu_compiled_layers_without_padding_answer_as_before() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    model = small("cuda")
    with freed(model, CLASSIFIES) as why_not, torch.autocast("cuda", torch.bfloat16):
        assert why_not is None
        before = answers(model, "cuda")
        with compiled(model):
            torch.testing.assert_close(answers(model, "cuda"), before, atol=2e-2, rtol=2e-2)
