"""`model:` and `tokenize:`, what training starts from, and the way from text to its token ids."""

from typing import Any, Literal

from pydantic import Field, field_validator

from tuneline.params.section import Section


class Model(Section):
    """What training starts from: a pretrained checkpoint, or a configuration whose weights are drawn by chance."""

    checkpoint: str = Field("sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    """A local folder, ORG/NAME on the Hugging Face hub, or models:/NAME/VERSION (or models:/NAME@champion) of the
    model registry. safetensors only; remote code never runs."""
    revision: str | None = None
    """Commit of the checkpoint on the hub. Pin it: a branch moves."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of model.safetensors. When given, other weights are refused."""
    configuration: dict[str, Any] | None = None
    """Start from nothing instead: model_type (bert, gpt2, ...), and any key of the configuration that transformers has
    for it, as in {model_type: gpt2, n_embd: 128, n_layer: 2, n_head: 4}. The vocabulary is the tokenizer's: the one of
    tokenize.tokenizer, or else that of the checkpoint."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in the hidden layers and the head. null keeps what the checkpoint says."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention weights. null keeps what the checkpoint says."""

    @field_validator("configuration")
    @classmethod
    def _names_its_model_type(cls, configuration: dict[str, Any] | None) -> dict[str, Any] | None:
        if configuration is not None and not isinstance(configuration.get("model_type"), str):
            raise ValueError("has no model_type. Expected the architecture, as in {model_type: bert}")
        if configuration is not None and "vocab_size" in configuration:
            raise ValueError("vocab_size is the tokenizer's. Leave it out; tokenize.tokenizer.vocab_size sets it")
        return configuration


class TrainedTokenizer(Section):
    """A tokenizer that is trained on the texts of the training rows."""

    type: Literal["wordpiece", "bpe"]
    """wordpiece as BERT has it, or bpe over bytes as GPT-2 has it (no text is unknown to it)."""
    vocab_size: int = Field(8000, ge=100, le=1_000_000)
    """Tokens of its vocabulary, five special ones included."""
    lowercase: bool = False
    """Whether it reads everything in lower case."""


class Tokenize(Section):
    """From text to token ids."""

    max_length: int = Field(128, ge=4, le=1_000_000)
    """Longest input in tokens, special tokens included. Longer ones are cut at the end, or read in overlapping
    windows where each word has its tag. For a language model, tokens of a block; nothing is cut."""
    tokenizer: TrainedTokenizer | None = None
    """Train a tokenizer on the training rows, with model.configuration. null takes the checkpoint's."""
