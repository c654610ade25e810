"""What a flow run costs over `dvc repro` of the same stages, and what a task costs by itself.

    python benchmarks/flow_overhead.py [--rounds 3]

Starts `tuneline up` for a clone of this checkout's HEAD, then takes turns: a bare `dvc repro` of all five stages in
a fresh clone with a fresh cache, and a flow run of the same params from its creation to its final state. Each
round has params of its own, so that nothing comes from a cache. Prints seconds, differences and their spread.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
TASK = """
import time
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

@task(cache_policy=NO_CACHE, persist_result=False, retries=3)
def nothing():
    pass

@flow
def tasks():
    nothing()
    began = time.perf_counter()
    for _ in range(50):
        nothing()
    print("milliseconds a task:", round((time.perf_counter() - began) * 1000 / 50, 1))

tasks()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def small(round_: int) -> dict[str, Any]:
    """Overrides of a short run; each round differs from validate on."""
    return {
        "data.max_rows.train": 200 + round_,
        "data.max_rows.test": 40,
        "train.num_train_epochs": 1,
        "register.name": f"overhead-{round_}",
    }


def set_params(folder: Path, overrides: dict[str, Any]) -> None:
    path = folder / "params.yaml"
    document = YAML().load(path)
    for name, value in overrides.items():
        *sections, key = name.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    YAML().dump(document, path)


def bare(place: Path, round_: int) -> float:
    """Seconds of `dvc repro` in a fresh clone."""
    clone = place / f"bare-{round_}"
    subprocess.run(["git", "clone", "-q", str(place / "origin"), str(clone)], check=True)
    set_params(clone, small(round_))
    began = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(clone / "src")}
    subprocess.run(["dvc", "repro"], cwd=clone, check=True, capture_output=True, env=env)
    return time.perf_counter() - began


def flow(api: str, round_: int) -> float:
    """Seconds from the creation of a flow run to its final state."""
    deployment = httpx.get(f"{api}/deployments/name/fine-tune/fine-tune").json()
    began = time.perf_counter()
    body = {"parameters": {"overrides": small(round_)}, "state": {"type": "SCHEDULED"}}
    reply = httpx.post(f"{api}/deployments/{deployment['id']}/create_flow_run", json=body)
    run_id = reply.raise_for_status().json()["id"]
    while True:
        state = httpx.get(f"{api}/flow_runs/{run_id}").json()["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            break
        time.sleep(0.05)
    assert state["type"] == "COMPLETED", state
    return time.perf_counter() - began


@contextmanager
def servers(place: Path) -> Iterator[str]:
    """`tuneline up` for the clone; the API's address."""
    port, mlflow_port = free_port(), free_port()
    origin = place / "origin"
    env = {**os.environ, "PYTHONPATH": f"{origin}{os.pathsep}{origin / 'src'}", "TUNELINE_HOME": str(place / "home"),
           "PREFECT_HOME": str(place / "prefect")}  # fmt: skip
    command = ["tuneline", "up", "--prefect-port", str(port), "--mlflow-port", str(mlflow_port)]
    up = subprocess.Popen(command, cwd=origin, env=env, stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    for line in up.stdout:
        if "Ctrl-C" in line:
            break
    try:
        yield f"http://127.0.0.1:{port}/api"
    finally:
        up.send_signal(signal.SIGINT)
        up.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run(["git", "clone", "-q", str(ROOT), str(place / "origin")], check=True)
        differences = []
        with servers(place) as api:
            for round_ in range(rounds + 1):
                alone, under_prefect = bare(place, round_), flow(api, round_)
                if round_:  # the first warms the disk
                    differences.append(under_prefect - alone)
                print(f"round {round_}: dvc repro {alone:.1f} s, flow {under_prefect:.1f} s", flush=True)
            env = {**os.environ, "PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "ERROR"}
            subprocess.run([sys.executable, "-c", TASK], env=env, check=True)
        spread = f"{min(differences):.1f} to {max(differences):.1f}"
        print(f"a flow costs {statistics.median(differences):.1f} s over dvc repro ({spread}), {rounds} rounds")


if __name__ == "__main__":
    main()
