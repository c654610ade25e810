"""What holds training back does what it says, and a run cut short goes on to the same weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from tests.test_training import LABELS, TASK, Stop, split, train, weights
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.digests import file_digest
from tuneline.errors import ParamsError
from tuneline.inference import Predictor
from tuneline.losses import class_divergence, decision_divergence, number_divergence
from tuneline.modelling import initial_model
from tuneline.params import Model, Regularization, Replay, Train, check_params
from tuneline.regularization import GradualUnfreezing, general_texts
from tuneline.regularization import Replay as ReplayLoss
from tuneline.tasks.base import Encoder, Feature, Head, Row
from tuneline.training import fine_tune


def initial(checkpoint: Path, dropout: float = 0.1) -> Any:
    return initial_model(
        find_checkpoint(Model(checkpoint=str(checkpoint))), TASK.head(LABELS), Model(dropout=dropout), 0
    )


def moved(before: Any, after: Any) -> set[str]:
    """Parameters whose values differ."""
    start = dict(before.named_parameters())
    return {name for name, parameter in after.named_parameters() if not torch.equal(parameter, start[name])}


@pytest.fixture
def general(tmp_path: Path) -> Replay:
    path = tmp_path / "general.txt"
    path.write_text("the kettle was fine\n\na lamp is a lamp\nit is not very good\nthe phone\n")
    return Replay(text=str(path), sha256=file_digest(path), weight=0.5, per_device_train_batch_size=2)


# Divergences


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def test_the_divergence_of_classes_is_the_mean_of_both_kl_divergences() -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.5, 0.25, 0.25])
    first, second = torch.tensor(np.log([p, p])), torch.tensor(np.log([q, p]))
    found = class_divergence(first, second, torch.tensor([0, 2]))  # the second row does not differ
    assert float(found) == pytest.approx((kl(p, q) + kl(q, p)) / 2)


def test_the_divergence_leaves_out_what_has_no_gold() -> None:
    first, second = torch.zeros(1, 2, 3), torch.randn(1, 2, 3)
    assert float(class_divergence(first, second, torch.tensor([[-100, -100]]))) == 0


def test_the_divergence_of_decisions_is_that_of_two_classes_each() -> None:
    first, second = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])
    one, other = (torch.stack([torch.zeros(2), logits[0]], dim=-1) for logits in (first, second))
    expected = class_divergence(one, other, torch.tensor([0, 0]))
    assert float(decision_divergence(first, second, torch.ones(1, 2))) == pytest.approx(float(expected))


def test_the_divergence_of_numbers_is_their_squared_distance() -> None:
    assert float(number_divergence(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [0.0]]), torch.ones(2))) == 4.25


# Each option, all the way

OPTIONS: dict[str, dict[str, Any]] = {
    "r_drop": {"r_drop_alpha": 1.0},
    "layerwise": {"layerwise_lr_decay": 0.5},
    "freeze_embeddings": {"freeze_embeddings": True},
    "freeze_layers": {"freeze_layers": 1},
    "gradual_unfreezing": {"gradual_unfreezing": 1.5},  # thaws in the middle of an epoch
    "l2_sp": {"l2_sp": 20.0},
    "replay": {"replay": True},
}


@pytest.fixture(params=list(OPTIONS))
def option(request: pytest.FixtureRequest, general: Replay) -> dict[str, Any]:
    return {**OPTIONS[request.param], **({"replay": general} if "replay" in OPTIONS[request.param] else {})}


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(
    option: dict[str, Any], toy_checkpoint: Path, tmp_path: Path
) -> None:
    params: dict[str, Any] = {"num_train_epochs": 4, "regularization": option}
    whole = train(toy_checkpoint, tmp_path / "whole", **params)
    with pytest.raises(KeyboardInterrupt):
        train(toy_checkpoint, tmp_path / "cut", [Stop(21)], **params)
    resumed = train(toy_checkpoint, tmp_path / "cut", **params)
    assert torch.equal(weights(whole), weights(resumed))
    plain = train(toy_checkpoint, tmp_path / "plain", num_train_epochs=4)
    assert not torch.equal(weights(whole), weights(plain))


def test_what_is_frozen_does_not_move_and_the_rest_does(toy_checkpoint: Path, tmp_path: Path) -> None:
    start = initial(toy_checkpoint)
    embeddings = train(toy_checkpoint, tmp_path / "a", num_train_epochs=1, regularization={"freeze_embeddings": True})
    assert {name.split(".")[1] for name in moved(start, embeddings.model)} == {"encoder", "pooler", "weight", "bias"}
    layers = train(toy_checkpoint, tmp_path / "b", num_train_epochs=1, regularization={"freeze_layers": 1})
    assert {name.split(".")[1] for name in moved(start, layers.model)} == {"pooler", "weight", "bias"}


class Watch(TrainerCallback):
    """Note which parameters can learn at the first step of each epoch."""

    def __init__(self) -> None:
        self.seen: dict[float, set[str]] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        learns = {name.split(".")[1] for name, each in kwargs["model"].named_parameters() if each.requires_grad}
        self.seen.setdefault(state.epoch or 0, learns)


def test_layers_thaw_from_the_top_and_the_embeddings_last(toy_checkpoint: Path, tmp_path: Path) -> None:
    watch, head = Watch(), {"pooler", "weight", "bias"}
    train(toy_checkpoint, tmp_path, [watch], num_train_epochs=3, regularization={"gradual_unfreezing": 1})
    assert [watch.seen[epoch] for epoch in (0, 1, 2)] == [head, head | {"encoder"}, head | {"encoder", "embeddings"}]


def test_what_is_frozen_for_good_never_thaws(toy_checkpoint: Path) -> None:
    model = initial(toy_checkpoint)
    model.bert.embeddings.requires_grad_(False)
    state, control = type("State", (), {"epoch": 9.0})(), None
    GradualUnfreezing(model, 1).on_step_begin(None, state, control)  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in model.bert.embeddings.parameters())


def test_l2_sp_keeps_the_base_near_its_start_and_leaves_the_head_alone(toy_checkpoint: Path, tmp_path: Path) -> None:
    start = torch.cat([p.detach().flatten() for p in initial(toy_checkpoint).bert.parameters()])

    def distance(strength: float) -> float:
        trained = train(
            toy_checkpoint, tmp_path / str(strength), num_train_epochs=2, regularization={"l2_sp": strength}
        )
        now = torch.cat([p.detach().flatten() for p in trained.model.bert.parameters()])
        return float((now - start).norm())

    assert distance(150.0) < distance(20.0) < distance(0.0)


class Groups(TrainerCallback):
    """Note the optimizer's groups as training begins."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        names = {parameter: name for name, parameter in kwargs["model"].named_parameters()}
        groups = kwargs["optimizer"].param_groups
        self.decay = {names[p]: group["weight_decay"] for group in groups for p in group["params"]}
        self.rate = {names[p]: group["initial_lr"] for group in groups for p in group["params"]}


