"""What holds training back: frozen layers, layers that thaw one by one, a pull to the start, replay of general text.

What of it is on stands in `train.regularization`. Each part depends on the seed, the step and the start weights alone,
so a run that was cut short and goes on does what it would have done.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline import packing
from tuneline.batching import PadBatch, token_means
from tuneline.errors import ParamsError
from tuneline.general import pinned_lines
from tuneline.likelihoods import scored
from tuneline.losses import DIVERGENCES, LOSSES, Shape, terms
from tuneline.optimization import anatomy, encoder_of
from tuneline.params import Regularization
from tuneline.params import Replay as ReplayParams
from tuneline.tasks.base import Feature, Head, Task

SECTION = "train.regularization"


def check(model: Any, head: Head, params: Regularization) -> None:
    """Raise ParamsError with every option that this model or its head cannot have."""
    problems = []
    layers = anatomy(model).layers
    if params.freeze_layers > layers:
        problems.append(f"{SECTION}.freeze_layers: is {params.freeze_layers}, but this checkpoint has {layers} layers.")
    if params.r_drop_alpha and head.loss not in DIVERGENCES:
        problems.append(f"{SECTION}.r_drop_alpha: there is no divergence that fits the loss {head.loss}. Set it to 0.")
    if params.r_drop_alpha and not _has_dropout(model):
        problems.append(
            f"{SECTION}.r_drop_alpha: the model has no dropout, so two passes never differ. Set model.dropout, or "
            "r_drop_alpha: 0."
        )
    if problems:
        raise ParamsError("\n".join(problems))


def _has_dropout(model: nn.Module) -> bool:
    return any(module.p > 0 for module in model.modules() if isinstance(module, nn.Dropout))


def held_back(model: Any, params: Regularization) -> list[TrainerCallback]:
    """Freeze what params freeze for good, and give the callbacks that do the rest while the model trains."""
    _freeze(model, params)
    callbacks: list[TrainerCallback] = []
    if params.gradual_unfreezing is not None:
        callbacks.append(GradualUnfreezing(model, params.gradual_unfreezing))
    if params.l2_sp:
        callbacks.append(PullToStart(model, params.l2_sp))
    return callbacks


def _freeze(model: nn.Module, params: Regularization) -> None:
    if not (params.freeze_embeddings or params.freeze_layers):
        return
    depth = anatomy(model).depth
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(depth[name] > params.freeze_layers)


class GradualUnfreezing(TrainerCallback):
    """The head alone learns at first; after every so many epochs one layer more, from the top, the embeddings last.

    Howard and Ruder 2018 (arXiv:1801.06146), where a layer thaws each epoch. What is frozen for good stays so.
    """

    def __init__(self, model: nn.Module, epochs_per_layer: float) -> None:
        self.epochs_per_layer = epochs_per_layer
        depth = anatomy(model).depth
        self.parts = [(depth[name], each) for name, each in model.named_parameters() if each.requires_grad]
        self.top = max(depth for depth, _ in self.parts)  # the top layer where the head is the embeddings again

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        thawed = int((state.epoch or 0) / self.epochs_per_layer + 1e-9)
        for depth, parameter in self.parts:
            parameter.requires_grad_(depth >= self.top - thawed)


class PullToStart(TrainerCallback):
    """L2-SP (Li et al. 2018, arXiv:1802.01483): weights of the base model decay towards their start, not to zero.

    Decoupled from the gradient, as AdamW's weight decay is (Loshchilov and Hutter 2019, arXiv:1711.05101): before each
    step, w moves learning rate * strength of the way back.
    """

    def __init__(self, model: Any, strength: float) -> None:
        self.strength = strength
        base = model.base_model.parameters()
        self.start = {parameter: parameter.detach().clone() for parameter in base if parameter.requires_grad}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.start = {parameter: start.to(parameter.device) for parameter, start in self.start.items()}

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for group in kwargs["optimizer"].param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad and parameter in self.start:
                    parameter.lerp_(self.start[parameter], group["lr"] * self.strength)


class Replay:
    """A loss on general text, beside that of the task.

    Where the task predicts the text itself (a language model), it is the task's own loss on general text: rehearsal
    (Robins 1995; for language models de Masson d'Autume et al. 2019, arXiv:1906.01076). Any other encoder
    keeps its embeddings of general text near those of the start weights: 1 - cosine of the means over tokens, the old
    responses as targets, as in Learning without Forgetting (Li and Hoiem 2016, arXiv:1606.09282).
    """

    def __init__(
        self, model: Any, task: Task, labels: list[str], tokenizer: Tokenizer, params: ReplayParams, seed: int,
        max_length: int | None = None,
    ) -> None:  # fmt: skip
        self.task, self.head, self.tokenizer, self.params, self.seed = task, task.head(labels), tokenizer, params, seed
        self.collate = PadBatch(model.config.pad_token_id or 0)
        self.drawn = (-1, 0)  # step, batches drawn in it
        texts = general_texts(params)
        self.writes = not task.gold
        if self.writes:
            features = task.encode(tokenizer, [dict.fromkeys(task.columns, text) for text in texts], labels)
            self.features = features if max_length is None else packing.blocks(features, max_length)
        else:
            self.features = _encoded(tokenizer, texts)
            self.start = self._embeddings_by_batch(model)

    def loss(self, model: Any, step: int) -> torch.Tensor:
        """Mean loss of a batch of general texts, in nats or as 1 - cosine, times its weight. step: of the optimizer."""
        random = self._random(step)
        size = min(self.params.per_device_train_batch_size, len(self.features))
        positions = random.choice(len(self.features), size, replace=False).tolist()
        loss = self._written(model, positions, random) if self.writes else self._moved(model, positions)
        return loss * self.params.weight

    def _random(self, step: int) -> np.random.Generator:
        """Another one for each batch that is accumulated into a step."""
        self.drawn = (step, self.drawn[1] + 1 if self.drawn[0] == step else 0)
        return np.random.default_rng((self.seed, *self.drawn))

    def _written(self, model: Any, positions: Sequence[int], random: np.random.Generator) -> torch.Tensor:
        varied = [self.task.varied(self.features[i], self.tokenizer, random) for i in positions]
        batch = self.collate.on(model.device, varied)
        gold = batch.pop("labels")
        logits, asked = scored(self.head, model, batch, gold)
        return LOSSES[self.head.loss](logits.float(), asked, Shape()) / max(terms(gold), 1)

    def _moved(self, model: Any, positions: Sequence[int]) -> torch.Tensor:
        start = self.start[torch.as_tensor(positions)].to(model.device)
        model.eval()  # dropout moves an embedding, too, and that is no forgetting
        now = embeddings(model, self.collate.on(model.device, [self.features[i] for i in positions]))
        model.train()
        return (1 - functional.cosine_similarity(now, start)).mean()

    @torch.no_grad()
    def _embeddings_by_batch(self, model: Any, size: int = 64) -> torch.Tensor:
        model.eval()
        starts = range(0, len(self.features), size)
        parts = [self.collate.on(model.device, self.features[start : start + size]) for start in starts]
        return torch.cat([embeddings(model, batch).cpu() for batch in parts])


def embeddings(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean over the tokens of the encoder's last layer, (batch, hidden). Padding does not count."""
    return token_means(encoder_of(model)(**batch).last_hidden_state, batch["attention_mask"])


def general_texts(params: ReplayParams) -> list[str]:
    """The texts to replay. ParamsError when there are none."""
    texts = pinned_lines(Path(params.text), params.sha256, f"{SECTION}.replay")
    if not texts:
        raise ParamsError(f"{SECTION}.replay.text: {params.text} has only blank lines. Expected one text a line.")
    return texts


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Feature]:
    """Each text by itself, cut at the length that the task cuts at."""
    single = Tokenizer.from_str(tokenizer.to_str())
    single.enable_truncation((tokenizer.truncation or {"max_length": 128})["max_length"])
    return [{"input_ids": encoding.ids} for encoding in single.encode_batch(texts)]
