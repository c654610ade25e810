"""Edits of training rows, drawn anew each time a row is read.

    {"text": "Please book the table for two.", "label": "book"}
    {"text": "Please boik teh table for two.", "label": "book"}

The functions edit words; an Editor edits the texts and lists of words of one row; the task says which, and keeps the
gold right. Word dropout and swap are those of EDA (Wei and Zou 2019, https://aclanthology.org/D19-1670), typos the
natural noise of keyboards (Belinkov and Bisk 2018, https://arxiv.org/abs/1711.02173), masking is word dropout that
keeps the places (as in BERT's own training). A word is what white space separates.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from tokenizers import Tokenizer

from tuneline.errors import ParamsError
from tuneline.params import Augmentation
from tuneline.tasks.base import MASKS, Row, Task

WORD = re.compile(r"\S+")
PEGASUS_MASK = "<mask_1>"
SHOWN = 3  # examples in the report
TRIED = 100  # rows that are tried for them
LEAD = 80  # characters that an example shows before the first edit


class Augmenter:
    """Edits some of the rows it is shown, as params.train.augmentation says."""

    def __init__(self, edits: Augmentation, tokenizer: Tokenizer) -> None:
        self.edits, self.mask = edits, mask_word(tokenizer)
        if edits.masking and self.mask is None:
            raise ParamsError(
                "train.augmentation.masking: this tokenizer has no mask token and no unknown token. Set 0."
            )

    def read(self, task: Task, row: Row, random: Generator) -> Row:
        """The row itself, or an edited copy with its gold still right."""
        if random.random() >= self.edits.probability:
            return row
        return task.augmented(row, Editor(self.edits, self.mask or "", random))

    def examples(self, task: Task, rows: Sequence[Row], seed: int) -> list[dict[str, str]]:
        """Some rows as training may read them: `column`, and the cell `before` and `after`."""
        found: list[dict[str, str]] = []
        for number, row in enumerate(rows[:TRIED]):
            read = self.read(task, row, np.random.default_rng((seed, 0, number)))
            cells = [(name, _joined(row[name]), _joined(read[name])) for name in task.edited if row.get(name)]
            for name, *pair in cells:
                if pair[0] != pair[1]:
                    before, after = from_edit(*pair)
                    found.append({"column": name, "before": before, "after": after})
        return found[:SHOWN]


def _joined(cell: str | Sequence[str]) -> str:
    return cell if isinstance(cell, str) else " ".join(cell)


def from_edit(before: str, after: str) -> tuple[str, str]:
    """Both texts from a little before the first place where they differ."""
    shared = min(len(before), len(after))
    edit = next((place for place in range(shared) if before[place] != after[place]), shared)
    start = max(edit - LEAD, 0)
    return before[start:], after[start:]


def mask_word(tokenizer: Tokenizer) -> str | None:
    """The word that this tokenizer reads as its mask token, or as its unknown token; None where it has neither."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    unknown = getattr(tokenizer.model, "unk_token", None)
    return next((word for word in (*MASKS, PEGASUS_MASK, unknown) if word in special), None)


class Editor:
    """The edits of one row. random decides all of them."""

    def __init__(self, edits: Augmentation, mask: str, random: Generator) -> None:
        self.edits, self.mask, self.random = edits, mask, random

    def text(self, text: str) -> str:
        """The text with its words edited, at least one of them left. White space at both ends stays."""
        words = WORD.findall(text)
        if not words:
            return text
        spaces = WORD.split(text)  # before the first word, between words, after the last one
        edited = self.groups([[word] for word in words])
        between = [spaces[number] for number in sorted(number for number, _ in edited)[1:]]
        written = [f"{space}{word}" for space, (_, [word]) in zip(["", *between], edited, strict=True)]
        return "".join([spaces[0], *written, spaces[-1]])

    def groups(self, groups: Sequence[Sequence[str]]) -> list[tuple[int, list[str]]]:
        """The groups of words that are left, in their new order: the number each had, and its words, edited.

        The words of a group stay together and in order. At least one group is left.
        """
        order = swapped(kept(len(groups), self.edits.word_dropout, self.random), self.edits.word_swap, self.random)
        return [(number, [self._word(word) for word in groups[number]]) for number in order]

    def _word(self, word: str) -> str:
        masked, cased, slipped = self.random.random(3) < (self.edits.masking, self.edits.case, self.edits.typos)
        if masked:
            return self.mask
        if cased:
            word = recased(word, self.random)
        return mistyped(word, self.random) if slipped else word


