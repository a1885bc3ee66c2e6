"""The parts of an answer beside its text, in one form for the metadata of every provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Cited", "cited", "token_logprobs"]

Cited = dict[str, Any]
"""A source that an answer names: url, title, text, start, end, source, as far as they are known."""


def cited(
    *,
    url: object = None,
    title: object = None,
    text: object = None,
    start: object = None,
    end: object = None,
    source: object = None,
) -> Cited:
    """Put together what is known of a source; what is not, or is of a wrong type, is left out.

    Args:
        url: Where it is.
        title: What it is called.
        text: The words that are cited.
        start: Where the passage of the answer begins that it supports, in characters.
        end: Where that passage ends.
        source: The provider's name or number for a file or a document.
    """
    texts = {"url": url, "title": title, "text": text}
    places = {"start": start, "end": end}
    found: Cited = {name: one for name, one in texts.items() if isinstance(one, str) and one}
    found.update({name: one for name, one in places.items() if type(one) is int})
    return found if source is None else {**found, "source": str(source)}


def token_logprobs(said: object) -> list[Any]:
    """Read the probabilities of tokens as Chat Completions has them, or had them once.

    Args:
        said: ``{"content": [{"token": …, "logprob": …}]}``, or ``{"tokens": […],
            "token_logprobs": […]}``.
    """
    if not isinstance(said, Mapping):
        return []
    content = said.get("content")
    if isinstance(content, list):
        return content
    return list(_zipped(said.get("tokens"), said.get("token_logprobs")))


def _zipped(tokens: object, logprobs: object) -> Iterator[dict[str, Any]]:
    if isinstance(tokens, list) and isinstance(logprobs, list):
        for token, logprob in zip(tokens, logprobs, strict=False):
            yield {"token": token, "logprob": logprob}
