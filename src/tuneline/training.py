"""Fine-tuning: a checkpoint and features in, the best weights and their learning curve out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from tuneline.batching import PadBatch, logits_of
from tuneline.checkpoints import Checkpoint
from tuneline.params import Model, Train
from tuneline.tasks.base import IGNORED_LABEL, Feature, Head, Row, Task, by_row

Split = tuple[Sequence[Feature], Sequence[Row]]  # features, and the rows they came from, in the same order


@dataclass(frozen=True)
class Trained:
    """A fine-tuned model, with the points logged on the way."""

    model: Any
    history: list[dict[str, float]]
    steps: int
    best: dict[str, float]  # validation scores of the weights that were kept; empty without validation


def load_model(checkpoint: Checkpoint, head: Head, model: Model, seed: int) -> Any:
    """The checkpoint with a fresh head, seeded. Weights are read from safetensors only."""
    set_seed(seed)
    transformers.utils.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **head.config)
    for value, names in (
        (model.dropout, ("hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout")),
        (model.attention_dropout, ("attention_probs_dropout_prob", "attention_dropout")),
    ):
        for name in names:
            if value is not None and hasattr(config, name):
                setattr(config, name, value)
    auto_class = getattr(transformers, head.auto_class)
    return auto_class.from_pretrained(
        checkpoint.folder, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def fine_tune(
    model: Any, task: Task, labels: list[str], params: Train, train: Split, validation: Split,
    *, checkpoints: Path, callbacks: list[TrainerCallback],
) -> Trained:  # fmt: skip
    """Train until the epochs are done or the validation score stops rising; keep the best weights.

    Without validation rows there is no early stopping and the last weights are kept. A run that was cut
    short goes on from its last checkpoint in `checkpoints`; one that had ended gives the same result again.
    """
    if params.threads:
        torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    watching = bool(validation[0])
    validation = _longest_first(validation)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    metric = params.metric_for_best_model or task.default_metric
    stop_early = EarlyStoppingCallback(params.early_stopping_patience, params.early_stopping_threshold)
    trainer = _Trainer(
        head=task.head(labels),
        model=model,
        args=_arguments(params, checkpoints, metric, watching, greater_is_better=task.metrics[metric]),
        train_dataset=_Features(train[0]),
        eval_dataset=_Features(validation[0]) if watching else None,
        data_collator=PadBatch(model.config.pad_token_id or 0),
        compute_metrics=_compute_metrics(task, labels, validation),
        preprocess_logits_for_metrics=_condense(task),
        compute_loss_func=_loss(params, train[0], len(labels)),
        callbacks=[_LogEpochs(), *callbacks, *([stop_early] if watching else [])],
    )
    if last and _had_ended(Path(last)):  # the Trainer looks only after another step, which would change the result
        trainer.args.num_train_epochs, trainer.args.max_steps = 0, -1
    trainer.train(resume_from_checkpoint=last)
    history = [  # sorted as a checkpoint has them, or files of a resumed run would have other bytes
        dict(sorted(point.items())) for point in trainer.state.log_history if "train_runtime" not in point
    ]
    return Trained(trainer.model, history, trainer.state.global_step, _best(history, metric, task))


def _had_ended(checkpoint: Path) -> bool:
    """Whether training had come to its end with this checkpoint: all steps done, or stopped early."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    control = state.stateful_callbacks[TrainerControl.__name__]
    ended: bool = control["args"]["should_training_stop"]
    return ended


class _Trainer(Trainer):
    """The Trainer, with the logits of any head as one tensor, and with validation in order."""

    def __init__(self, head: Head, **options: Any) -> None:
        super().__init__(**options)
        self.head = head

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        def forward(**batch: Any) -> dict[str, torch.Tensor]:
            return {"logits": logits_of(self.head, model(**batch), batch["attention_mask"])}

        return super().compute_loss(forward, inputs, *args, **options)  # type: ignore[arg-type]  # it only calls it

    def get_eval_dataloader(self, eval_dataset: Any = None) -> torch.utils.data.DataLoader[Any]:
        """The Trainer would group these rows by length too, and predictions be scored against the gold of others."""
        assert isinstance(self.eval_dataset, _Features)
        loader = torch.utils.data.DataLoader(
            self.eval_dataset, batch_size=self.args.eval_batch_size, collate_fn=self.data_collator
        )
        prepared: torch.utils.data.DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared


class _LogEpochs(TrainerCallback):
    """Log the loss before each checkpoint too. The Trainer forgets what it has not logged when it resumes,
    and the learning curve would differ from that of a run that was never cut short."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_log = True


class _Features(torch.utils.data.Dataset[Feature]):
    """Features as the Trainer wants them; `length` lets it group rows of like length."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = features
        self.column_names = ["length"]

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Feature:
        return self.features[index]


def _longest_first(split: Split) -> Split:
    """The same rows in an order where batches hold like lengths, which saves padding."""
    features, rows = by_row(split[0]), split[1]
    order = sorted(range(len(rows)), key=lambda i: -len(features[i][0]["input_ids"]))
    return [feature for i in order for feature in features[i]], [rows[i] for i in order]


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


def _condense(task: Task) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Keep of each batch what the task decodes from. The logits of a whole split would fill the memory."""

    def condense(logits: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(task.condense(logits.float().cpu().numpy())).to(logits.device)

    return condense


def _compute_metrics(task: Task, labels: list[str], validation: Split) -> Callable[[EvalPrediction], dict[str, float]]:
    features, rows = validation

    def compute(outputs: EvalPrediction) -> dict[str, float]:
        predictions = task.decode(list(np.asarray(outputs.predictions)), features, rows, labels)
        scores = task.score(predictions, rows, labels).metrics
        return {name: value for name, value in scores.items() if name != "loss"}  # the Trainer brings its own loss

    return compute


def _loss(params: Train, features: Sequence[Feature], labels: int) -> Callable[..., torch.Tensor]:
    """Cross entropy (nats), with label smoothing and class weights, averaged over all labels of a step."""
    weights = _balanced(features, labels) if params.class_weights == "balanced" else None

    def loss(outputs: Any, gold: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        total = cross_entropy(
            logits.view(-1, logits.shape[-1]),
            gold.view(-1),
            weight=None if weights is None else weights.to(logits.device),
            label_smoothing=params.label_smoothing_factor if logits.requires_grad else 0.0,
            reduction="sum",
            ignore_index=IGNORED_LABEL,
        )
        return total / (num_items_in_batch if num_items_in_batch is not None else (gold != IGNORED_LABEL).sum())

    return loss


def _balanced(features: Sequence[Feature], labels: int) -> torch.Tensor:
    """Weights of shape (labels,), inverse to frequency, with mean 1 over all gold labels."""
    gold = np.concatenate([np.atleast_1d(feature["labels"]) for feature in features])
    counts = np.bincount(gold[gold != IGNORED_LABEL], minlength=labels)
    return torch.tensor(counts.sum() / (labels * np.maximum(counts, 1)), dtype=torch.float32)


def _best(history: Sequence[dict[str, float]], metric: str, task: Task) -> dict[str, float]:
    evaluations = [point for point in history if f"eval_{metric}" in point]
    if not evaluations:
        return {}
    sign = 1 if task.metrics[metric] else -1
    best = max(evaluations, key=lambda point: sign * point[f"eval_{metric}"])
    kept = {name.removeprefix("eval_"): value for name, value in best.items() if name.startswith("eval_")}
    return {name: value for name, value in kept.items() if name == "loss" or name in task.metrics}
