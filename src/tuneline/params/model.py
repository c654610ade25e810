"""`model:` and `tokenize:`, the checkpoint, and the way from text to its token ids."""

from pydantic import Field

from tuneline.params.section import Section


class Model(Section):
    """The pretrained checkpoint that fine-tuning starts from."""

    checkpoint: str = Field("sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    """A local folder, or ORG/NAME on the Hugging Face hub. safetensors only; remote code never runs."""
    revision: str | None = None
    """Commit of the checkpoint on the hub. Pin it: a branch moves."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of model.safetensors. When given, other weights are refused."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in the hidden layers and the head. null keeps what the checkpoint says."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention weights. null keeps what the checkpoint says."""


class Tokenize(Section):
    """From text to token ids."""

    max_length: int = Field(128, ge=4, le=1_000_000)
    """Longest input in tokens, special tokens included. Longer ones are cut at the end, or read in overlapping
    windows where each word has its tag."""
