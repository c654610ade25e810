"""Several trainings that differ in their seed alone. The one that is best on validation is kept.

seeds               [{"seed": 1, "best": {"accuracy": 0.88, "loss": 0.34}}, {"seed": 2, "best": {"accuracy": ...
chosen              2
mean                {"accuracy": 0.89, "loss": 0.32}
standard_deviation  {"accuracy": 0.014, "loss": 0.02}
"""

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Protocol, TypeVar

Scores = dict[str, float]
SPREAD = {"mean": "mean", "sd": "standard_deviation"}  # as MLflow names them, and training.json


class Scored(Protocol):
    """A training that is done."""

    @property
    def best(self) -> Scores:
        """Validation scores of the weights that were kept."""


T = TypeVar("T", bound=Scored)


def best_of(
    seeds: Sequence[int], train: Callable[[int], T], metric: str, *, higher_is_better: bool
) -> tuple[T, dict[str, Any]]:
    """Train with each seed in turn; the best training by a validation metric, and what is recorded of all.

    One model is in memory at a time, so the chosen one is asked for again: `train` must give the same result a second
    time (from its last checkpoint, in seconds).
    """
    of_seed = {seed: _scores_of(seed, train) for seed in seeds}
    chosen = best_seed(of_seed, metric, higher_is_better=higher_is_better)
    return train(chosen), summary(of_seed, chosen)


def _scores_of(seed: int, train: Callable[[int], T]) -> Scores:
    scores = train(seed).best
    gc.collect()  # a Trainer and its callbacks hold each other; the next one needs the memory
    return scores


def best_seed(of_seed: Mapping[int, Scores], metric: str, *, higher_is_better: bool) -> int:
    """The seed with the best value of a metric, the first of equally good ones. One that is no number is the worst."""

    def rank(seed: int) -> float:
        value = of_seed[seed][metric]
        return -math.inf if math.isnan(value) else value if higher_is_better else -value

    return max(of_seed, key=rank)


def summary(of_seed: Mapping[int, Scores], chosen: int) -> dict[str, Any]:
    """What training.json says of the seeds. Mean and standard deviation (of a sample) are those of the metrics that all
    seeds have."""
    shared = [name for name in of_seed[chosen] if all(name in scores for scores in of_seed.values())]
    values = {name: [scores[name] for scores in of_seed.values()] for name in shared}
    return {
        "seeds": [{"seed": seed, "best": scores} for seed, scores in of_seed.items()],
        "chosen": chosen,
        "mean": {name: fmean(each) for name, each in values.items()},
        "standard_deviation": {name: stdev(each) for name, each in values.items()},
    }


def recorded(training: Mapping[str, Any]) -> dict[str, Any]:
    """What training.json says of the seeds; nothing of a training with one seed."""
    parts = ("seeds", "chosen", "mean", "standard_deviation")
    return {name: training[name] for name in parts if name in training}


def named_scores(training: Mapping[str, Any]) -> Scores:
    """The scores of each seed, their mean and their standard deviation as MLflow keeps them: seed_1_accuracy,
    seeds_mean_accuracy, seeds_sd_accuracy. None of a training with one seed."""
    of_each = {f"seed_{each['seed']}": each["best"] for each in training.get("seeds", ())}
    spread = {f"seeds_{short}": training.get(name, {}) for short, name in SPREAD.items()}
    return {f"{what}_{name}": value for what, scores in {**of_each, **spread}.items() for name, value in scores.items()}