def test_l2_sp_takes_the_place_of_weight_decay_but_for_the_head(toy_checkpoint: Path, tmp_path: Path) -> None:
    groups = Groups()
    train(toy_checkpoint, tmp_path, [groups], max_steps=1, weight_decay=0.1, regularization={"l2_sp": 1.0})
    assert {name for name, decay in groups.decay.items() if decay} == {"classifier.weight"}


def test_lower_layers_learn_at_lower_rates(toy_checkpoint: Path, tmp_path: Path) -> None:
    groups = Groups()
    train(toy_checkpoint, tmp_path, [groups], max_steps=1, regularization={"layerwise_lr_decay": 0.5})
    assert groups.rate["classifier.weight"] == 0.005
    assert groups.rate["bert.encoder.layer.0.output.dense.weight"] == 0.0025
    assert groups.rate["bert.embeddings.word_embeddings.weight"] == 0.00125


def test_accumulated_batches_count_replay_once_a_step(toy_checkpoint: Path, tmp_path: Path, general: Replay) -> None:
    trained = train(
        toy_checkpoint, tmp_path, num_train_epochs=1, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        regularization={"replay": general},
    )  # fmt: skip
    assert trained.steps == 8
    assert np.isfinite(weights(trained).numpy()).all()


# Replay


def replay(checkpoint: Path, params: Replay, model: Any) -> ReplayLoss:
    return ReplayLoss(model, TASK, LABELS, load_tokenizer(checkpoint), params, seed=0)


def test_the_start_weights_have_lost_nothing(toy_checkpoint: Path, general: Replay) -> None:
    model = initial(toy_checkpoint)
    loss = replay(toy_checkpoint, general, model).loss(model.train(), step=3)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert model.training


def test_a_model_that_moved_is_told_by_how_much(toy_checkpoint: Path, general: Replay) -> None:
    model = initial(toy_checkpoint)
    loss = replay(toy_checkpoint, general, model)
    with torch.no_grad():
        torch.nn.init.normal_(model.bert.encoder.layer[0].output.dense.weight)
    assert float(loss.loss(model, step=0)) > 0.01
    assert loss.loss(model, step=0).requires_grad


