"""SIGTERM while a model trains: save what is done, then end.

The step that runs is finished and a checkpoint is written, in the middle of the epoch; the next run of the same
training goes on from there, to the same weights. When that takes longer than the grace period, the last one stays.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline.log import report


class SaveAndEnd(TrainerCallback):
    """Once told to end, has the Trainer save after its step; then the process ends as the signal ends one."""

    def __init__(self, grace_seconds: float) -> None:
        self.grace_seconds, self.told = grace_seconds, False

    def tell(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM."""
        if self.told:
            return
        self.told = True
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, self.grace_seconds)
        report("fine-tune", f"was told to end; saves a checkpoint first, for {self.grace_seconds:g} s at most")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.told:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.told:
            report("fine-tune", f"saved step {state.global_step:,}; the next run goes on from there")
            _end()


def _give_up(number: int, frame: FrameType | None) -> None:
    report("fine-tune", "the checkpoint was not written in time; the one before it stays")
    _end()


def _end() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def saved_when_told(callback: SaveAndEnd) -> Iterator[None]:
    """Handle SIGTERM so inside. A grace period of 0 leaves it as it was."""
    if not callback.grace_seconds:
        yield
        return
    before = signal.signal(signal.SIGTERM, callback.tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
