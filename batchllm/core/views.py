"""Typed views of what an answer has beside its text, the same for every provider."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from attrs import frozen

__all__ = ["AnswerViews", "Citation", "TokenLogprob", "ToolCall"]


@frozen
class ToolCall:
    """A tool that the model wants called.

    Attributes:
        name: The tool's name.
        arguments: As JSON has them; the text itself if it is not valid JSON, since it may have
            been cut off.
        id: What the tool's result has to refer to; ``None`` if the provider gave none.
    """

    name: str
    arguments: Any = None
    id: str | None = None


@frozen
class TokenLogprob:
    """One token of an answer with its probability.

    Attributes:
        token: Its text.
        logprob: The natural logarithm of its probability.
        top: The most probable tokens at this place, if they were asked for.
    """

    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@frozen
class Citation:
    """A source that an answer names.

    Attributes:
        url: Where it is, if it is on the web.
        title: What it is called.
        text: The words that are cited.
        start: Where the passage begins that it supports, in characters of the answer.
        end: Where that passage ends.
        source: A file or document by the provider's name or number for it, if it has no address.
    """

    url: str | None = None
    title: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None
    source: str | None = None


class AnswerViews:
    """Typed views of ``metadata``, the same for every provider; empty if it said nothing."""

    __slots__ = ()

    metadata: Mapping[str, Any] | None

    @property
    def finish_reason(self) -> str | None:
        """The reason why it ended: ``stop``, ``length``, ``filtered``, ``tool``, ``unknown``."""
        return _text(self._said("finish_reason"))

    @property
    def reasoning(self) -> str | None:
        """The reasoning before the answer, as far as the provider shows it."""
        return _text(self._said("reasoning"))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that the model wants called, in its order."""
        old = self._said("function_call")
        raw = [*_mappings(self._said("tool_calls")), *_mappings([old])]
        return tuple(call for one in raw if (call := _tool_call(one)) is not None)

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The probability of each token of the answer, if it was asked for."""
        return tuple(_logprobs(self._said("logprobs")))

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The sources that the answer names."""
        return tuple(_citation(one) for one in _mappings(self._said("citations")))

    @property
    def safety_ratings(self) -> Mapping[str, str]:
        """Harm category to probability, if the provider rates its answers."""
        rated = self._said("safety_ratings")
        ratings: Mapping[Any, Any] = rated if isinstance(rated, Mapping) else {}
        return {str(category): str(rating) for category, rating in ratings.items()}

    def _said(self, name: str) -> Any:
        return (self.metadata or {}).get(name)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        for one in cast("list[Any]", value):
            if isinstance(one, Mapping):
                yield cast("Mapping[str, Any]", one)


def _tool_call(raw: Mapping[str, Any]) -> ToolCall | None:
    """Read a call: OpenAI puts name and arguments under ``function``, others beside the id."""
    inner = raw.get("function")
    fields = cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else raw
    name = _text(fields.get("name"))
    if name is None:
        return None
    given = (fields.get(key) for key in ("arguments", "input", "args"))
    arguments = next((one for one in given if one is not None), None)
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    # Responses gives its items an id of their own, which no result refers to.
    return ToolCall(name, arguments, _text(raw.get("call_id")) or _text(raw.get("id")))


def _logprobs(value: object) -> Iterator[TokenLogprob]:
    for one in _mappings(value):
        token, logprob = one.get("token"), one.get("logprob")
        if isinstance(token, str) and isinstance(logprob, int | float):
            yield TokenLogprob(token, float(logprob), tuple(_logprobs(one.get("top_logprobs"))))


def _citation(raw: Mapping[str, Any]) -> Citation:
    start, end = (
        place if isinstance(place := raw.get(name), int) else None for name in ("start", "end")
    )
    url, title, text, source = (_text(raw.get(name)) for name in ("url", "title", "text", "source"))
    return Citation(url, title, text, start, end, source)