def test_a_step_draws_the_same_texts_again_and_each_of_its_batches_others(
    toy_checkpoint: Path, general: Replay
) -> None:
    model = initial(toy_checkpoint)
    first, second = replay(toy_checkpoint, general, model), replay(toy_checkpoint, general, model)
    draws = [[each._random(5).random() for _ in range(3)] for each in (first, second)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 3


def test_replay_keeps_embeddings_of_general_text_near_the_start(
    toy_checkpoint: Path, tmp_path: Path, general: Replay
) -> None:
    def drift(options: dict[str, Any]) -> float:
        trained = train(toy_checkpoint, tmp_path / str(len(options)), num_train_epochs=3, regularization=options)
        loss = replay(toy_checkpoint, general.model_copy(update={"weight": 1.0}), initial(toy_checkpoint))
        return float(loss._moved(trained.model, range(4)))

    assert drift({"replay": general.model_copy(update={"weight": 20.0})}) < drift({}) / 2


class Words(type(TASK)):  # type: ignore[misc]
    """A language model of a kind: the first token is masked, and to be said."""

    columns = {"text": type(TASK).columns["text"]}  # noqa: RUF012

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForMaskedLM")

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        return [{"input_ids": each.ids} for each in tokenizer.encode_batch([row["text"] for row in rows])]

    def varied(self, feature: Feature, tokenizer: Encoder, random: np.random.Generator) -> Feature:
        ids = feature["input_ids"]
        labels = [-100] * len(ids)
        labels[1] = ids[1]
        return {"input_ids": [ids[0], 1, *ids[2:]], "labels": labels}


def test_a_language_model_rehearses_its_own_loss(toy_checkpoint: Path, tmp_path: Path, general: Replay) -> None:
    task = Words(name="text-classification")
    model = initial_model(find_checkpoint(Model(checkpoint=str(toy_checkpoint))), task.head([]), Model(dropout=0.0), 0)
    loss = ReplayLoss(model, task, [], load_tokenizer(toy_checkpoint), general, seed=0)
    assert float(loss.loss(model, 0)) == pytest.approx(0.5 * np.log(model.config.vocab_size), rel=0.1)
    rows = [{"text": "the kettle was good"}] * 8
    split = task.encode(load_tokenizer(toy_checkpoint), rows, []), rows
    params = Train(num_train_epochs=1, threads=1, regularization=Regularization(replay=general))
    trained = fine_tune(
        model, task, [], load_tokenizer(toy_checkpoint), params, split, ([], []), checkpoints=tmp_path, callbacks=[]
    )
    assert trained.steps == 1


@pytest.mark.parametrize(
    ("content", "pinned", "said"),
    [
        (None, "0" * 64, "there is no file"),
        (b"a text\n", "0" * 64, "Use the file you pinned"),
        (b" \n\n", None, "only blank lines"),
        (b"caf\xe9\n", None, "byte 3 .* is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_told_so(
    tmp_path: Path, content: bytes | None, pinned: str | None, said: str
) -> None:
    path = tmp_path / "general.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ParamsError, match=said):
        general_texts(Replay(text=str(path), sha256=pinned or file_digest(path)))


# What makes no sense


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"freeze_layers": 1, "gradual_unfreezing": 1}, r"freeze_layers: gradual_unfreezing thaws the same layers"),
        ({"freeze_layers": 1, "freeze_embeddings": True}, r"freeze_embeddings: freeze_layers freezes"),
        ({"l2_sp": 90_000}, r"l2_sp: 90000 times learning_rate 2e-05 is more than the whole way"),
        ({"layerwise_lr_decay": 0}, r"layerwise_lr_decay: .*greater than 0, found 0"),
        ({"replay": {"txt": "x"}}, r"replay\.txt: unknown key\. Did you mean 'text'\?"),
    ],
)
def test_options_that_contradict_each_other_are_refused(params: dict[str, Any], said: str) -> None:
    plain: dict[str, Any] = {"data": {"name": "x"}, "task": {"name": "text-classification"}, "model": {}}
    plain |= {"tokenize": {}, "evaluate": {}, "register": {"name": "x"}, "train": {"regularization": params}}
    with pytest.raises(ParamsError, match=rf"train\.regularization\.{said}"):
        check_params(plain)


def test_what_this_model_cannot_have_is_refused_at_once(toy_checkpoint: Path, tmp_path: Path) -> None:
    params = Train(regularization=Regularization(freeze_layers=2, r_drop_alpha=1))
    model = initial(toy_checkpoint, dropout=0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = split(toy_checkpoint, 8)
    with pytest.raises(ParamsError, match=r"has 1 layers\.\n.*r_drop_alpha: the model has no dropout"):
        fine_tune(
            model, TASK, LABELS, load_tokenizer(toy_checkpoint), params, rows, rows, checkpoints=tmp_path, callbacks=[]
        )


def test_r_drop_draws_two_passes_together(toy_checkpoint: Path, tmp_path: Path) -> None:
    """With dropout on, two passes differ less than without R-Drop, before the model is sure of all rows anyway."""

    def spread(options: dict[str, Any]) -> float:
        trained = train(toy_checkpoint, tmp_path / str(len(options)), num_train_epochs=3, regularization=options)
        batch = Predictor(TASK, LABELS, trained.model, None).collate(split(toy_checkpoint, 30)[0])
        gold = batch.pop("labels")
        torch.manual_seed(0)
        model = trained.model.train()
        with torch.no_grad():
            passes = [(model(**batch).logits, model(**batch).logits) for _ in range(5)]
        return sum(float(class_divergence(*pair, gold)) for pair in passes)

    assert spread({"r_drop_alpha": 100.0}) < spread({})
