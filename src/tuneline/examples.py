"""The training split as the Trainer reads it: a feature for each index, its own in each epoch where rows are augmented
or the task varies features.

What is random in a feature depends on the seed, the epoch and the index alone, and the order of an epoch on seed and
epoch. So a run that was cut short, be it in the middle of an epoch, and goes on reads what it would have read.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from tokenizers import Tokenizer
from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from tuneline.augmentation import Augmenter
from tuneline.params import Augmentation
from tuneline.tasks.base import Feature, Row, Task

Split = tuple[Sequence[Feature], Sequence[Row]]  # features, and the rows they came from, in the same order


class Examples(Dataset[Feature]):
    """The features of a training split, read by index. tokenizer: cuts at max_length, as the task limits it."""

    def __init__(
        self,
        split: Split,
        task: Task,
        labels: Sequence[str],
        tokenizer: Tokenizer,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.features, self.rows = split
        self.task, self.labels, self.tokenizer, self.seed = task, labels, tokenizer, seed
        self.augmenter = Augmenter(augmentation, tokenizer) if augmentation.is_on else None
        self.row_of = list(accumulate((not feature.get("window") for feature in self.features), initial=-1))[1:]
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Feature:
        random = np.random.default_rng((self.seed, self.epoch, index))
        feature = self.features[index] if self.augmenter is None else self._augmented(index, self.augmenter, random)
        return self.task.varied(feature, self.tokenizer, random)

    def _augmented(self, index: int, augmenter: Augmenter, random: Generator) -> Feature:
        """The feature of an edited row. Of several windows it is the one with the same number, or the last."""
        row, feature = self.rows[self.row_of[index]], self.features[index]
        read = augmenter.read(self.task, row, random)
        if read is row:
            return feature
        windows = self.task.encode(self.tokenizer, [read], self.labels)
        return windows[min(feature.get("window", 0), len(windows) - 1)]


class Order(Sampler[int]):
    """The order of the epoch that the examples are read in. by_length: rows of like length follow each other, in pieces
    of as many as a step reads."""

    def __init__(self, examples: Examples, rows_per_step: int, *, by_length: bool) -> None:
        self.examples, self.rows_per_step, self.by_length = examples, rows_per_step, by_length

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[int]:
        seed = int(np.random.SeedSequence((self.examples.seed, self.examples.epoch)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        if not self.by_length:
            return iter(torch.randperm(len(self), generator=generator).tolist())
        lengths = [len(feature["input_ids"]) for feature in self.examples.features]
        return iter(get_length_grouped_indices(lengths, self.rows_per_step, generator=generator))


class TellEpoch(TrainerCallback):
    """Tell the examples which epoch they are read in."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.examples.epoch = int(state.epoch or 0)
