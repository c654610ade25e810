"""Checkpoints of a training that can be trusted. A checkpoint is sealed once it is whole: with the digest of each file.

    checkpoint-40/model.safetensors optimizer.pt ... logged.json sealed.json

One that is cut short, or has rotted on the disk, is told of and removed, and training goes on from the one before it.
Without a file the Trainer would go on with other weights, and say nothing. logged.json has what the Trainer forgets
when a checkpoint is written between two points of the learning curve: the losses since the last one.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tuneline import host
from tuneline.digests import file_digest
from tuneline.log import report, warn

KEPT = 2  # checkpoints of a training: the last, and the best
GB = 10**9
SEAL, LOGGED = "sealed.json", "logged.json"


def tell_disk_needed(model: Any, checkpoints: Path) -> None:
    """Report the most that the checkpoints of a training take at a time, and warn where the disk has less."""
    needed = disk_needed(model)
    told = f"checkpoints take up to {needed / GB:.1f} GB in {checkpoints}"
    free = shutil.disk_usage(checkpoints).free
    if free < needed:
        warn("fine-tune", f"{told}, where {free / GB:.1f} GB are free. Free space before it is used up")
    else:
        report("fine-tune", told)


def disk_needed(model: Any) -> int:
    """Bytes of the checkpoints that are kept and of one that is being written: what is saved of the weights (of an
    adapter its own alone), and the two moments that AdamW keeps of each one that learns."""
    learning = sum(each.nbytes for each in model.parameters() if each.requires_grad)
    saved = learning if isinstance(model, PeftModel) else sum(each.nbytes for each in model.parameters())
    return (KEPT + 1) * (saved + 2 * learning)


def seal(checkpoint: Path) -> None:
    """Write the digest of every file of a checkpoint that is whole."""
    place = checkpoint / f".{SEAL}"
    place.write_text(json.dumps(_digests(checkpoint), indent=2) + "\n", encoding="utf-8")
    place.rename(checkpoint / SEAL)


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint to go on from. Those that are broken, or whose best one is, are removed with a warning."""
    for checkpoint in sorted(checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True):
        problem = _problem(checkpoint)
        if problem is None:
            return checkpoint
        warn(
            "fine-tune", f"{checkpoint}: {problem}. It is removed, and training goes on from the one before it, if any"
        )
        host.remove(checkpoint)
    return None


@dataclass(frozen=True)
class SinceLogged:
    """The sum of the losses since a point was logged, and the step of that point."""

    losses: float
    step: int

    def write(self, checkpoint: Path) -> None:
        (checkpoint / LOGGED).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, checkpoint: Path) -> "SinceLogged":
        return cls(**json.loads((checkpoint / LOGGED).read_text(encoding="utf-8")))


def state_of(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _problem(checkpoint: Path) -> str | None:
    """What keeps training from going on from here, in words."""
    problem = _broken(checkpoint)
    if problem is not None:
        return problem
    best = state_of(checkpoint).best_model_checkpoint
    if best is None or Path(best).name == checkpoint.name:
        return None
    problem = _broken(checkpoint.parent / Path(best).name)
    return None if problem is None else f"its best weights so far are in {Path(best).name}, and there {problem}"


def _broken(checkpoint: Path) -> str | None:
    if not (checkpoint / SEAL).is_file():
        return "saving it was cut short"
    sealed, found = json.loads((checkpoint / SEAL).read_text(encoding="utf-8")), _digests(checkpoint)
    missing, other = sorted(sealed.keys() - found.keys()), [name for name in sealed if found.get(name) != sealed[name]]
    if missing:
        return f"{', '.join(missing)} is missing"
    return f"{', '.join(other)} has other bytes than were saved" if other else None


def _digests(checkpoint: Path) -> dict[str, str]:
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name not in (SEAL, f".{SEAL}"))
    return {file.relative_to(checkpoint).as_posix(): file_digest(file) for file in files}
