"""Tasks whose answer an edit can push: a label that becomes more likely or less, a number that rises or falls."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from tuneline.tasks.base import Prediction, Task


class PushedTask(Task):
    """A task of which behavioural tests of direction make sense."""

    pushed: ClassVar[Literal["label", "number"]]  # with label, `observed` names the labels that a prediction gives

    @abstractmethod
    def degree(self, prediction: Prediction, labels: Sequence[str], label: str | None) -> float:
        """How likely a prediction finds the label; the number itself, where that is what it gives."""
