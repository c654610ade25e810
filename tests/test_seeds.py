"""Several seeds: each trains as it would alone, one at a time, and the best on validation is kept."""

import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from pydantic import ValidationError
from transformers import TrainerCallback

from tests.conftest import run
from tests.test_training import Stop, train, weights
from tuneline import seeds
from tuneline.params import Train
from tuneline.training import Trained

SCORES = {3: {"accuracy": 0.8, "loss": 0.5}, 1: {"accuracy": 0.9, "loss": 0.4}, 2: {"accuracy": 0.9, "loss": 0.2}}


def test_the_best_seed_by_metric_and_direction() -> None:
    assert seeds.best_seed(SCORES, "accuracy", higher_is_better=True) == 1  # the first of two that are equal
    assert seeds.best_seed(SCORES, "loss", higher_is_better=False) == 2
    diverged = {1: {"loss": math.nan}, 2: {"loss": 0.7}, 3: {"loss": math.nan}}
    assert seeds.best_seed(diverged, "loss", higher_is_better=False) == 2


def test_mean_and_deviation_worked_by_hand() -> None:
    found = seeds.summary({1: {"accuracy": 0.8, "loss": 1.0}, 2: {"accuracy": 0.9}}, chosen=2)
    assert found["seeds"][0] == {"seed": 1, "best": {"accuracy": 0.8, "loss": 1.0}}
    assert found["mean"] == {"accuracy": pytest.approx(0.85)}
    assert found["standard_deviation"] == {"accuracy": pytest.approx(0.1 / math.sqrt(2))}
    assert seeds.named_scores({"steps": 8, **found}) == {
        "seed_1_accuracy": 0.8,
        "seed_1_loss": 1.0,
        "seed_2_accuracy": 0.9,
        "seeds_mean_accuracy": pytest.approx(0.85),
        "seeds_sd_accuracy": pytest.approx(0.1 / math.sqrt(2)),
    }
    assert seeds.recorded({"steps": 8, **found}) == found
    assert seeds.named_scores({"best": {"accuracy": 0.8}}) == seeds.recorded({"best": {"accuracy": 0.8}}) == {}


@pytest.mark.parametrize(
    ("given", "said"), [([1, 1], "a seed stands in the list twice"), ([1], "at least 2"), ([1, -1], "greater than")]
)
def test_seeds_are_several_and_distinct(given: list[int], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Train(seeds=given)


class Trainings:
    """Trainings of a toy model that differ in their seed: short ones, which do not learn all there is."""

    def __init__(self, checkpoint: Path, folder: Path, stop: dict[int, int] | None = None) -> None:
        self.checkpoint, self.folder, self.stop = checkpoint, folder, stop or {}
        self.began: list[int] = []
        self.models: list[Any] = []

    def __call__(self, seed: int) -> Trained:
        gc.collect()
        assert not any(model() is not None for model in self.models), "an earlier model is still in memory"
        self.began.append(seed)
        callbacks: list[TrainerCallback] = [Stop(self.stop[seed])] if seed in self.stop else []
        found = train(self.checkpoint, self.folder / f"seed-{seed}", callbacks, seed=seed, num_train_epochs=2,
                      learning_rate=0.002)  # fmt: skip
        self.models.append(weakref.ref(found.model))
        return found


def best_of(trainings: Trainings) -> tuple[Trained, dict[str, Any]]:
    return seeds.best_of([4, 5, 6], trainings, "loss", higher_is_better=False)


def test_the_chosen_seed_is_the_best_and_trains_as_it_would_alone(toy_checkpoint: Path, tmp_path: Path) -> None:
    found, record = best_of(Trainings(toy_checkpoint, tmp_path / "several"))
    losses = {each["seed"]: each["best"]["loss"] for each in record["seeds"]}
    assert record["chosen"] == min(losses, key=losses.__getitem__)
    assert len(set(losses.values())) == 3
    alone = Trainings(toy_checkpoint, tmp_path / "alone")(record["chosen"])
    assert torch.equal(weights(found), weights(alone))
    assert json.dumps([found.history, found.best]) == json.dumps([alone.history, alone.best])


def test_seeds_that_were_cut_short_go_on_where_they_were(toy_checkpoint: Path, tmp_path: Path) -> None:
    whole, record = best_of(Trainings(toy_checkpoint, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        best_of(Trainings(toy_checkpoint, tmp_path / "cut", stop={5: 13}))
    # Seed 4 was finished: it takes no step again, or it would be stopped. Seed 5 goes on from step 8.
    again, same = best_of(Trainings(toy_checkpoint, tmp_path / "cut", stop={4: 1, 5: 8}))
    assert same == record
    assert torch.equal(weights(whole), weights(again))


@pytest.mark.slow
def test_seeds_go_the_whole_way(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = (project / "params.yaml").read_text().replace("num_train_epochs: 8", "num_train_epochs: 2")
    several = params.replace("threads: 1\n", "threads: 1\n  seeds: [1, 2]\n  metric_for_best_model: loss\n")
    (project / "params.yaml").write_text(several)
    said = run("dvc", "repro", cwd=project)
    training = json.loads((project / "data/reports/training.json").read_text())
    losses = {each["seed"]: each["best"]["loss"] for each in training["seeds"]}
    chosen = min(losses, key=losses.__getitem__)
    assert training["chosen"] == chosen
    assert f"seed {chosen} of 1, 2; validation: " in said.stdout + said.stderr
    assert f"loss {losses[chosen]:.4f} (mean {sum(losses.values()) / 2:.4f} ± " in said.stdout + said.stderr

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    run_id = json.loads((project / "data/reports/registration.json").read_text())["run_id"]
    logged = client.get_run(run_id).data.metrics
    assert {seed: logged[f"seed_{seed}_loss"] for seed in losses} == losses
    of_chosen = {point.step: point.value for point in client.get_metric_history(run_id, "validation_loss")}
    live = {point.step: point.value for point in client.get_metric_history(run_id, f"seed_{chosen}_validation_loss")}
    assert of_chosen == live

    parts = ("data/model/model.safetensors", "data/reports/learning_curve.csv")
    kept = [(project / part).read_bytes() for part in parts]
    (project / "params.yaml").write_text(several.replace("seeds: [1, 2]", f"seed: {chosen}"))
    run("dvc", "repro", "fine-tune", cwd=project)
    assert [(project / part).read_bytes() for part in parts] == kept
    assert "seeds" not in json.loads((project / "data/reports/training.json").read_text())


@pytest.mark.slow
def test_seeds_without_validation_rows_are_refused(project: Path) -> None:
    text = (project / "params.yaml").read_text().replace("threads: 1\n", "threads: 1\n  seeds: [1, 2]\n")
    text = text.replace("  columns: {id: id}\n", "  columns: {id: id}\n  splits: {validation: 0.0}\n")
    (project / "params.yaml").write_text(text)
    said = run("dvc", "repro", "fine-tune", cwd=project, check=False)
    assert said.returncode != 0
    assert "train.seeds: there is no validation row to choose one of 1, 2 by" in said.stdout + said.stderr
