"""A model freed of padding answers as it does with padding, in whatever architecture; where it would not, it pads."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from tests.flash import attended_rows
from tuneline import padding_free, within_rows
from tuneline.padding_free import freed
from tuneline.tasks.base import Head
from tuneline.within_rows import Rows

VOCABULARY = 60
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
OF_DISTILBERT = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
OF_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
LLAMA = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0}
LENGTHS = (5, 11, 1, 8)
CLASSIFIES = Head("AutoModelForSequenceClassification")
TAGS = Head("AutoModelForTokenClassification")
ANSWERS = Head("AutoModelForQuestionAnswering", outputs=("start_logits", "end_logits"))
FILLS = Head("AutoModelForMaskedLM", answers="nats")
WRITES = Head("AutoModelForCausalLM", answers="nats")


def small(kind: str, head: Head, **options: Any) -> Any:
    keys = {"distilbert": OF_DISTILBERT, "gpt2": OF_GPT2, "llama": LLAMA, "qwen3": LLAMA}.get(kind, SMALL)
    torch.manual_seed(0)
    labels = {"num_labels": 2 if head is ANSWERS else 3}
    config = transformers.AutoConfig.for_model(kind, **{**keys, **labels, **options})
    model = getattr(transformers, head.auto_class).from_config(config)
    for parameter in model.parameters():  # heads begin near zero, and then a leak between rows would hardly show
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def batch(pad: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, VOCABULARY, mask.shape)
    return {"input_ids": ids.where(mask.bool(), torch.tensor(pad)), "attention_mask": mask}


def logits(model: Any, head: Head, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of what is no padding."""
    outputs = model(**inputs)
    found = [outputs[name] for name in head.outputs]
    whole = head is CLASSIFIES
    return torch.cat([each if whole else each[inputs["attention_mask"].bool()] for each in found])


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


class Flash(torch.autograd.Function):
    """What the GPU's flash kernels promise, on a CPU: what lies outside the bounds is never written, in neither way."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> torch.Tensor:
        ctx.save_for_backward(*inputs[:5])
        ctx.options = inputs[5:]
        found = torch.full_like(inputs[0], torch.nan)
        for queries, _, answers in attended_rows(*inputs):
            found[queries] = answers
        return found

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> Any:
        [*states, asked, bounds] = ctx.saved_tensors
        found = [torch.full_like(each, torch.nan) for each in states]
        with torch.enable_grad():
            query, key, value = (each.detach().requires_grad_() for each in states)
            for queries, keys, answers in attended_rows(query, key, value, asked, bounds, *ctx.options):
                slopes = torch.autograd.grad(answers, (query, key, value), above[0][queries])
                for slope, own, place in zip(found, slopes, (queries, keys, keys), strict=True):
                    slope[place] = own[place]
        return *found, None, None, None, None


@pytest.fixture(params=[False, True], ids=["plain", "flash"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The products that a CPU takes, or as if there were a GPU's kernels."""

    def forward(
        query: Any, key: Any, value: Any, asked: Any, bounds: Any, most_asked: int, most: int, p: float, causal: bool,
        *, return_debug_mask: bool, scale: float,
    ) -> tuple[torch.Tensor]:  # fmt: skip
        assert (p, return_debug_mask) == (0.0, False)
        assert query.dtype == key.dtype == value.dtype
        assert int(asked.diff().max()) <= most_asked
        assert int(bounds.diff().max()) <= most
        return (Flash.apply(query, key, value, asked, bounds, causal, scale),)

    if request.param:
        monkeypatch.setattr(within_rows, "_can_flash", lambda *_: True)
        monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", forward)


ENCODERS = ("bert", "roberta", "electra", "distilbert")


