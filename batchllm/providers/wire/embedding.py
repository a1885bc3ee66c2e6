"""What strategies that turn texts into vectors have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from batchllm.core import LLMCallStrategy, TokenUsage

__all__ = ["Embedder", "Vector", "as_texts"]

Vector = list[float]


class Embedder(LLMCallStrategy[list[Vector]]):
    """Turns each item, a text or a list of texts, into a list of vectors, one per text in order."""

    _size_parameter: ClassVar[str]
    _settings: dict[str, Any]

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
