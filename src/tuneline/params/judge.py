"""`evaluate:` and `register:`, how the model is scored, and what makes it the champion."""

from pydantic import Field, model_validator

from tuneline.params.section import NAME, Section


class Forgetting(Section):
    """The general text on which the model is compared with the checkpoint it started from."""

    text: str | None = Field(None, min_length=1)
    """A UTF-8 file with one sentence a line, from the root of the project. null takes the text that comes with
    tuneline. Nothing of it should be trained on."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of the file, needed with text: DVC does not watch the file, it watches this."""

    @model_validator(mode="after")
    def _pinned(self) -> "Forgetting":
        if (self.text is None) != (self.sha256 is None):
            raise ValueError("text and sha256 go together: `sha256sum FILE` prints the digest")
        return self


class Evaluate(Section):
    """Scoring on the test split."""

    per_device_eval_batch_size: int = Field(64, ge=1)
    """Rows per batch and device."""
    baseline: bool = True
    """Also fit and score a simple baseline (for text classification bag of words with logistic or ridge
    regression, for token classification the tag that a word has most often, for summarization the first three
    sentences, for translation the source as it stands)."""
    worst_errors: int = Field(20, ge=0, le=1000)
    """How many of the most confident mistakes the report lists."""
    forgetting: Forgetting = Forgetting()


class Register(Section):
    """The model registry and the rule that moves the champion alias."""

    name: str = Field(pattern=NAME)
    """Name of the registered model."""
    metric: str | None = None
    """Test metric that decides. null takes the task's."""
    minimum_effect: float = Field(0.0, ge=0)
    """How much better than the champion a challenger must be (absolute). It must be better in any case."""
