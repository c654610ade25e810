"""A training that is ended and run again gives the bytes of one that was not: for every task, in every way to train.

Each one is killed in mid-epoch after its first checkpoint, goes on, is told to end in the middle of an epoch, and goes
on to its end.
"""

import gc
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transformers import TrainerCallback

from tests.tasks.test_contract import CASES, MAX_LENGTH, case_of
from tuneline import curves
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.modelling import initial_model
from tuneline.params import Model, Train
from tuneline.resuming import SEAL, last_whole
from tuneline.training import Trained, fine_tune

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lora": {"lora": {"r": 4, "target_modules": "all-linear", "lora_dropout": 0.1}},
    "accumulation": {"gradient_accumulation_steps": 2},
    "augmentation": {"augmentation": {"word_dropout": 0.2, "word_swap": 0.2, "masking": 0.1, "typos": 0.2}},
}
WAYS["all of it"] = {name: value for way in WAYS.values() for name, value in way.items()}
TOGETHER = [
    (key, way)
    for key in CASES
    for way, params in WAYS.items()
    if "augmentation" not in params or case_of(key)["task"].edited
]
EPOCHS = 3
BLOCK = 4  # tokens, of a task that packs rows into blocks: these rows fill a dozen
STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors", "adapter_model.safetensors")


class End(NamedTuple):
    """A signal that comes when a step is done."""

    step: int
    number: signal.Signals


class Ended(TrainerCallback):
    def __init__(self, end: End) -> None:
        self.end = end

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.end.step:
            os.kill(os.getpid(), self.end.number)


def train(key: str, way: str, checkpoint: Path, folder: Path, end: End | None = None) -> Trained:
    """The toy checkpoint trained on the rows of a case, two in a batch, with dropout, in three epochs."""
    case, tokenizer = case_of(key), load_tokenizer(checkpoint)
    task, rows = case["task"], [*case["rows"], *case["learned"]]
    labels = task.labels(rows)
    task.limit(tokenizer, MAX_LENGTH)
    params = Train.model_validate({
        "learning_rate": 0.005, "num_train_epochs": EPOCHS, "per_device_train_batch_size": 2, "logging_steps": 4,
        "early_stopping_patience": EPOCHS, "threads": 1, **WAYS[way],
    })  # fmt: skip
    start = Model(checkpoint=str(checkpoint), dropout=0.1)
    model = initial_model(find_checkpoint(start), task.head(labels), start, 0, params.lora)
    split = task.encode(tokenizer, rows, labels), rows
    return fine_tune(
        model, task, labels, tokenizer, params, split, split,
        checkpoints=folder, callbacks=[Ended(end)] if end else [], max_length=BLOCK if task.packed else MAX_LENGTH,
    )  # fmt: skip


# -- processes that are ended -----------------------------------------------------------------------------------------


def forks(orders: Connection) -> None:
    """Train in one fork after another, and answer how each ended: to import torch takes every new process seconds."""
    gc.freeze()
    while order := orders.recv():
        pid = os.fork()
        if pid == 0:
            train(*order)
            os._exit(0)
        orders.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


@pytest.fixture(scope="module")
def trainings() -> Iterator[Connection]:
    """Takes orders for trainings in processes of their own. What is loaded by now is not searched for garbage: the
    Trainer has it searched at each end, which takes longer than these trainings."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=forks, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    gc.freeze()
    yield ours
    gc.unfreeze()
    ours.send(None)
    process.join(20)


def test_every_task_is_tried() -> None:
    assert {key for key, _ in TOGETHER} == set(CASES)


@pytest.mark.parametrize(("key", "way"), TOGETHER, ids=[f"{key}-{way}" for key, way in TOGETHER])
def test_a_training_that_is_killed_and_then_told_to_end_goes_on_to_the_same_bytes(
    key: str, way: str, toy_checkpoint: Path, tmp_path: Path, trainings: Connection
) -> None:
    whole = train(key, way, toy_checkpoint, tmp_path / "whole")
    cut, epoch = tmp_path / "cut", whole.steps // EPOCHS
    assert epoch > 2, "no step is in the middle of an epoch"
    for end, left in (
        (End(epoch + 1, signal.SIGKILL), epoch),  # the checkpoint of the first epoch
        (End(epoch + 2, signal.SIGTERM), epoch + 2),  # one that is saved in the middle of the second
    ):
        trainings.send((key, way, toy_checkpoint, cut, end))
        assert trainings.recv() == -end.number
        assert last_whole(cut) == cut / f"checkpoint-{left}"
    resumed = train(key, way, toy_checkpoint, cut)
    assert bytes_of(whole) == bytes_of(resumed)
    assert curves.from_history(whole.history) == curves.from_history(resumed.history)
    assert (whole.steps, whole.best, whole.task) == (resumed.steps, resumed.best, resumed.task)
    assert state_at(whole.steps, tmp_path / "whole") == state_at(whole.steps, cut)


def bytes_of(trained: Trained) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in trained.model.state_dict().items()}


def state_at(step: int, checkpoints: Path) -> dict[str, str]:
    """Digests of what training would go on with: the last weights, which need not be the best, and all beside them."""
    sealed = json.loads((checkpoints / f"checkpoint-{step}" / SEAL).read_text())
    found = {name: digest for name, digest in sealed.items() if name in STATE}
    assert len(found) == len(STATE) - 1
    return found
