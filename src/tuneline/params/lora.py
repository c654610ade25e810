"""`train.lora:`, a low-rank adapter in place of new weights (Hu et al. 2022, arXiv:2106.09685)."""

from typing import Literal

from pydantic import Field

from tuneline.params.section import Section


class Lora(Section):
    """LoRA. The checkpoint's weights stay as they are; small matrices beside them and the head are trained.
    The names and meanings are those of peft.LoraConfig, but for merge."""

    r: int = Field(8, ge=1, le=1024)
    """Rank of the matrices."""
    lora_alpha: int = Field(16, ge=1, le=4096)
    """What the matrices add is scaled by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of what goes into the matrices."""
    target_modules: list[str] | Literal["all-linear"] | None = Field(None, min_length=1)
    """Names of the linear layers that get matrices, or all-linear. null takes what peft names for the
    architecture (for BERT query and value), and all-linear where it names nothing."""
    merge: bool = True
    """Whether the saved model holds the sums, as a plain model; false saves the adapter alone, which needs the same
    checkpoint wherever it is loaded."""
