"""Fine-tuning: a model and features in, the best weights and their learning curve out."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tuneline import packing, padding_free
from tuneline.adapters import merged
from tuneline.batching import collator
from tuneline.compiling import compiled
from tuneline.dropout import make_cheap
from tuneline.errors import Diverged
from tuneline.examples import Examples, Order, Split, TellEpoch
from tuneline.inference import Predictor
from tuneline.likelihoods import scored
from tuneline.log import report
from tuneline.losses import BALANCED, DIVERGENCES, LOSSES, Shape, terms
from tuneline.memory import keep_memory, leave_fresh_memory
from tuneline.optimization import in_base, parameter_groups
from tuneline.params import Regularization, Train
from tuneline.precision import has_bf16
from tuneline.regularization import Replay, check, held_back
from tuneline.resuming import KEPT, SinceLogged, last_whole, seal, state_of, tell_disk_needed
from tuneline.tasks.base import Feature, Head, Task
from tuneline.termination import SaveAndEnd, saved_when_told
from tuneline.vocabulary_in_use import in_use


@dataclass(frozen=True)
class Trained:
    """A fine-tuned model, with the points logged on the way."""

    model: Any
    task: Task  # with what was chosen on the validation split
    history: list[dict[str, float]]
    steps: int
    best: dict[str, float]  # validation scores of the weights that were kept; empty without validation
    bf16: bool  # whether it was computed in bfloat16


def fine_tune(
    model: Any, task: Task, labels: list[str], tokenizer: Tokenizer, params: Train, train: Split, validation: Split,
    *, checkpoints: Path, callbacks: list[TrainerCallback], max_length: int | None = None,
) -> Trained:  # fmt: skip
    """Train until the epochs are done or the validation score stops rising; keep the best weights.

    Without validation rows there is no early stopping and the last weights are kept. A run that was cut
    short goes on from its last checkpoint in `checkpoints`; one that had ended gives the same result again.

    max_length: tokens of a block, where the task packs rows into blocks. What is left for a last, shorter one is not
    trained on.
    """
    if task.packed and max_length is not None:
        train = packing.blocks(train[0], max_length, whole=True), train[1]
    torch.use_deterministic_algorithms(True, warn_only=True)
    watching, head = bool(validation[0]), task.head(labels)
    bf16 = has_bf16() if params.bf16 is None else params.bf16
    with _on_threads(params.threads), _sped_up(model, head, params, train[0], bf16=bf16):
        examples = Examples(train, task, labels, tokenizer, params.augmentation, params.seed)
        checkpoints.mkdir(parents=True, exist_ok=True)
        tell_disk_needed(model, checkpoints)
        last = last_whole(checkpoints)
        metric = params.metric_for_best_model or task.metric_in_training
        greater_is_better = task.metrics.get(metric, False)
        check(model, head, params.regularization)
        save_and_end = SaveAndEnd(params.termination_grace_seconds)
        stop_early = EarlyStoppingCallback(params.early_stopping_patience, params.early_stopping_threshold)
        trainer = _Trainer(
            task=task,
            labels=labels,
            head=head,
            shape=_shape(params, train[0], head, len(labels)),
            tokenizer=tokenizer,
            validation=validation,
            max_length=max_length,
            regularization=params.regularization,
            replay=_replay(model, task, labels, tokenizer, params, max_length),
            model=model,
            args=_arguments(params, checkpoints, metric, watching, greater_is_better=greater_is_better, bf16=bf16),
            examples=examples,
            eval_dataset=validation[0] if watching else None,
            data_collator=collator(model, head),
            callbacks=[
                TellEpoch(examples),
                _LogEpochs(),
                _EndWhenLost(),
                *held_back(model, params.regularization),
                *callbacks,
                save_and_end,
                *([stop_early] if watching else []),
            ],
        )
        if last and _had_ended(last):  # the Trainer looks only after another step, which would change the result
            trainer.args.num_train_epochs, trainer.args.max_steps = 0, -1
        if last:
            trainer.add_callback(_GoOnLogging(trainer, SinceLogged.read(last)))
        with saved_when_told(save_and_end):
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        history = [  # sorted as a checkpoint has them, or files of a resumed run would have other bytes
            dict(sorted(point.items())) for point in trainer.state.log_history if "train_runtime" not in point
        ]
        best = _best(history, metric, task)
        plain = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        model = merged(plain) if params.lora is not None and params.lora.merge else plain
        if watching and task.fits:
            predictor = Predictor(task, labels, model, tokenizer, max_length, bf16=bf16)
            outputs = predictor.outputs(validation[0], params.per_device_eval_batch_size)
            task = task.fitted(outputs, *validation, labels)
            scores = task.score(task.decode(outputs, *validation, labels), validation[1], labels).metrics
            best |= {name: value for name, value in scores.items() if name != "loss"}  # which stays that of training
    return Trained(model, task, history, trainer.state.global_step, best, bf16)


@contextmanager
def _on_threads(threads: int | None) -> Iterator[None]:
    """Compute on so many threads inside; None leaves it to torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _sped_up(model: Any, head: Head, params: Train, features: Sequence[Feature], *, bf16: bool) -> Iterator[None]:
    """What makes the steps quick and changes no more of the result than its rounding."""
    keep_memory()
    leave_fresh_memory()
    if torch.cuda.is_available():
        model.to("cuda")  # what is tried must be what runs
    make_cheap(model)
    rereads = params.augmentation.is_on or params.regularization.replay is not None  # then any token may come
    with ExitStack() as parts:
        if head.answers == "logits" and not rereads:
            parts.enter_context(in_use(model, features))
        if params.padding_free:
            why_not = parts.enter_context(padding_free.freed(model, head))
            report("fine-tune", f"batches are padded: {why_not}" if why_not else "batches run without padding")
        if params.torch_compile and bf16 and torch.cuda.is_available():
            parts.enter_context(compiled(model))
        elif params.torch_compile:
            report("fine-tune", "layers are not compiled: that takes a GPU, and bfloat16")
        yield


