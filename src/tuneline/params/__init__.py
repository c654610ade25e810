"""params.yaml, typed. One file describes a run completely; each stage sees only its own sections.

    data → task → model → tokenize → train → evaluate → register

Names that transformers has are spelled as transformers spells them and passed straight through.
"""

from tuneline.params.augmentation import Augmentation
from tuneline.params.behaviour import Behaviour, Direction, EditTest, Invariance, Minimum
from tuneline.params.data import Checks, Data, MaxRows, Splits
from tuneline.params.judge import KEPT_OF_BASE, Card, Evaluate, Forgetting, Guardrails, Register
from tuneline.params.lora import Lora
from tuneline.params.model import Model, Tokenize, TrainedTokenizer
from tuneline.params.reading import check_params, load_yaml, read_params, schema
from tuneline.params.regularization import Regularization, Replay
from tuneline.params.section import NAME
from tuneline.params.slices import Slices
from tuneline.params.train import Train
from tuneline.params.whole import Params, Sections

__all__ = [
    "KEPT_OF_BASE", "NAME", "Augmentation", "Behaviour", "Card", "Checks", "Data", "Direction", "EditTest", "Evaluate",
    "Forgetting", "Guardrails", "Invariance", "Lora", "MaxRows", "Minimum", "Model", "Params", "Register",
    "Regularization", "Replay", "Sections", "Slices", "Splits", "Tokenize", "Train", "TrainedTokenizer", "check_params",
    "load_yaml", "read_params", "schema",
]  # fmt: skip
