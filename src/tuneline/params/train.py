"""`train:` how the checkpoint is fine-tuned."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tuneline.params.augmentation import Augmentation
from tuneline.params.lora import Lora
from tuneline.params.regularization import Regularization
from tuneline.params.section import Section


class Train(Section):
    """Fine-tuning. The names and meanings are those of transformers.TrainingArguments, but for those at the end."""

    learning_rate: float = Field(2e-5, gt=0, lt=1)
    """Peak learning rate."""
    num_train_epochs: float = Field(3, gt=0, le=1000)
    """Passes over the training rows."""
    max_steps: int = Field(-1, ge=-1)
    """Optimizer steps; -1 leaves it to num_train_epochs."""
    per_device_train_batch_size: int = Field(16, ge=1)
    """Rows per step and device."""
    per_device_eval_batch_size: int = Field(64, ge=1)
    """Rows per evaluation batch and device."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches whose gradients are summed before a step."""
    warmup_steps: float = Field(0.1, ge=0)
    """Steps of learning-rate warm-up; below 1, a share of all steps."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "linear"
    """Shape of the learning rate after warm-up."""
    weight_decay: float = Field(0.01, ge=0, lt=1)
    """Decoupled weight decay (not on biases and norms)."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm above which gradients are scaled down."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay of the first moment."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """AdamW's decay of the second moment."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all labels."""
    train_sampling_strategy: Literal["group_by_length", "random"] = "group_by_length"
    """group_by_length puts rows of like length into a batch, which saves padding."""
    bf16: bool | None = None
    """Compute in bfloat16, keep the weights in float32. null does so where the processor has instructions for it."""
    padding_free: bool = True
    """Run the rows of a batch one after another in place of padding them, where a probe shows that the checkpoint
    computes the same so."""
    torch_compile: bool = False
    """Compile the layers, on a GPU in bfloat16. The first steps wait for it, and a long training is faster."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of the head's weights, the order of rows, dropout and augmentation."""
    seeds: list[Annotated[int, Field(ge=0, le=2**32 - 1)]] | None = Field(None, min_length=2)
    """Seeds to train with in turn, in place of seed. The weights of the one that is best on validation are kept; the
    scores of all, with their mean and spread, stand in training.json. null trains with seed alone."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two points of the training loss."""
    metric_for_best_model: str | None = None
    """Validation metric that early stopping and the choice of the best checkpoint look at: one of the task's,
    or loss. null takes the task's."""
    early_stopping_patience: int = Field(2, ge=1)
    """Evaluations (one per epoch) without a better score before training stops."""
    early_stopping_threshold: float = Field(0.0, ge=0)
    """How much better a score must be to count (absolute)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weighs each label by the inverse of its frequency in the training rows."""
    augmentation: Augmentation = Augmentation()
    threads: int | None = Field(None, ge=1)
    """CPU threads. null takes all cores. The same number gives the same bytes."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """auto waits for a free GPU of this host, and takes the CPU where it has none; gpu refuses to do without."""

    termination_grace_seconds: float = Field(15, ge=0)
    """Seconds in which a training that gets SIGTERM may save a checkpoint in mid-epoch. 0 ends it at once."""

    lora: Lora | None = None
    """Train an adapter in place of all weights. null trains all weights."""
    regularization: Regularization = Regularization()

    OWN: ClassVar = frozenset(
        {"bf16", "padding_free", "torch_compile", "early_stopping_patience", "early_stopping_threshold",
         "metric_for_best_model", "class_weights", "threads", "device", "termination_grace_seconds",
         "label_smoothing_factor", "seeds", "augmentation", "lora", "regularization"}
    )  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> "Train":
        problems = list(self._contradictions())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            yield "train.seeds: a seed stands in the list twice"
        if self.lora is not None:
            for name in self.regularization.of_weights:
                yield (
                    f"train.regularization.{name}: is about the weights of the checkpoint, which train.lora leaves as "
                    "they are. Leave out one of the two"
                )
        if self.regularization.l2_sp * self.learning_rate > 1:
            yield (
                f"train.regularization.l2_sp: {self.regularization.l2_sp:g} times learning_rate {self.learning_rate:g} "
                "is more than the whole way back at each step. Their product must be at most 1"
            )

    def training_arguments(self) -> dict[str, Any]:
        """What goes to transformers.TrainingArguments as it stands."""
        return self.model_dump(exclude=set(self.OWN))