def _had_ended(checkpoint: Path) -> bool:
    """Whether training had come to its end with this checkpoint: all steps done, or stopped early."""
    callbacks: Any = state_of(checkpoint).stateful_callbacks
    ended: bool = callbacks[TrainerControl.__name__]["args"]["should_training_stop"]
    return ended


class _Trainer(Trainer):
    """The Trainer, with the loss that the head names, and validation by the code that serves the model."""

    def __init__(
        self, *, task: Task, labels: list[str], head: Head, shape: Shape, tokenizer: Tokenizer, validation: Split,
        max_length: int | None, regularization: Regularization, replay: Replay | None, examples: Examples,
        **options: Any,
    ) -> None:  # fmt: skip
        self.task, self.labels, self.head, self.shape, self.validation = task, labels, head, shape, validation
        self.tokenizer, self.max_length = tokenizer, max_length
        self.regularization, self.replay, self.examples = regularization, replay, examples
        self.sum_of_losses = LOSSES[self.head.loss]
        # With a loss function of ours the Trainer counts the labels of a whole step, over accumulated batches.
        super().__init__(compute_loss_func=self.sum_of_losses, train_dataset=examples, **options)

    def compute_loss(  # type: ignore[override]  # the Trainer's return_outputs is for its own evaluation
        self, model: Any, inputs: dict[str, Any], *, num_items_in_batch: torch.Tensor | int | None = None, **_: Any
    ) -> torch.Tensor:
        """The loss of a batch, averaged over all labels of its step."""
        gold = inputs.pop("labels")
        logits, asked = scored(self.head, model, inputs, gold)
        total = self.sum_of_losses(logits.float(), asked, self.shape)
        if self.regularization.r_drop_alpha:
            total = self._with_second_pass(model, inputs, gold, logits.float(), total)
        asked_for = terms(gold) if num_items_in_batch is None else num_items_in_batch
        loss = total / torch.as_tensor(asked_for).clamp(min=1)  # of a step without a label there is nothing to learn
        if self.replay is not None:
            loss = loss + self.replay.loss(model, self.state.global_step) / self.current_gradient_accumulation_steps
        return loss

    def _with_second_pass(
        self, model: Any, inputs: dict[str, Any], gold: torch.Tensor, logits: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """R-Drop: the mean loss of two passes with different dropout, and how far they differ."""
        again, asked = scored(self.head, model, inputs, gold)
        mean = (total + self.sum_of_losses(again.float(), asked, self.shape)) / 2
        return mean + self.regularization.r_drop_alpha * DIVERGENCES[self.head.loss](logits, again.float(), asked)

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        """The Trainer's own draws from the state of the process, which a resumed one has not."""
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps
        by_length = self.args.train_sampling_strategy == "group_by_length"
        return Order(self.examples, rows, by_length=by_length)

    def _save_checkpoint(self, *arguments: Any) -> None:
        """Weights that are no numbers are never saved: a resumed run would go on from them."""
        model: Any = self.model
        if not all(bool(each.isfinite().all()) for each in model.parameters()):
            raise _diverged("a weight is no number", self.state, self.args)
        super()._save_checkpoint(*arguments)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=None)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            SinceLogged(self._tr_loss.item(), self._globalstep_last_logged).write(folder)
            seal(folder)

    def go_on_logging(self, since: SinceLogged) -> None:
        """As if the losses since the last point of the curve had been this process's own."""
        self._tr_loss += since.losses
        self._globalstep_last_logged = since.step

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
        """Validation scores, and the plain loss (no smoothing, no weights).

        Where the loss chooses the weights, no texts are generated for scores that nobody asks for.
        """
        losses: list[float] = []
        counts: list[int] = []

        def watch(logits: torch.Tensor, gold: torch.Tensor) -> None:
            losses.append(float(self.sum_of_losses(logits.float(), gold, Shape())))
            counts.append(terms(gold))

        features, rows = self.validation
        predictor = Predictor(self.task, self.labels, self.model, self.tokenizer, self.max_length, bf16=self.args.bf16)
        batch_size = self.args.per_device_eval_batch_size
        scores: dict[str, float] = {}
        if self.head.answers == "texts" and self.args.metric_for_best_model == "loss":
            predictor.look(features, batch_size, watch)
        else:
            predictions = predictor.predict_features(features, rows, batch_size, watch)
            scores = self.task.score(predictions, rows, self.labels).metrics
        scores |= {"loss": sum(losses) / sum(counts)}
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _EndWhenLost(TrainerCallback):
    """A loss that is no number ends the training. The Trainer would log the mean of those before, and go on."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise _diverged(f"the training loss is {loss}", state, args)


def _diverged(found: str, state: TrainerState, args: TrainingArguments) -> Diverged:
    bf16 = ", or set train.bf16 to false" if args.bf16 else ""
    return Diverged(
        f"fine-tune: {found} after step {state.global_step:,} of {state.max_steps:,} (seed {args.seed}): the training "
        f"has run away. Lower train.learning_rate ({args.learning_rate:g}) or raise train.warmup_steps{bf16}. Nothing "
        "of the steps since the last checkpoint was saved."
    )


class _LogEpochs(TrainerCallback):
    """Log the loss before each checkpoint too. The Trainer forgets what it has not logged when it resumes,
    and the learning curve would differ from that of a run that was never cut short."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True


