"""Layers that are compiled compute what they did, keep their names, and are as they were afterwards."""

from typing import Any

import pytest
import torch
import transformers

from tests.flash import attended_rows
from tuneline import within_rows
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


@torch.library.custom_op("tuneline_tests::flash", mutates_args=())
def flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: torch.Tensor, bounds: torch.Tensor,
    longest: int, scale: float,
) -> torch.Tensor:  # fmt: skip
    """As a GPU's kernels: one operation, of which torch.compile sees no more than its name."""
    found = torch.empty_like(query)
    for queries, _, answers in attended_rows(query, key, value, asked, bounds, causal=False, scale=scale):
        found[queries] = answers
    return found


@flash.register_fake
def _(query: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(query)


def test_one_layer_is_compiled_for_all_and_for_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(
        query: Any, key: Any, value: Any, asked: Any, bounds: Any, _: int, longest: int, *__: Any, scale: float,
        **___: Any,
    ) -> tuple[torch.Tensor]:  # fmt: skip
        return (torch.ops.tuneline_tests.flash(query, key, value, asked, bounds, longest, scale),)

    monkeypatch.setattr(within_rows, "_can_flash", lambda *_: True)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", kernel)
    model, graphs = small("cpu"), []

    def counting(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    with torch.no_grad(), freed(model, CLASSIFIES) as why_not:
        assert why_not is None
        before = answers(model, "cpu")
        with compiled(model, counting):
            torch.testing.assert_close(answers(model, "cpu"), before)
    assert len(graphs) == 1


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
