"""`train.augmentation:` how training rows are edited, anew each time they are read."""

from pydantic import Field

from tuneline.params.section import Section


class Augmentation(Section):
    """Edits of training rows, drawn anew in each epoch. All are off. Validation and test rows are never edited."""

    probability: float = Field(0.5, ge=0, le=1)
    """Share of the training rows that an epoch reads edited, where an edit is on. The others it reads as they are."""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of an edited row's words that are left out. At least one stays."""
    word_swap: float = Field(0.0, ge=0, le=1)
    """Share of an edited row's words that change places with the next one."""
    masking: float = Field(0.0, ge=0, le=1)
    """Share of an edited row's words that become the tokenizer's mask token, or its unknown token where it has none."""
    case: float = Field(0.0, ge=0, le=1)
    """Share of an edited row's words that are written in lower case, upper case or with a capital. An uncased
    checkpoint does not see it."""
    typos: float = Field(0.0, ge=0, le=1)
    """Share of an edited row's words that get one slip of the keyboard: a neighbouring key, or a letter left out,
    doubled or swapped with the next."""

    @property
    def is_on(self) -> bool:
        edits = (self.word_dropout, self.word_swap, self.masking, self.case, self.typos)
        return self.probability > 0 and any(edits)
