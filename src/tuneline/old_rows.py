"""How a challenger does on the test rows of the champion, where its own are other ones."""

import json
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import ModelVersion

from tuneline.registry import SCORE

TAG = "tuneline.decision.old_rows."


@dataclass(frozen=True)
class OldRows:
    """Both scores on the rows that the champion was tested on."""

    champion_version: int
    reason: str  # the scores in a sentence, or why the challenger has none
    metric: str
    challenger: float | None
    champion: float | None  # what it was recorded with

    @property
    def scored(self) -> bool:
        return self.challenger is not None

    def tags(self) -> dict[str, str]:
        """As tags of the challenger's version; every digit is kept."""
        return {TAG + name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}


def beside(champion: ModelVersion, metric: str, score: float | None, problem: str = "") -> OldRows:
    """A challenger's score on the champion's test rows, beside the champion's own. problem: why it has none."""
    number, tag = int(champion.version), champion.tags.get(SCORE + metric)
    held = None if tag is None else float(tag)
    if score is None:
        reason = f"not scored on the test rows of version {number}: {problem or f'{metric} is not defined on them'}"
    else:
        against = "" if held is None else f", where that has {held:.4f}"
        reason = f"{metric} {score:.4f} on the test rows of version {number}{against}"
    return OldRows(number, reason, metric, score, held)


def recorded(version: ModelVersion) -> OldRows | None:
    """What OldRows.tags wrote, or None."""
    facts = {name.removeprefix(TAG): value for name, value in version.tags.items() if name.startswith(TAG)}
    return OldRows(**{name: json.loads(value) for name, value in facts.items()}) if facts else None
