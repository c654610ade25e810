"""Texts continued by a causal language model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from tuneline.tasks.base import Feature


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
