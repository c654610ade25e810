"""The training split as the Trainer reads it: a feature for each index, its own in each epoch where the task varies it.

What is random in a feature depends on the seed, the epoch and the index alone. So a run that was cut short and goes
on reads what it would have read.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline.tasks.base import Feature, Row, Task

Split = tuple[Sequence[Feature], Sequence[Row]]  # features, and the rows they came from, in the same order


class Examples(Dataset[Feature]):
    """The features of a training split; `length` lets the Trainer group them by it."""

    def __init__(self, split: Split, task: Task, tokenizer: Tokenizer, seed: int) -> None:
        self.features, self.rows = split
        self.task, self.tokenizer, self.seed = task, tokenizer, seed
        self.epoch = 0
        self.column_names = ["length"]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Feature:
        random = np.random.default_rng((self.seed, self.epoch, index))
        return self.task.varied(self.features[index], self.tokenizer, random)


class TellEpoch(TrainerCallback):
    """Tell the examples which epoch they are read in."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.examples.epoch = int(state.epoch or 0)
