"""Training the embeddings of the tokens in use alone, and dropout by bytes: what must be the same is."""

import copy
from typing import Any

import pytest
import torch
import transformers

from tuneline.dropout import CheapDropout, dropout, make_cheap
from tuneline.vocabulary_in_use import EmbeddingInUse, in_use


def small(auto_class: str = "AutoModelForSequenceClassification") -> Any:
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        "bert", vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return getattr(transformers, auto_class).from_config(config)


FEATURES = [{"input_ids": [2, 9, 7, 3]}, {"input_ids": [2, 9, 40, 3]}]


def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
    ids = torch.tensor([feature["input_ids"] for feature in FEATURES])
    model(input_ids=ids, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_weights_after_training_are_those_of_the_whole_table_bit_by_bit() -> None:
    model = small().eval()
    other = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.0)
    for _ in range(5):
        step(other, optimizer)
    with in_use(model, FEATURES):
        part = model.get_input_embeddings()
        assert isinstance(part, EmbeddingInUse)
        assert part.weight.shape == (6, 16)  # 0 pads
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
        for _ in range(5):
            step(model, optimizer)
        inside = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = other.state_dict()
    assert inside.keys() == expected.keys()
    for state in (inside, model.state_dict()):
        for name, tensor in expected.items():
            assert torch.equal(state[name], tensor), name


def test_a_checkpoint_of_the_whole_table_is_read_and_a_token_not_in_use_is_looked_up() -> None:
    model, other = small().eval(), small().eval()
    torch.nn.init.normal_(other.get_input_embeddings().weight)
    ids = torch.tensor([[2, 9, 3], [2, 30, 3]])  # 30 is in no training text
    start = model.get_input_embeddings().weight[30].detach().clone()
    with in_use(model, FEATURES):
        model.load_state_dict(other.state_dict())
        found = model.get_input_embeddings()(ids)
    assert torch.equal(found[0, 1], other.get_input_embeddings().weight[9])
    assert torch.equal(found[1, 1], start)


@pytest.mark.parametrize("why", ["tied", "frozen"])
def test_a_table_that_is_shared_or_does_not_learn_is_left_alone(why: str) -> None:
    model = small("AutoModelForMaskedLM" if why == "tied" else "AutoModelForSequenceClassification")
    if why == "frozen":
        model.get_input_embeddings().requires_grad_(False)
    before = model.get_input_embeddings()
    with in_use(model, FEATURES):
        assert model.get_input_embeddings() is before


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(p: float) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(1_000_000), p, training=True)
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=1 / 256)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)


def test_dropout_lets_gradients_through_where_it_lets_values_through() -> None:
    torch.manual_seed(0)
    states = torch.ones(7, 11, requires_grad=True)
    found = dropout(states, 0.5, training=True)
    found.sum().backward()
    assert states.grad is not None and torch.equal(states.grad, found.detach())


def test_dropout_is_off_outside_training_and_repeats_with_its_seed() -> None:
    states = torch.randn(5, 5)
    assert dropout(states, 0.5, training=False) is states
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(dropout(states, 0.5, training=True))
    assert torch.equal(*draws)


def test_a_model_gets_it_wherever_it_has_torchs() -> None:
    model = small()
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)]
    make_cheap(model)
    assert [name for name, module in model.named_modules() if type(module) is CheapDropout] == names
    assert not model.eval()(input_ids=torch.tensor([[2, 9, 3]])).logits.isnan().any()
