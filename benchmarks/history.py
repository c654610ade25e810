"""What a long history in MLflow costs: the same calls in a store with nothing in it, and in one with 1,000 runs.

    python benchmarks/history.py [--runs 1000] [--versions 200] [--rounds 5]

Each store is a sqlite file of its own. In the long one each version is one of the runs, has its decision in the ledger,
and every fourth became champion. Prints a Markdown table of milliseconds, the median of the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tuneline import listings, promotion, registry, tracking
from tuneline.gate import Decision

MODEL = "long"
CHAMPIONS = 4  # each of so many versions becomes champion


def make_history(client: MlflowClient, runs: int, versions: int) -> None:
    """Finished runs, with digests digest-0, digest-1, ...; the first of them are versions, with a ledger of their
    decisions."""
    experiment, found = tracking.experiment_id(client, "tuneline"), []
    for number in range(runs):
        tags = {tracking.DIGEST: f"digest-{number}", tracking.COMPLETE: "yes"}
        run_id = client.create_run(experiment, tags=tags, run_name=f"run {number}").info.run_id
        metrics = [Metric(name, number / runs, 0, step) for name in ("train_loss", "accuracy") for step in range(5)]
        client.log_batch(run_id, metrics, [Param(f"train.{key}", str(key)) for key in range(20)], [RunTag("a", "tag")])
        client.set_terminated(run_id)
        found.append(run_id)
    client.create_registered_model(MODEL)
    client.log_text(found[0], "a model", "model/MLmodel")
    source = f"{client.get_run(found[0]).info.artifact_uri}/model"
    for number in range(versions):
        tags = {registry.MODEL_DIGEST: f"model-{number}", tracking.DIGEST: f"digest-{number}"}
        version = client.create_model_version(MODEL, source, found[number], tags=tags, await_creation_for=0)
        judge(client, version, "promoted" if number % CHAMPIONS == 0 else "kept")


def judge(client: MlflowClient, version: Any, outcome: str) -> None:
    with registry.registry_lock(MODEL):
        promotion.judge(client, version, lambda _: Decision(outcome, "as planned", "accuracy", 0.9))


def calls(client: MlflowClient, folder: Path) -> dict[str, Callable[[int], Any]]:
    """What is timed, by name. Each gets the number of the round, and changes as much as a run of tuneline does."""
    experiment = tracking.experiment_id(client, "tuneline")

    def register(round_: int) -> None:
        """A run, a version and a decision, all new."""
        digest = f"new-{round_}"
        run_id = tracking.ensure_run(client, experiment, digest, {"seed": round_}, [{"step": 1, "train_loss": 0.5}])
        version, _ = registry.ensure_version(client, MODEL, run_id, folder, digest, {tracking.DIGEST: digest})
        judge(client, version, "promoted")

    return {
        "connect": lambda _: tracking.connect(),
        "find_run": lambda _: tracking.find_run(client, experiment, "digest-0"),
        "find_version": lambda _: registry.find_version(client, MODEL, "model-0"),
        "register a new model": register,
        "tuneline promote": lambda round_: promotion.promote(MODEL, 1 + round_ % 2, reason="benchmark"),
        "tuneline models": lambda _: listings.models(None),
        "tuneline models NAME": lambda _: listings.models(MODEL),
        "tuneline history NAME": lambda _: listings.history(MODEL),
    }


def measured(runs: int, versions: int, rounds: int) -> dict[str, float]:
    """Call → milliseconds, in a store with such a history."""
    with tempfile.TemporaryDirectory(prefix="tuneline-history-") as place:
        os.chdir(place)
        folder = Path(place) / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{}\n")
        client = tracking.connect()
        make_history(client, runs, versions)
        found: dict[str, list[float]] = {}
        for round_ in range(rounds + 1):  # the first warms up
            for name, call in calls(client, folder).items():
                began = time.perf_counter()
                call(round_)
                found.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        os.chdir("/")
    return {name: statistics.median(each[1:]) for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:  # MLflow keeps what it knows of a store
        sizes = ((2, 2), (options.runs, options.versions))
        short, long = processes.starmap(measured, [(*size, options.rounds) for size in sizes], chunksize=1)
    print(f"| ms | 2 runs, 2 versions | {options.runs:,} runs, {options.versions:,} versions | times |")
    print("|---|---|---|---|")
    for name in short:
        print(f"| {name} | {short[name]:.0f} | {long[name]:.0f} | {long[name] / short[name]:.1f} |")


if __name__ == "__main__":
    main()
