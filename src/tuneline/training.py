"""Fine-tuning: a model and features in, the best weights and their learning curve out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from tuneline.adapters import merged
from tuneline.batching import PadBatch, logits_of
from tuneline.examples import Examples, Split, TellEpoch
from tuneline.inference import Predictor
from tuneline.losses import DIVERGENCES, LOSSES, Shape, balanced, terms
from tuneline.optimization import in_base, parameter_groups
from tuneline.params import Regularization, Train
from tuneline.regularization import Replay, check, held_back
from tuneline.tasks.base import Feature, Task


@dataclass(frozen=True)
class Trained:
    """A fine-tuned model, with the points logged on the way."""

    model: Any
    task: Task  # with what was chosen on the validation split
    history: list[dict[str, float]]
    steps: int
    best: dict[str, float]  # validation scores of the weights that were kept; empty without validation


def fine_tune(
    model: Any, task: Task, labels: list[str], tokenizer: Tokenizer, params: Train, train: Split, validation: Split,
    *, checkpoints: Path, callbacks: list[TrainerCallback],
) -> Trained:  # fmt: skip
    """Train until the epochs are done or the validation score stops rising; keep the best weights.

    Without validation rows there is no early stopping and the last weights are kept. A run that was cut
    short goes on from its last checkpoint in `checkpoints`.
    """
    if params.threads:
        torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    examples, watching = Examples(train, task, tokenizer, params.seed), bool(validation[0])
    metric = params.metric_for_best_model or task.default_metric
    check(model, task.head(labels), params.regularization)
    stop_early = EarlyStoppingCallback(params.early_stopping_patience, params.early_stopping_threshold)
    trainer = _Trainer(
        task=task,
        labels=labels,
        shape=_shape(params, train[0], len(labels)),
        validation=validation,
        regularization=params.regularization,
        replay=_replay(model, task, labels, tokenizer, params),
        model=model,
        args=_arguments(params, checkpoints, metric, watching, greater_is_better=task.metrics[metric]),
        train_dataset=examples,
        eval_dataset=validation[0] if watching else None,
        data_collator=PadBatch(model.config.pad_token_id or 0),
        callbacks=[
            TellEpoch(examples),
            _LogEpochs(),
            *held_back(model, params.regularization),
            *callbacks,
            *([stop_early] if watching else []),
        ],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None)
    history = [point for point in trainer.state.log_history if "train_runtime" not in point]
    best = _best(history, metric, task)
    model = merged(trainer.model) if params.lora is not None and params.lora.merge else trainer.model
    if watching and task.fits:
        outputs = Predictor(task, labels, model, None).outputs(validation[0], params.per_device_eval_batch_size)
        task = task.fitted(outputs, *validation, labels)
        best |= task.score(task.decode(outputs, *validation, labels), validation[1], labels).metrics
    return Trained(model, task, history, trainer.state.global_step, best)


class _Trainer(Trainer):
    """The Trainer, with the loss that the head names, and validation by the code that serves the model."""

    def __init__(
        self, *, task: Task, labels: list[str], shape: Shape, validation: Split, regularization: Regularization,
        replay: Replay | None, **options: Any,
    ) -> None:  # fmt: skip
        self.task, self.labels, self.shape, self.validation = task, labels, shape, validation
        self.regularization, self.replay = regularization, replay
        self.head = task.head(labels)
        self.sum_of_losses = LOSSES[self.head.loss]
        # With a loss function of ours the Trainer counts the labels of a whole step, over accumulated batches.
        super().__init__(compute_loss_func=self.sum_of_losses, **options)

    def compute_loss(  # type: ignore[override]  # the Trainer's return_outputs is for its own evaluation
        self, model: Any, inputs: dict[str, Any], *, num_items_in_batch: torch.Tensor | int | None = None, **_: Any
    ) -> torch.Tensor:
        """The loss of a batch, averaged over all labels of its step."""
        gold = inputs.pop("labels")
        logits = logits_of(self.head, model(**inputs), inputs["attention_mask"]).float()
        total = self.sum_of_losses(logits, gold, self.shape)
        if self.regularization.r_drop_alpha:
            total = self._with_second_pass(model, inputs, gold, logits, total)
        loss = total / (terms(gold) if num_items_in_batch is None else num_items_in_batch)
        if self.replay is not None:
            loss = loss + self.replay.loss(model, self.state.global_step) / self.current_gradient_accumulation_steps
        return loss

    def _with_second_pass(
        self, model: Any, inputs: dict[str, Any], gold: torch.Tensor, logits: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """R-Drop: the mean loss of two passes with different dropout, and how far they differ."""
        again = logits_of(self.head, model(**inputs), inputs["attention_mask"]).float()
        mean = (total + self.sum_of_losses(again, gold, self.shape)) / 2
        return mean + self.regularization.r_drop_alpha * DIVERGENCES[self.head.loss](logits, again, gold)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW. With layer-wise rates, or a pull to the start in place of weight decay, the groups are ours."""
        rules = self.regularization
        if rules.layerwise_lr_decay == 1 and not rules.l2_sp:
            return super().create_optimizer(model)
        whole: Any = self.model
        decayed = set(self.get_decay_parameter_names(whole))
        if rules.l2_sp:
            decayed -= in_base(whole)
        groups = parameter_groups(
            whole, learning_rate=self.args.learning_rate, layerwise_lr_decay=rules.layerwise_lr_decay,
            weight_decay=self.args.weight_decay, decayed=decayed,
        )  # fmt: skip
        optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, whole)
        self.optimizer = optimizer_class(groups, **options)
        return self.optimizer

    def evaluate(self, *_: Any, **options: Any) -> dict[str, float]:
        """Validation scores, and the plain loss (no smoothing, no weights)."""
        losses: list[float] = []
        counts: list[int] = []

        def watch(logits: torch.Tensor, gold: torch.Tensor) -> None:
            losses.append(float(self.sum_of_losses(logits.float(), gold, Shape())))
            counts.append(terms(gold))

        features, rows = self.validation
        predictor = Predictor(self.task, self.labels, self.model, None)
        predictions = predictor.predict_features(features, rows, self.args.per_device_eval_batch_size, watch)
        scores = self.task.score(predictions, rows, self.labels).metrics | {"loss": sum(losses) / sum(counts)}
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _LogEpochs(TrainerCallback):
    """Log the loss before each checkpoint too. The Trainer forgets what it has not logged when it resumes,
    and the learning curve would differ from that of a run that was never cut short."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True


def _replay(model: Any, task: Task, labels: list[str], tokenizer: Tokenizer, params: Train) -> Replay | None:
    replay = params.regularization.replay
    return None if replay is None else Replay(model, task, labels, tokenizer, replay, params.seed)


def _shape(params: Train, features: Sequence[Feature], labels: int) -> Shape:
    weights = balanced(features, labels) if params.class_weights == "balanced" else None
    return Shape(params.label_smoothing_factor, weights)


def _arguments(
    params: Train, checkpoints: Path, metric: str, watching: bool, *, greater_is_better: bool
) -> TrainingArguments:
    strategy = "epoch" if watching else "no"
    return TrainingArguments(
        output_dir=str(checkpoints),
        **params.training_arguments(),
        eval_strategy=strategy,
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=watching,
        metric_for_best_model=metric if watching else None,
        greater_is_better=greater_is_better if watching else None,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        label_names=["labels"],  # whatever a model's own forward calls them
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=False,
    )


def _best(history: Sequence[dict[str, float]], metric: str, task: Task) -> dict[str, float]:
    evaluations = [point for point in history if f"eval_{metric}" in point]
    if not evaluations:
        return {}
    sign = 1 if task.metrics[metric] else -1
    best = max(evaluations, key=lambda point: sign * point[f"eval_{metric}"])
    kept = {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")}
    return {name: value for name, value in kept.items() if name == "loss" or name in task.metrics}
