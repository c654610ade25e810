"""Tasks whose probabilities are calibrated: a temperature, chosen on the validation split, divides the logits."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tuneline.metrics import calibration
from tuneline.tasks.base import Prediction, Row, Task


class CalibratedTask(Task):
    """A task that gives probabilities of its labels."""

    temperature: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="What the logits are divided by before they become probabilities. null chooses it on the "
        "validation split: the one with the lowest loss. 1 leaves the probabilities as training made them.",
    )

    @property
    def heat(self) -> float:
        return 1.0 if self.temperature is None else self.temperature

    @property
    def fits(self) -> bool:
        return self.temperature is None

    @abstractmethod
    def claims(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str], heat: float = 1.0
    ) -> calibration.Claims | None:
        """What the predictions claim, item by item; None where they hold no probabilities, as those of a baseline may.

        heat: the temperature that is taken out of their probabilities first.
        """

    def calibration(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, Any] | None:
        with_it, without = (self.claims(predictions, rows, labels, heat) for heat in (1.0, self.heat))
        if with_it is None:
            return None
        return {"temperature": self.heat, **calibration.scores(with_it), "uncalibrated": calibration.scores(without)}
