"""How likely a model finds a text. Losses are in nats: minus the natural logarithm of a probability.

Both functions take the numbers of one text, or arrays of them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST = 700.0  # nats per token; exp of more is no number


def perplexity(nats: ArrayLike, tokens: ArrayLike) -> NDArray[Any]:
    """exp of the mean loss per predicted token. Lower is better; a uniform model has the size of its vocabulary."""
    return np.exp(np.minimum(np.divide(nats, tokens), LARGEST))


def bits_per_byte(nats: ArrayLike, length: ArrayLike) -> NDArray[Any]:
    """Bits that a text costs for each of its bytes in UTF-8. length: of the text, in bytes. Lower is better.

    It does not depend on how a tokenizer cuts the text, so models with different ones compare.
    """
    return np.divide(nats, np.multiply(length, np.log(2)))
