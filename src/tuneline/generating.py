"""Texts that a model writes: those of an encoder-decoder, a batch at a time, and what follows a given text.

input_ids (batch, tokens) → [Generated("Ein Mann mit Hut.", 0.71), ...]
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from tuneline.tasks.base import Feature, Generated


def generate(model: Any, tokenizer: Tokenizer, batch: Mapping[str, torch.Tensor]) -> list[Generated]:
    """One text for each row, by the settings of the model's generation config.

    What the attention mask leaves out changes nothing, so a row's text does not depend on the rest of its batch.
    """
    asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
    written = model.generate(**asked)  # (rows, tokens), the first one is the decoder's start
    ids, before = written[:, 1:], written[:, :-1]
    logits = model(**asked, decoder_input_ids=before).logits  # (rows, tokens, vocabulary)
    ours = _until_end(ids, model.generation_config.eos_token_id)
    losses = functional.cross_entropy(logits.float().transpose(1, 2), ids, reduction="none") * ours  # nats
    scores = torch.exp(-losses.sum(dim=1) / ours.sum(dim=1).clamp(min=1))
    kept = [row[mask].tolist() for row, mask in zip(ids.cpu(), ours.bool().cpu(), strict=True)]
    texts = tokenizer.decode_batch(kept, skip_special_tokens=True)
    return [Generated(text.strip(), score) for text, score in zip(texts, scores.tolist(), strict=True)]


def _until_end(ids: torch.Tensor, end: int | list[int] | None) -> torch.Tensor:
    """1 for the tokens of each row up to the first end token, which counts; 0 for the padding after it."""
    ends = torch.isin(ids, torch.tensor(end if end is not None else [], device=ids.device))
    return (ends.cumsum(dim=1) - ends.long() == 0).long()


def continuations(
    model: Any, tokenizer: Tokenizer, features: Sequence[Feature], settings: Mapping[str, Any]
) -> list[str]:
    """What likely follows each text: greedy or by beams, never drawn by chance. settings: of `model.generate`.

    One text at a time, so that none depends on its company. Of a text that is too long for the model's positions, the
    end is read.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    room = max(1, positions - settings["max_new_tokens"]) if positions else None
    found = []
    with torch.inference_mode():
        for feature in features:
            ids = feature["input_ids"][-room:] if room else feature["input_ids"]
            prompt = torch.tensor([ids], device=model.device)
            written = model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                use_cache=True,
                eos_token_id=feature["labels"][-1],
                pad_token_id=feature["labels"][-1],
                **settings,
            )
            found.append(tokenizer.decode(written[0, len(ids) :].tolist()))
    return found