@pytest.mark.parametrize(
    ("kind", "head"),
    [(kind, head) for kind in ENCODERS for head in (CLASSIFIES, TAGS, ANSWERS, FILLS)]
    + [(kind, WRITES) for kind in ("gpt2", "llama", "qwen3")],
    ids=lambda value: value if isinstance(value, str) else value.auto_class.removeprefix("AutoModelFor"),
)
@pytest.mark.usefixtures("kernels")
def test_logits_and_gradients_are_those_of_a_padded_batch(kind: str, head: Head) -> None:
    model, inputs = small(kind, head), batch(pad=1 if kind == "roberta" else 0)
    expected = logits(model, head, inputs)
    expected_gradients = gradients(model, functional.softplus(expected).sum())
    with freed(model, head) as why_not:
        assert why_not is None
        seen = []
        layer = padding_free.stacks(model.base_model)[-1][0][0]
        handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2]))
        found = logits(model, head, inputs)
        handle.remove()
        assert seen == [(1, 32)]  # 25 tokens and what fills up a multiple of 16, where padding would make it 44
        found_gradients = gradients(model, functional.softplus(found).sum())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found_gradients.keys() == expected_gradients.keys()
    torch.testing.assert_close(found_gradients, expected_gradients, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(logits(model, head, inputs), expected, atol=0, rtol=0)  # and then it is as it was


@pytest.mark.parametrize("kernels", [True], indirect=True)
@pytest.mark.usefixtures("kernels")
def test_in_bfloat16_the_kernels_get_one_type_of_numbers() -> None:
    """Rotary embeddings make float32 of queries and keys."""
    model, inputs = small("qwen3", WRITES), batch()
    with torch.no_grad():
        truth = logits(model, WRITES, inputs)
        with freed(model, WRITES) as why_not, torch.autocast("cpu", torch.bfloat16):
            assert why_not is None
            found = logits(model, WRITES, inputs).float()
    assert (found - truth).norm() < 0.05 * truth.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "kind_and_head", [("bert", CLASSIFIES), ("roberta", TAGS), ("gpt2", WRITES), ("qwen3", WRITES)]
)
def test_on_a_gpu_a_batch_without_padding_is_as_near_to_the_truth(
    kind_and_head: tuple[str, Head], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is float32 with padding: in bfloat16 the flash kernels may be off by as much as a padded batch, no more."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    kind, head = kind_and_head
    model = small(kind, head).to("cuda")
    inputs = {name: each.to("cuda") for name, each in batch(pad=1 if kind == "roberta" else 0).items()}

    def answered() -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, and the gradients of all weights one after another."""
        found = logits(model, head, inputs).float()
        slopes = gradients(model, functional.softplus(found).sum())
        return found.detach(), torch.cat([slopes[name].flatten() for name in sorted(slopes)])

    def off(found: torch.Tensor, truth: torch.Tensor) -> float:
        return float((found - truth).norm() / truth.norm())

    truth = answered()
    in_bf16 = torch.autocast("cuda", torch.bfloat16, enabled=dtype is torch.bfloat16)
    flash, calls = within_rows._flash, list[int]()

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return flash(*args, **options)

    monkeypatch.setattr(within_rows, "_flash", counted)
    with in_bf16:
        padded = answered()
    with freed(model, head) as why_not, in_bf16:
        assert why_not is None
        found = answered()
    assert bool(calls) == (dtype is torch.bfloat16)
    for ours, theirs, true in zip(found, padded, truth, strict=True):
        assert off(ours, true) < 2 * off(theirs, true) + 1e-3


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("deberta-v2", TAGS),  # reads no registered attention function
        ("mpnet", TAGS),
        ("gpt2", CLASSIFIES),  # reads the last token
        ("modernbert", TAGS),  # looks at a window of its neighbours
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_architecture_that_cannot_stays_as_it_was(kind: str, head: Head) -> None:
    options = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    model, inputs = small(kind, head, **options), batch()
    before, hooks = logits(model, head, inputs), count_hooks(model)
    with freed(model, head) as why_not:
        assert why_not is not None and kind.split("-", maxsplit=1)[0] in why_not
        assert torch.equal(logits(model, head, inputs), before)
        assert count_hooks(model) == hooks


def count_hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_an_encoder_decoder_is_told_so() -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_config(transformers.AutoConfig.for_model("t5", vocab_size=9))
    with freed(model, Head("AutoModelForSeq2SeqLM", answers="texts")) as why_not:
        assert why_not == "t5 is an encoder-decoder"


def test_a_row_depends_on_no_other_one() -> None:
    model = small("bert", TAGS)
    inputs = batch()
    with freed(model, TAGS), torch.no_grad():
        before = model(**inputs).logits
        others = inputs["input_ids"].clone()
        others[1] = 7
        after = model(**{**inputs, "input_ids": others}).logits
    assert torch.equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert not torch.equal(before[1], after[1])


def test_a_batch_with_an_empty_row_is_read_with_its_padding() -> None:
    model, inputs = small("gpt2", WRITES), batch()
    inputs["attention_mask"][2] = 0
    expected = logits(model, WRITES, inputs)
    with freed(model, WRITES):
        torch.testing.assert_close(logits(model, WRITES, inputs), expected)


@pytest.mark.parametrize("scores", [1, 300, 10**9])
def test_however_the_rows_are_cut_into_chunks_attention_is_the_same(
    scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = small("bert", CLASSIFIES), batch()
    expected = logits(model, CLASSIFIES, inputs)
    monkeypatch.setattr(within_rows, "SCORES", scores)
    assert len(Rows(LENGTHS, max(LENGTHS), torch.device("cpu")).chunks(4)) == {1: 4, 300: 4, 10**9: 1}[scores]
    with freed(model, CLASSIFIES):
        torch.testing.assert_close(logits(model, CLASSIFIES, inputs), expected, atol=1e-4, rtol=1e-4)


def test_a_call_that_is_no_batch_of_a_collator_is_left_alone() -> None:
    """Such as the steps of generate, which bring a cache."""
    model = small("gpt2", WRITES, eos_token_id=None)
    prompt: dict[str, torch.Tensor] = {"input_ids": torch.arange(1, 7)[None], "attention_mask": torch.ones(1, 6).long()}
    generate: Callable[[], torch.Tensor] = lambda: model.generate(**prompt, max_new_tokens=8, do_sample=False)  # noqa: E731
    expected = generate()
    with freed(model, WRITES) as why_not:
        assert why_not is None
        assert torch.equal(generate(), expected)
