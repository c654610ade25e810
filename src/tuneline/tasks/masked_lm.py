"""Masked language modelling: some words of a text are hidden, and predicted from both sides (Devlin et al. 2019).

    {"text": "The kettle broke after two days."}   →   the kettle [MASK] after two days .

A share of the tokens is to be predicted. Of these, 80% are hidden, 10% replaced by any other token, 10% left as they
are. With whole words, all pieces of a word are predicted together, or none. In training the choice is a new one in
each epoch. On validation and test rows it follows from the text alone, so it is the same for all models with the same
tokenizer, whatever the order of the rows, the batches or the blocks.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tuneline.tasks.base import IGNORED_LABEL, MASKS, Encoder, Feature, Head, Prediction, Row
from tuneline.tasks.language_models import LanguageModel, first_known

BEGINS, GOES_ON, NO_WORD = 1, 0, -1  # a word's first piece, its others, special tokens
HIDDEN, REPLACED = 0.8, 0.1  # shares of the tokens to predict; the rest is left as it is


class MaskedLM(LanguageModel):
    """Hidden words of a text, predicted from both sides."""

    name: Literal["masked-lm"]
    mlm_probability: float = Field(0.15, gt=0, lt=1, description="Share of the tokens of a text that is predicted.")
    whole_word_masking: bool = Field(
        True, description="Whether the pieces of a word, as the tokenizer finds words, are predicted all together."
    )
    candidates: int = Field(5, ge=1, le=100, description="Words that are offered for a mask in a text to predict.")

    feature_types: ClassVar = {
        "input_ids": "list<int32>",  # with the masks of validation and test
        "words": "list<int8>",  # BEGINS, GOES_ON or NO_WORD
        "labels": "list<int32>",  # the true token where it is to be predicted
    }
    reserved: ClassVar = MASKS
    reserved_for: ClassVar = "hides a word"
    gold_options: ClassVar = ("mlm_probability", "whole_word_masking")
    metrics: ClassVar = {"perplexity": False, "loss": False, "accuracy": True}
    pipeline_tag: ClassVar = "fill-mask"

    @property
    def answer_types(self) -> dict[str, str]:
        return {**super().answer_types, "masks": "list<list<struct<token: string, score: double>>>"}

    def _token(self, tokenizer: Encoder) -> int:
        advice = "masked-lm hides words behind it: take a checkpoint that was trained so, or the task causal-lm."
        return first_known(tokenizer, MASKS, advice)

    def inputs(self, row: Row) -> Row:
        return {**super().inputs(row), "fill": True}

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        """A text to predict that holds masks of its own has labels there, for want of the true tokens the mask's."""
        mask, features = self._token(tokenizer), []
        for row, encoding in zip(rows, tokenizer.encode_batch([row["text"] for row in rows]), strict=True):
            ids = np.array(encoding.ids, dtype=int)
            own = ids == mask
            words = np.where(own, NO_WORD, _words(encoding.word_ids))
            if row.get("fill") and own.any():
                masked, gold = ids, np.where(own, mask, IGNORED_LABEL)
            else:
                seed = int.from_bytes(blake2b(row["text"].encode(), digest_size=8).digest())
                masked, gold = self._masked(ids, words, tokenizer, np.random.default_rng(seed))
            features.append({"input_ids": masked.tolist(), "words": words.tolist(), "labels": gold.tolist()})
        return features

    def varied(self, feature: Feature, tokenizer: Encoder, random: np.random.Generator) -> Feature:
        """A block with other words masked."""
        gold = np.array(feature["labels"])
        ids = np.where(gold == IGNORED_LABEL, feature["input_ids"], gold)
        masked, gold = self._masked(ids, np.array(feature["words"]), tokenizer, random)
        return {**feature, "input_ids": masked.tolist(), "labels": gold.tolist()}

    def _masked(
        self, ids: NDArray[Any], words: NDArray[Any], tokenizer: Encoder, random: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """What the model reads, and the labels. (tokens,) each."""
        chosen = self._chosen(words, random)
        labels = np.where(chosen, ids, IGNORED_LABEL)
        fate = random.random(len(ids))
        any_token = random.integers(tokenizer.get_vocab_size(), size=len(ids))
        read = np.where(chosen & (fate < HIDDEN), self._token(tokenizer), ids)
        return np.where(chosen & (fate >= HIDDEN) & (fate < HIDDEN + REPLACED), any_token, read), labels

    def _chosen(self, words: NDArray[Any], random: np.random.Generator) -> NDArray[np.bool_]:
        """Which tokens are to be predicted: words in random order, as long as they fit into the share; at least one
        (as create_pretraining_data.py of BERT chooses them)."""
        chosen = np.zeros(len(words), bool)
        tokens = np.flatnonzero(words != NO_WORD)
        if not len(tokens):
            return chosen
        goes_on = (words[tokens] == GOES_ON) & self.whole_word_masking
        groups = np.split(tokens, np.flatnonzero(~goes_on[1:]) + 1)  # a block may begin within a word
        left = most = max(1, round(self.mlm_probability * len(tokens)))
        for number in random.permutation(len(groups)):
            if len(groups[number]) <= left or left == most:
                chosen[groups[number]] = True
                left -= len(groups[number])
            if left <= 0:
                break
        return chosen

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForMaskedLM", answers="nats", candidates=self.candidates)

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """As for every language model. For a text with masks of its own: masks, the ids of the likeliest tokens for
        each mask with their probabilities, and nothing is scored."""
        return [
            {**self._prediction(output[:0], {"labels": []}), "masks": [_candidates(line) for line in output]}
            if _has_own_masks(feature)
            else self._prediction(output, feature)
            for output, feature in zip(outputs, features, strict=True)
        ]

    def worded(self, prediction: Prediction, tokenizer: Encoder) -> Prediction:
        masks = [
            [{"token": tokenizer.decode([token]), "score": score} for token, score in each]
            for each in prediction.get("masks", [])
        ]
        return {**prediction, "masks": masks}


def _words(word_ids: Sequence[int | None]) -> NDArray[Any]:
    """BEGINS at the first piece of each word, GOES_ON at the others, NO_WORD at special tokens. (tokens,)"""
    before = [None, *word_ids[:-1]]
    kinds = [NO_WORD if word is None else BEGINS if word != last else GOES_ON
             for word, last in zip(word_ids, before, strict=True)]  # fmt: skip
    return np.array(kinds, dtype=int)


def _has_own_masks(feature: Feature) -> bool:
    """Only masks that a text to predict brings with it carry labels without being of a word."""
    places = zip(feature["words"], feature["labels"], strict=True)
    return any(word == NO_WORD and label != IGNORED_LABEL for word, label in places)


def _candidates(line: NDArray[Any]) -> list[tuple[int, float]]:
    """The likeliest tokens in one place, with their probabilities."""
    tokens, nats = np.split(line[1:], 2)
    return [(int(token), float(np.exp(-loss))) for token, loss in zip(tokens, nats, strict=True)]


TASK = MaskedLM
