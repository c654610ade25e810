"""Take the pictures of docs/operations.md from a running Prefect UI, in headless Chromium.

    PREFECT_API_URL=http://127.0.0.1:4200/api python docs/pictures/take.py RUN_NAME

RUN_NAME is a run of the deployment fine-tune that has finished. Needs `chromium` on PATH.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

API = os.environ["PREFECT_API_URL"]
UI = API.removesuffix("/api")
HERE = Path(__file__).parent
QUIET = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-quic")  # fmt: skip


def main(name: str) -> None:
    deployment = httpx.get(f"{API}/deployments/name/fine-tune/fine-tune").json()
    run = _first("flow_runs/filter", flow_runs={"name": {"any_": [name]}})
    pictures = {
        "form": (f"deployments/deployment/{deployment['id']}/run", 1200, 1500),
        "run": (f"runs/flow-run/{run['id']}", 1200, 1100),
    }
    for key, height in (("parameters", 1250), ("metrics", 700), ("decision", 700), ("learning-curve", 900),
                        ("confusion-matrix", 600)):  # fmt: skip
        chosen = {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": [key]}}
        artifact = _first("artifacts/filter", artifacts=chosen)
        pictures[key] = (f"artifacts/artifact/{artifact['id']}", 1200, height)
    for picture, (page, width, height) in pictures.items():
        _take(f"{UI}/{page}", HERE / f"{picture}.png", width, height)
        print(HERE / f"{picture}.png")


def _first(path: str, **body: Any) -> Any:
    return httpx.post(f"{API}/{path}", json=body).raise_for_status().json()[0]


def _take(address: str, picture: Path, width: int, height: int) -> None:
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless", *as_root, *QUIET, f"--user-data-dir={profile}", "--hide-scrollbars",
             f"--window-size={width},{height}", "--virtual-time-budget=20000", f"--screenshot={picture}", address],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
