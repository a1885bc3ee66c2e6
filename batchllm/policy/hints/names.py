"""The names of rate limit headers: which limit each one is about, and which part of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from batchllm.core import Dimension

__all__ = ["Group", "Place", "Places", "Wait", "place_of", "places_in"]

Part = Literal["limit", "remaining", "reset"]

_MINUTE: Final = 60.0
_PERIODS: Final = {
    "second": 1.0,
    "minute": _MINUTE,
    "hour": 3_600.0,
    "day": 86_400.0,
}
_DIMENSIONS: Final[dict[str, Dimension]] = {
    "": "requests",
    "req": "requests",
    "requests": "requests",
    "tokens": "tokens",
    "tokens_usage_based": "tokens",
    "input-tokens": "input_tokens",
    "tokens-prompt": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-generated": "output_tokens",
    "concurrency": "concurrency",
    "concurrent": "concurrency",
    "concurrent-requests": "concurrency",
    "max-parallel-requests": "concurrency",
    "max_parallel_requests": "concurrency",
    "parallel-requests": "concurrency",
}
_ANTHROPIC_ROUNDING: Final = 1_000
"""Tokens to which Anthropic rounds what remains, so as many may be missing from it."""
_UPSTREAM: Final = "llm_provider-"
"""The prefix that LiteLLM puts before the headers of the provider behind it."""
_MOST_NAMES: Final = 64
"""Names of one reply that are kept together: hosted APIs send 20 to 30."""
# x-ratelimit-remaining-requests, x-ratelimit-api_key-limit-tokens, ratelimit-reset.
_NAMED: Final = re.compile(
    r"(?:x-)?rate-?limit-(?:([a-z0-9_]{1,40})-)?(limit|remaining|reset)(?:-([a-z0-9_-]{1,60}))?"
)
_ANTHROPIC: Final = re.compile(r"anthropic-ratelimit-([a-z-]{1,40})-(limit|remaining|reset)")
_PERIOD: Final = re.compile(r"(.*?)-?(?:per-)?(second|minute|hour|day)")


class Wait(NamedTuple):
    """A header that asks for a wait; of those in one reply the one of the lowest rank counts.

    Attributes:
        rank: The most exact unit comes first, and the server itself before one behind it.
        milliseconds: Whether the number is in milliseconds.
    """

    rank: int
    milliseconds: bool


class Place(NamedTuple):
    """The place where a header belongs.

    Attributes:
        limit: The name of the limit, the same for its amount, what remains and its reset.
        part: Which of these it is.
        dimension: What is limited.
        per: Seconds that the amount refers to, where the name gives them; else the usual minute.
        stated: Whether the name gives them.
        infers: Whether the same name is used for limits of a day.
        margin: What may be missing of the number that remains.
    """

    limit: str
    part: Part
    dimension: Dimension
    per: float | None
    stated: bool = False
    infers: bool = False
    margin: int = 0


class Group(NamedTuple):
    """The headers of one limit in one reply, by name; ``None`` for a part that is not there."""

    place: Place
    amount: str | None
    remaining: str | None
    reset: str | None


class Places(NamedTuple):
    """The headers of one reply that say something about waits and limits, by name.

    Attributes:
        waits: Those that ask for one, the one that counts first.
        groups: The limits, in the order of their first header.
        retry: The last ``x-should-retry``.
    """

    waits: tuple[tuple[str, Wait], ...]
    groups: tuple[Group, ...]
    retry: str | None


_WAITS: Final = {
    "retry-after-ms": Wait(0, True),
    "x-ms-retry-after-ms": Wait(1, True),
    "retry-after": Wait(2, False),
    "x-amz-retry-after": Wait(3, True),
    f"{_UPSTREAM}retry-after-ms": Wait(4, True),
    f"{_UPSTREAM}retry-after": Wait(5, False),
}


# Names come from the server: the cache is bounded, and real replies use a few dozen of them.
@lru_cache(maxsize=512)
def place_of(name: str) -> Place | Wait | Literal["retry"] | None:
    """Return what the header *name*, in any case, says; ``None`` if nothing about limits.

    ``"retry"`` stands for ``x-should-retry``. The limits of a provider behind a gateway are left
    out: a gateway may spread calls over several of them, whose numbers do not fit together.
    """
    low = name.lower()
    if low in _WAITS:
        return _WAITS[low]
    if low == "x-should-retry":
        return "retry"
    if "limit" not in low or low.startswith(_UPSTREAM):
        return None
    anthropic = _ANTHROPIC.fullmatch(low)
    if anthropic:
        return _anthropic(anthropic[1], anthropic[2])
    named = _NAMED.fullmatch(low)
    return None if named is None else _general(named[1] or "", named[2], named[3] or "")


def places_in(names: tuple[str, ...]) -> Places | None:
    """Return those of *names* that say something about waits and limits; ``None`` if none does.

    A server sends the same names in the same order, reply after reply.
    """
    return _looked_up(names) if len(names) <= _MOST_NAMES else _look_up(names)


def _look_up(names: tuple[str, ...]) -> Places | None:
    waits: dict[int, tuple[str, Wait]] = {}
    groups: dict[str, tuple[Place, dict[str, str]]] = {}
    retry: str | None = None
    for name in names:
        place = place_of(name)
        if place == "retry":
            retry = name
        elif isinstance(place, Wait):
            waits[place.rank] = name, place
        elif place is not None:
            groups.setdefault(place.limit, (place, {}))[1][place.part] = name
    if not (waits or groups or retry):
        return None
    return Places(
        tuple(waits[rank] for rank in sorted(waits)),
        tuple(
            Group(place, parts.get("limit"), parts.get("remaining"), parts.get("reset"))
            for place, parts in groups.values()
        ),
        retry,
    )


_looked_up: Final = lru_cache(maxsize=64)(_look_up)


def _anthropic(name: str, part: str) -> Place | None:
    dimension = _DIMENSIONS.get(name)
    if dimension is None:
        return None  # the "unified" ones belong to subscriptions
    margin = 0 if dimension in ("requests", "concurrency") else _ANTHROPIC_ROUNDING
    per = None if dimension == "concurrency" else _MINUTE
    return Place(f"anthropic {name}", _part(part), dimension, per, margin=margin)


def _general(owner: str, part: str, name: str) -> Place | None:
    limit = f"{owner} {name}".strip()
    name = name.removeprefix("project-")
    period = _PERIOD.fullmatch(name)
    if period:
        dimension = _DIMENSIONS.get(period[1])
        stated = _PERIODS[period[2]]
        return None if dimension is None else Place(limit, _part(part), dimension, stated, True)
    dimension = _DIMENSIONS.get(name)
    if dimension is None:
        return None
    if not name or dimension == "concurrency":
        return Place(limit, _part(part), dimension, None)
    return Place(limit, _part(part), dimension, _MINUTE, infers=True)


def _part(text: str) -> Part:
    return "limit" if text == "limit" else "remaining" if text == "remaining" else "reset"
