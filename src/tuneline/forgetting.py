"""What a fine-tuned model kept of its base: both read the same general sentences, and their states are compared.

{"metrics": {"similarity_agreement": 0.93, "cka_mean": 0.97, "cka_last": 0.94},
 "cka": [0.999, 0.99, ..., 0.94], "sentences": 267, "text_sha256": "...", "not_measured": []}
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from tuneline.batching import PadBatch, by_length
from tuneline.checkpoints import NO_WEIGHTS, Checkpoint, find_checkpoint, load_tokenizer
from tuneline.digests import file_digest
from tuneline.embedding import mean_states
from tuneline.errors import CheckpointError, ParamsError
from tuneline.general import pinned_lines
from tuneline.inference import BATCH_SIZE, Predictor
from tuneline.likelihoods import scored
from tuneline.losses import Shape, cross_entropy, terms
from tuneline.metrics.similarity import linear_cka, similarity_agreement
from tuneline.params import Forgetting, Model
from tuneline.tasks.base import IGNORED_LABEL, Feature, Head
from tuneline.weights import read_weights

GENERAL_TEXT = Path(__file__).parent / "general.txt"
FEWEST_SENTENCES = 50  # with fewer, chance moves the numbers more than training does
PASSES = 7  # a masked model reads a sentence so often, another seventh of its tokens hidden each time
LANGUAGE_MODEL = Head("", answers="nats")  # of any class: it is asked for the loss of the labelled tokens
DIGITS = 6  # more are noise of the arithmetic


def general_sentences(options: Forgetting) -> list[str]:
    """The sentences of the general text. ParamsError where they are too few, or not those pinned."""
    path = _text_path(options)
    sentences = pinned_lines(path, options.sha256, "evaluate.forgetting")
    if len(sentences) < FEWEST_SENTENCES:
        raise ParamsError(
            f"evaluate.forgetting.text: {path} has {len(sentences)} sentences, one a line. Expected at least "
            f"{FEWEST_SENTENCES}; some hundreds are good. Without it, those that come with tuneline are read."
        )
    return sentences


def _text_path(options: Forgetting) -> Path:
    return GENERAL_TEXT if options.text is None else Path(options.text)


def measure(
    predictor: Predictor, folder: Path, base: Model, base_sha256: str, options: Forgetting, max_length: int
) -> dict[str, Any]:
    """What evaluation.json says of forgetting.

    folder: of the fine-tuned model; base_sha256: of the weights that its training started from, or
    NO_WEIGHTS. Sentences are cut at max_length tokens. Where nothing can be compared, `metrics` is empty and
    `not_measured` says why.
    """
    sentences = general_sentences(options)
    about = {"sentences": len(sentences), "text_sha256": file_digest(_text_path(options))}
    try:
        checkpoint = _base(base, base_sha256)
    except CheckpointError as error:
        return {"metrics": {}, "cka": [], **about, "not_measured": [str(error)]}
    tuned = Reader(predictor.model, folder, sentences, max_length)
    auto_class = predictor.task.head(predictor.labels).auto_class
    model, untrained = _base_model(checkpoint, auto_class)
    before = Reader(model.to(predictor.model.device), checkpoint.folder, sentences, max_length)
    kept, cka, gaps = _kept(before.states(), tuned.states())
    if auto_class in GUESSES:
        losses, gap = _losses(before, tuned, GUESSES[auto_class], untrained)
        kept, gaps = kept | losses, [*gaps, *gap]
    return {"metrics": _rounded(kept), "cka": [round(value, DIGITS) for value in cka], **about, "not_measured": gaps}


def _base(base: Model, sha256: str) -> Checkpoint:
    """The checkpoint that training started from. CheckpointError when it is another now, or gone, or never was."""
    if sha256 == NO_WEIGHTS:
        raise CheckpointError("The model started from no weights, so there was nothing to forget.")
    checkpoint = find_checkpoint(base)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"{checkpoint.folder} holds other weights (sha256 {checkpoint.sha256}) than those that the model started "
            f"from ({sha256})."
        )
    return checkpoint


def _base_model(checkpoint: Checkpoint, auto_class: str) -> tuple[Any, list[str]]:
    """The base as it was, and the weights of a language-model head that it lacks. Other heads are left out."""
    name = auto_class if auto_class in GUESSES else "AutoModel"
    model, missing = read_weights(checkpoint.folder, name)
    return model.eval(), sorted(missing)


def _kept(before: NDArray[Any], after: NDArray[Any]) -> tuple[dict[str, float], list[float], list[str]]:
    """Scores, CKA of each layer, and what could not be had. States: (sentences, layers, d)."""
    scores = {"similarity_agreement": similarity_agreement(before[:, -1], after[:, -1])}
    if before.shape[1] != after.shape[1]:
        return scores, [], [f"CKA: the base has {before.shape[1] - 1} layers, the model {after.shape[1] - 1}."]
    cka = [linear_cka(before[:, layer], after[:, layer]) for layer in range(before.shape[1])]
    return {**scores, "cka_mean": float(np.mean(cka)), "cka_last": cka[-1]}, cka, []


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in scores.items()}


class Reader:
    """A model and the general sentences as its own tokenizer writes them."""

    def __init__(self, model: Any, folder: Path, sentences: Sequence[str], max_length: int) -> None:
        self.model = model
        self.folder = folder
        tokenizer = load_tokenizer(folder)
        tokenizer.enable_truncation(max_length)
        self.features: list[Feature] = [
            {"input_ids": e.ids, "special_tokens_mask": e.special_tokens_mask}
            for e in tokenizer.encode_batch(list(sentences))
        ]
        self.collate = PadBatch(model.config.pad_token_id or 0)

    def states(self) -> NDArray[np.float32]:
        """Mean over the tokens of each sentence: (sentences, layers + 1, d). The first ones are the embeddings."""
        return mean_states(self.model, self.collate, self.features, BATCH_SIZE)

    def nats_per_token(self, features: Sequence[Feature]) -> float:
        """Mean loss over all labels of the features, by the model's language-model head."""
        total, count = 0.0, 0
        with torch.inference_mode():
            for positions in by_length(features, BATCH_SIZE):
                batch = self.collate.on(self.model.device, [features[i] for i in positions])
                logits, gold = scored(LANGUAGE_MODEL, self.model, batch, batch.pop("labels"))
                total += float(cross_entropy(logits.float(), gold, Shape()))
                count += terms(gold)
        return total / count


