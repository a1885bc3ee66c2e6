"""Parameters, options and bytes of a request, and what is refused before anything is sent.

Known names pass, others are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from batchllm.core import CallCost, ConfigError, UnknownArgumentError, check_sendable, kind_of
from batchllm.policy import prompt_bytes

__all__ = [
    "OnlineOnlyError",
    "WireRequest",
    "as_dict",
    "check_names",
    "check_options",
    "cost_of",
    "encode",
]


class OnlineOnlyError(ValueError):
    """The item can be called for, and its request cannot be one line of a batch."""


class WireRequest(NamedTuple):
    """A request as a provider gets it.

    Attributes:
        path: Behind the provider's address.
        model: The model that it asks.
        body: JSON.
    """

    path: str
    model: str
    body: bytes


_OURS: Final = {
    "model": "it is part of the model's name",
    "messages": "they are the prompt",
    "stream": "say stream=True when the model is made",
    "stream_options": "they are set by stream=True",
    "n": "one call gives one answer; submit the item several times",
}


def as_dict(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of a mapping that may be left out."""
    return dict(given or {})


def check_names(names: Iterable[str], known: Collection[str], provider: str) -> None:
    """Pass if each of *names* is among *known*.

    Raises:
        ConfigError: One is not; it names it, the nearest known one, and ``extra``.
    """
    for name in names:
        if name in known:
            continue
        if name in _OURS:
            msg = f"parameter {name!r} cannot be set here: {_OURS[name]}"
            raise ConfigError(msg)
        near = difflib.get_close_matches(name, sorted(known), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        msg = (
            f"unknown parameter {name!r} for {provider}{meant} To send it all the same, give it "
            f"in extra={{{name!r}: …}}"
        )
        raise ConfigError(msg)


_KINDS: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "base_url": (str, "an address"),
    "extra": (Mapping, "a mapping"),
    "parameters": (Mapping, "a mapping"),
    "schema": (Mapping, "a JSON schema"),
    "schema_name": (str, "a text"),
    "stream": (bool, "True or False"),
}


def check_options(owner: type[Any], options: Mapping[str, object], known: Collection[str]) -> None:
    """Pass if each of *options* is known to *owner* and of the kind that it has to be.

    Raises:
        UnknownArgumentError: One is not known. The message has *owner*'s name, which is the class
            that the caller wrote, whichever class reads the option.
        ConfigError: One is of a wrong kind.
    """
    for name, value in options.items():
        if name not in known:
            given = inspect.signature(owner).parameters.values()
            own = [*known, *(one.name for one in given if one.kind is one.KEYWORD_ONLY)]
            near = difflib.get_close_matches(name, own, n=1)
            meant = f"did you mean {near[0]}=…?" if near else f"it has {', '.join(own)}"
            msg = f"{owner.__name__}() has no argument {name}; {meant}"
            raise UnknownArgumentError(msg)
        kind, remedy = _KINDS.get(name, (object, ""))
        if value is not None and not isinstance(value, kind):
            msg = f"{owner.__name__}.{name} is {kind_of(value)}; give {remedy}"
            raise ConfigError(msg)


def cost_of(prompt: Any, limit: object) -> CallCost | None:
    """Estimate the tokens of a call with *prompt*; ``None`` if no *limit* bounds the answer."""
    return CallCost(1, prompt_bytes(prompt) // 4 + 16, limit) if isinstance(limit, int) else None


_ENCODER: Final = msgspec.json.Encoder()


def encode(request: Mapping[str, Any]) -> bytes:
    """Write *request* as JSON.

    Raises:
        InvalidItemError: A text in it cannot be encoded, or a number is not finite.
        TypeError: A value in it has no form in JSON.
    """
    try:
        body = _ENCODER.encode(request)
    except Exception:
        check_sendable(request)  # if a text is the reason, it names the field
        raise
    if b"null" in body:  # as the encoder writes NaN and infinity; few requests have a None
        check_sendable(request)
    return body