class _GoOnLogging(TrainerCallback):
    """Give a resumed training the losses that its checkpoint has and no point of the curve."""

    def __init__(self, trainer: _Trainer, since: SinceLogged) -> None:
        self.trainer, self.since = trainer, since

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.go_on_logging(self.since)


def _replay(
    model: Any, task: Task, labels: list[str], tokenizer: Tokenizer, params: Train, max_length: int | None
) -> Replay | None:
    replay = params.regularization.replay
    return None if replay is None else Replay(model, task, labels, tokenizer, replay, params.seed, max_length)


def _shape(params: Train, features: Sequence[Feature], head: Head, labels: int) -> Shape:
    weights = BALANCED[head.loss](features, labels) if params.class_weights == "balanced" else None
    return Shape(params.label_smoothing_factor, weights)


def _arguments(
    params: Train, checkpoints: Path, metric: str, watching: bool, *, greater_is_better: bool, bf16: bool
) -> TrainingArguments:
    strategy = "epoch" if watching else "no"
    return TrainingArguments(
        output_dir=str(checkpoints),
        **params.training_arguments(),
        bf16=bf16,
        logging_nan_inf_filter=False,
        eval_strategy=strategy,
        save_strategy="epoch",
        save_total_limit=KEPT,
        load_best_model_at_end=watching,
        metric_for_best_model=metric if watching else None,
        greater_is_better=greater_is_better if watching else None,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        label_names=["labels"],  # whatever a model's own forward calls them
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"non_blocking": torch.cuda.is_available()},
        disable_tqdm=False,
    )


def _best(history: Sequence[dict[str, float]], metric: str, task: Task) -> dict[str, float]:
    evaluations = [point for point in history if f"eval_{metric}" in point]
    if not evaluations:
        return {}
    sign = 1 if task.metrics.get(metric, False) else -1
    best = max(evaluations, key=lambda point: sign * point[f"eval_{metric}"])
    kept = {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")}
    return {name: value for name, value in kept.items() if name == "loss" or name in task.metrics}
