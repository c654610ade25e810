"""What training starts from, as params say. No torch here: tokenize reads this file too."""

from pathlib import Path

from tuneline.checkpoints import NO_WEIGHTS, Checkpoint, find_checkpoint
from tuneline.params import Model


def find_start(model: Model, vocabulary: Path) -> Checkpoint:
    """What training starts from: the checkpoint, or the tokenizer in `vocabulary` and no weights at all."""
    if model.configuration is None:
        return find_checkpoint(model)
    return Checkpoint(f"a {model.configuration['model_type']} configuration", vocabulary, "configuration", NO_WEIGHTS)