def _losses(
    before: Reader, after: Reader, guesses: Callable[[Reader], list[Feature]], untrained: list[str]
) -> tuple[dict[str, float], list[str]]:
    """nats_before and nats_after where both have a trained language-model head and the same tokens."""
    if untrained:
        return {}, [f"Loss on general text: the base has no language-model head ({untrained[0]} is not in it)."]
    if before.features != after.features:
        return {}, ["Loss on general text: the base has another tokenizer, so losses per token do not compare."]
    features = guesses(before)
    if not features:
        return {}, ["Loss on general text: the tokenizer has no mask token."]
    return {"nats_before": before.nats_per_token(features), "nats_after": after.nats_per_token(features)}, []


def next_tokens(reader: Reader) -> list[Feature]:
    """Each token is to be told from those before it."""
    return [
        {"input_ids": feature["input_ids"], "labels": [*feature["input_ids"][1:], IGNORED_LABEL]}
        for feature in reader.features
    ]


def hidden_tokens(reader: Reader) -> list[Feature]:
    """Each token is hidden once, about a seventh of a sentence at a time, and is to be told from the rest.

    Which ones go together is drawn with a fixed seed. Empty where the tokenizer has no mask token.
    """
    mask = transformers.AutoTokenizer.from_pretrained(reader.folder).mask_token_id
    if mask is None:
        return []
    random, features = np.random.default_rng(0), []
    for feature in reader.features:
        words = np.flatnonzero(np.array(feature["special_tokens_mask"]) == 0)
        turns = random.permutation(len(words)) % PASSES
        for turn in range(min(PASSES, len(words))):
            ids, hidden = np.array(feature["input_ids"]), words[turns == turn]
            labels = np.full(len(ids), IGNORED_LABEL)
            labels[hidden], ids[hidden] = ids[hidden], mask
            features.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    return features


# A head that is a language model → what it is asked about the sentences.
GUESSES: dict[str, Callable[[Reader], list[Feature]]] = {
    "AutoModelForCausalLM": next_tokens,
    "AutoModelForMaskedLM": hidden_tokens,
}
