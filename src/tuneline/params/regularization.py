"""`train.regularization:`, what keeps the model from learning too much of too little. Everything is off at first."""

from collections.abc import Iterator

from pydantic import Field, model_validator

from tuneline.params.section import Section


class Replay(Section):
    """General text that is read beside the training rows, so that the model keeps what it knew of it."""

    text: str = Field(min_length=1)
    """A UTF-8 file with one text a line, from the root of the project."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """sha256 of the file: DVC does not watch the file, it watches this."""
    weight: float = Field(1.0, gt=0, le=1000)
    """What the loss on general text counts beside that of the task."""
    per_device_train_batch_size: int = Field(8, ge=1)
    """Texts per batch and device."""


class Regularization(Section):
    """What holds training back, beside weight decay, dropout and label smoothing."""

    r_drop_alpha: float = Field(0.0, ge=0, le=100)
    """Weight of R-Drop: how far two passes with different dropout may differ. 0 makes one pass."""
    layerwise_lr_decay: float = Field(1.0, gt=0, le=1)
    """Learning rate of each layer over that of the layer above it. The head has train.learning_rate, the embeddings
    the lowest. 1 is the same rate for all."""
    freeze_embeddings: bool = False
    """Leave the embeddings as they are."""
    freeze_layers: int = Field(0, ge=0, le=1000)
    """Leave this many of the lowest layers as they are, and the embeddings below them."""
    gradual_unfreezing: float | None = Field(None, gt=0, le=1000)
    """Begin with the head alone, and train one layer more from the top after every so many epochs (0.5: two layers
    an epoch), the embeddings last. null trains all from the start."""
    l2_sp: float = Field(0.0, ge=0, le=100_000)
    """Pull of the weights towards those of the checkpoint, in the measure of weight_decay, whose place it takes. The
    head keeps weight_decay."""
    replay: Replay | None = None
    """Read general text beside the training rows. null reads none."""

    @model_validator(mode="after")
    def _agree(self) -> "Regularization":
        problems = list(self._contradictions())
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.freeze_layers and self.gradual_unfreezing is not None:
            yield (
                "train.regularization.freeze_layers: gradual_unfreezing thaws the same layers one by one. Leave out "
                "one of the two"
            )
        if self.freeze_layers and self.freeze_embeddings:
            yield "train.regularization.freeze_embeddings: freeze_layers freezes the embeddings too. Leave this one out"

    @property
    def of_weights(self) -> list[str]:
        """The options in use that are about the weights of the checkpoint, which an adapter does not train."""
        names = ("layerwise_lr_decay", "freeze_embeddings", "freeze_layers", "gradual_unfreezing", "l2_sp")
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
