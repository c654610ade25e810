"""`evaluate:` and `register:`, how the model is scored, and what makes it the champion."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tuneline.params.behaviour import Behaviour
from tuneline.params.section import NAME, Section
from tuneline.params.slices import Slices

KEPT_OF_BASE = {
    "similarity_agreement": True,
    "cka_mean": True,
    "cka_last": True,
    "nats_after": False,
}  # higher is better?


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
    slices: Slices = Slices()
    behaviour: list[Behaviour] = Field([])
    """Behavioural tests. Each has a pass rate; register.guardrails.behaviour holds a model to it."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Confidence of the intervals."""
    resamples: int = Field(10_000, ge=100, le=1_000_000)
    """Bootstrap resamples of the test rows, for intervals and for the comparison with the champion."""

    @field_validator("behaviour")
    @classmethod
    def _names_differ(cls, tests: list[Behaviour]) -> list[Behaviour]:
        names = [test.name for test in tests]
        told = [f"evaluate.behaviour.{number}.name: {name!r} is the name of another test too"
                for number, name in enumerate(names) if name in names[:number]]  # fmt: skip
        if told:
            raise ValueError("\n".join(told))
        return tests


class Guardrails(Section):
    """What a model must hold to whatever it gains. All are off; a number that is missing or no number fails."""

    metrics: dict[str, float] = Field({})
    """The worst value that each test metric may have: a floor where higher is better, else a ceiling, as in
    {accuracy: 0.9, ece: 0.05}."""
    slice_drop: float | None = Field(None, ge=0)
    """How much worse than the champion any slice may be, in the metric that decides (absolute). Slices that are too
    small to judge are left out."""
    behaviour: float | None = Field(None, ge=0, le=1)
    """Lowest pass rate of each behavioural test."""
    forgetting: dict[str, float] = Field({})
    """The worst value of what the model kept of its base, as in {similarity_agreement: 0.8}."""
    old_rows_drop: float | None = Field(None, ge=0)
    """How much worse than the champion the model may be on the champion's own test rows, where those are others."""
    latency_p95_ms: float | None = Field(None, gt=0)
    """Longest time for one row, in milliseconds, at the 95th percentile, as measured where register runs."""
    size_mb: float | None = Field(None, gt=0)
    """Largest model folder, in megabytes (10**6 bytes)."""


class Card(Section):
    """What the model card says that only a person knows. Nothing is invented: what is null is said to be unknown."""

    language: list[str] = Field([])
    """Languages of the texts, as ISO 639 codes: [en], [en, de]."""
    license: str | None = None
    """Licence of the model, as the Hugging Face hub spells it: apache-2.0, mit, cc-by-4.0."""
    intended_use: str | None = None
    """Who is to use the model, and what for."""
    out_of_scope: str | None = None
    """What it must not be used for."""
    limits: str | None = None
    """What is known of its weaknesses, beyond what is measured."""


class Register(Section):
    """The model registry and the rule that moves the champion alias."""

    name: str = Field(pattern=NAME)
    """Name of the registered model."""
    metric: str | None = None
    """Test metric that decides. null takes the task's."""
    minimum_effect: float = Field(0.0, ge=0)
    """How much better than the champion a challenger must be (absolute). It must be better in any case."""
    confidence: float | None = Field(0.95, gt=0.5, lt=1)
    """How sure it must be that the gain is above minimum_effect: one-sided, by a paired bootstrap of the test rows.
    Of challengers that are no better, about the rest of them passes. null asks for a gain on these rows alone."""
    guardrails: Guardrails = Guardrails()
    approval: Literal["automatic", "manual"] = "automatic"
    """manual lets a model that passes wait, under the alias challenger, for `tuneline promote`."""
    card: Card = Card()