def kept(count: int, dropout: float, random: Generator) -> list[int]:
    """Which of `count` words stay when a share is dropped; at least one, if there is one."""
    stay = np.flatnonzero(random.random(count) >= dropout)
    if count and not len(stay):
        stay = random.integers(count, size=1)
    return [int(number) for number in stay]


def swapped(order: Sequence[int], share: float, random: Generator) -> list[int]:
    """The order with a share of its numbers swapped with their right neighbour, each number at most once."""
    order, draws = list(order), random.random(len(order)) < share
    place = 0
    while place < len(order) - 1:
        if draws[place]:
            order[place], order[place + 1] = order[place + 1], order[place]
            place += 1
        place += 1
    return order


def recased(word: str, random: Generator) -> str:
    """The word in another case: lower, upper, or with a capital. One without letters that have case stays."""
    others = sorted({word.lower(), word.upper(), word.capitalize()} - {word})
    return others[random.integers(len(others))] if others else word


def mistyped(word: str, random: Generator) -> str:
    """The word with one slip of the keyboard, each kind as likely as the others. Digits and signs stay: they carry
    meaning that no reader could restore. A word that no slip can change, or that it would empty, stays."""
    letters = _letters(word)
    places = {slip: slip_places for slip, find in SLIPS.items() if (slip_places := find(word, letters))}
    if not places:
        return word
    slip = list(places)[random.integers(len(places))]
    return slip(word, places[slip][random.integers(len(places[slip]))], random)


def _letters(word: str) -> list[int]:
    """Places of letters that carry no combining mark, so that a slip never moves a mark to another letter."""
    marks = [unicodedata.category(character)[0] == "M" for character in word]
    return [
        place for place, character in enumerate(word) if character.isalpha() and not any(marks[place + 1 : place + 2])
    ]


def wrong_key(word: str, place: int, random: Generator) -> str:
    """A neighbour on a QWERTY keyboard in the letter's place."""
    near = NEAR[word[place].lower()]
    key = near[random.integers(len(near))]
    return f"{word[:place]}{key.upper() if word[place].isupper() else key}{word[place + 1 :]}"


def left_out(word: str, place: int, random: Generator) -> str:
    return word[:place] + word[place + 1 :]


def doubled(word: str, place: int, random: Generator) -> str:
    return word[: place + 1] + word[place:]


def transposed(word: str, place: int, random: Generator) -> str:
    return f"{word[:place]}{word[place + 1]}{word[place]}{word[place + 2 :]}"


def _near(rows: Sequence[str]) -> dict[str, str]:
    """The keys that touch each key. A row stands half a key to the right of the one above."""
    at = {(row, column): key for row, keys in enumerate(rows) for column, key in enumerate(keys)}
    touching = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    return {
        key: "".join(at.get((row + down, column + right), "") for down, right in touching)
        for (row, column), key in at.items()
    }


NEAR = _near(("qwertyuiop", "asdfghjkl", "zxcvbnm"))
Slip = Callable[[str, int, Generator], str]
SLIPS: dict[Slip, Callable[[str, list[int]], list[int]]] = {  # each slip, and the places of a word where it can happen
    wrong_key: lambda word, letters: [place for place in letters if word[place].lower() in NEAR],
    left_out: lambda word, letters: letters if len(letters) > 1 else [],
    doubled: lambda word, letters: letters,
    transposed: lambda word, letters: [a for a, b in pairwise(letters) if b == a + 1 and word[a] != word[b]],
}
