"""The base of strategies that turn texts into vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from batchllm.core import CallCost, LLMCallStrategy, TokenUsage
from batchllm.providers.wire.answers import malformed
from batchllm.providers.wire.request import cost_of

__all__ = ["Embedder", "Vector", "as_texts", "check_vectors"]

Vector = list[float]


class Embedder(LLMCallStrategy[list[Vector]]):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order."""

    takes_texts = True
    per_loop = True

    _size_parameter: ClassVar[str]
    _settings: dict[str, Any]

    def estimate(self, prompt: Any) -> CallCost | None:
        """Estimate the tokens of a call: those of the texts, since vectors are no output."""
        return cost_of(prompt, 0)

    async def dry_run(self, prompt: Any) -> tuple[list[Vector], TokenUsage]:
        """Give vectors of zeros, with no call made."""
        texts = as_texts(prompt)
        usage: TokenUsage = {"input_tokens": 100, "output_tokens": 0, "total_tokens": 100}
        length = int(self._settings.get(self._size_parameter, 8))
        return [[0.0] * length for _ in texts], usage


def as_texts(prompt: Any) -> Sequence[str]:
    """Return the texts of an item to embed.

    Raises:
        ValueError: It is neither a text nor a list of texts.
    """
    if isinstance(prompt, str):
        return [prompt]
    texts: Sequence[Any] = prompt if isinstance(prompt, (list, tuple)) else ()
    if not texts or not all(isinstance(text, str) for text in texts):
        msg = (
            f"an item to embed is a text or a list of texts, not empty; this one is a "
            f"{type(prompt).__name__}"
        )
        raise ValueError(msg)
    return texts


def check_vectors(vectors: Sequence[Any], server: str, usage: TokenUsage | None) -> None:
    """Pass if *vectors* can be those of one model.

    Args:
        vectors: One for each text.
        server: Named in the message.
        usage: The tokens that they cost, for the error.

    Raises:
        MalformedResponseError: One is empty, of another length than the first, or has something
            else in it than finite numbers.
    """
    for position, vector in enumerate(vectors):
        if not isinstance(vector, list) or not vector or len(vector) != len(vectors[0]):
            what = f"{len(vector)} numbers" if isinstance(vector, list) else "no list"
            msg = (
                f"{server} gave vectors of different lengths, or empty ones: that of text "
                f"{position} has {what}"
            )
            raise malformed(msg, usage)
        try:
            is_finite = math.isfinite(sum(vector))  # a tenth of the time that each by itself takes
        except (TypeError, OverflowError):
            is_finite = False
        if not is_finite:
            msg = f"{server} gave a vector that has NaN, infinity or no number in it: {position}"
            raise malformed(msg, usage)
