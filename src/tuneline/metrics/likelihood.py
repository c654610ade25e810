"""How likely a model finds a text. Losses are in nats: minus the natural logarithm of a probability."""

import math

LARGEST = 700.0  # nats per token; exp of more is no number


def perplexity(nats: float, tokens: int) -> float:
    """exp of the mean loss per predicted token. Lower is better; a uniform model has the size of its vocabulary."""
    return math.exp(min(nats / tokens, LARGEST))


def bits_per_byte(nats: float, length: int) -> float:
    """Bits that the text costs for each of its bytes in UTF-8. length: of the text, in bytes. Lower is better.

    It does not depend on how a tokenizer cuts the text, so models with different ones compare.
    """
    return nats / math.log(2) / length
