"""Token counts of a call: one shape for every provider, known zero apart from unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypedDict, cast

__all__ = ["TokenUsage", "add_usage", "counted_usage", "normalize_usage", "read_count"]


_MOST: Final = 10**12
"""The most tokens that are a count: what a server reports beyond, 10⁵ times what any model reads,
is a mistake of its own, and the sums of many such would fit into no database."""


class TokenUsage(TypedDict, total=False):
    """Tokens of one call or of many.

    ``input_tokens`` includes what was read from or written to a cache, ``output_tokens``
    includes reasoning. A key that is absent is unknown, which is not the same as 0.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


# Where providers' SDKs and frameworks keep the same number; dots lead into nested objects.
_NAMES: dict[str, tuple[str, ...]] = {
    "input_tokens": (
        "input_tokens",
        "prompt_tokens",
        "request_tokens",
        "prompt_token_count",
        "prompt_eval_count",
    ),
    "output_tokens": (
        "output_tokens",
        "completion_tokens",
        "response_tokens",
        "candidates_token_count",
        "eval_count",
    ),
    "total_tokens": ("total_tokens", "total_token_count"),
    "cached_input_tokens": (
        "cached_input_tokens",
        "cache_read_tokens",
        "cache_read_input_tokens",
        "cached_content_token_count",
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "input_token_details.cache_read",
        "prompt_cache_hit_tokens",
        "num_cached_tokens",
    ),
    "cache_write_tokens": (
        "cache_write_tokens",
        "cache_creation_input_tokens",
        "prompt_tokens_details.cache_write_tokens",
        "input_tokens_details.cache_write_tokens",
        "input_token_details.cache_creation",
    ),
    "reasoning_tokens": (
        "reasoning_tokens",
        "thoughts_token_count",
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
        "output_tokens_details.thinking_tokens",
        "output_token_details.reasoning",
        "details.reasoning_tokens",
    ),
}


def normalize_usage(usage: object) -> TokenUsage | None:
    """Read *usage* as a ``TokenUsage``.

    Args:
        usage: A mapping, a provider's usage object (attributes such as ``prompt_tokens``),
            or ``None`` for unknown.

    Returns:
        The counts that were found, with a missing total filled in as the sum of input and
        output; ``None`` where nothing is known.
    """
    if usage is None:
        return None
    fields: Any = usage if type(usage) is dict else _fields_of(usage)
    names = tuple(fields)
    layout = _layout_of(names) if len(names) <= _MOST_NAMES else _read_layout(names)
    if layout.settled and type(usage) is dict and _are_counts(usage):
        return usage  # type: ignore[return-value]
    found: Any = _read(fields, layout.places)
    if not found:
        return None
    if layout.quirky:
        _settle_provider_quirks(fields.get, found)
    if "total_tokens" not in found and ("input_tokens" in found or "output_tokens" in found):
        found["total_tokens"] = found.get("input_tokens", 0) + found.get("output_tokens", 0)
    read: TokenUsage = found
    return read


def counted_usage(usage: TokenUsage | None) -> TokenUsage | None:
    """Return *usage* of a model's answer, ``None`` if all its counts are zero.

    No call of a model takes nothing: some servers send zeros for counts that they do not have.
    """
    return usage if usage and any(usage.values()) else None


def read_count(value: object) -> int | None:
    """Return *value* as a count, also if it is a text or a float; ``None`` if it is no count."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _MOST else None


_KEYS = frozenset(TokenUsage.__annotations__)


class _Place(NamedTuple):
    """A place where a usage may have a count.

    Attributes:
        field: The name of the field.
        inner: The name within that field, if it holds others; else empty.
        key: What is counted there.
    """

    field: str
    inner: str
    key: str


def _places() -> tuple[_Place, ...]:
    found: list[_Place] = []
    for key, names in _NAMES.items():
        for name in names:
            outer, _, inner = name.partition(".")
            found.append(_Place(outer, inner, key))
    return tuple(found)


_PLACES = _places()
"""All that is known, by what is counted; where two of a usage count the same, the first has it."""


_FIELDS = frozenset({place.field for place in _PLACES} | {"tool_use_prompt_token_count"})
_QUIRKS = frozenset(
    {
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "candidates_token_count",
        "thoughts_token_count",
    }
)
"""The fields of providers that count some tokens beside others, and not among them."""


class _Layout(NamedTuple):
    """The fields of a usage, read.

    Attributes:
        settled: Whether they are those of a ``TokenUsage`` with its total.
        quirky: Whether a provider counts some of them beside others.
        places: Where its counts are.
    """

    settled: bool
    quirky: bool
    places: tuple[_Place, ...]


_MOST_NAMES: Final = 64
"""Fields of a usage whose names are kept: twice the thirty that are known. They come from a server,
whose reply may be of any size, and are kept until the program ends."""


def _read_layout(fields: tuple[str, ...]) -> _Layout:
    """Read the names of the *fields* of a usage.

    The usages of an endpoint have the same ones over and over, a handful of the thirty that are
    known: to look for them once takes a quarter off what each costs to read.
    """
    names = frozenset(fields)
    return _Layout(
        settled="total_tokens" in names and names <= _KEYS,
        quirky=not _QUIRKS.isdisjoint(names),
        places=tuple(place for place in _PLACES if place.field in names),
    )


_layout_of: Final = lru_cache(maxsize=64)(_read_layout)


def _are_counts(usage: dict[Any, Any]) -> bool:
    for count in usage.values():  # noqa: SIM110 - a generator costs as much again
        if type(count) is not int or not 0 <= count <= _MOST:
            return False
    return True


def _fields_of(usage: Any) -> Mapping[str, object]:
    """Return the fields of a usage by name; of an object only those that we know."""
    if isinstance(usage, Mapping):
        fields: Mapping[str, object] = usage
        return fields
    return {name: getattr(usage, name, None) for name in sorted(_known_fields(usage))}


def _known_fields(usage: object) -> frozenset[str]:
    """Return the names that we know and that *usage* has.

    Asked for one by one, those that it has not cost a Pydantic model a microsecond each; so its
    own, the extra ones that such a model keeps apart, and its classes' are gathered. An object
    that answers for names which stand nowhere is asked for all.
    """
    kind = type(usage)
    extra = getattr(usage, "__pydantic_extra__", None)
    if hasattr(kind, "__getattr__") and not hasattr(kind, "__pydantic_extra__"):
        return _FIELDS
    names = _FIELDS & getattr(usage, "__dict__", {}).keys()
    if isinstance(extra, dict):
        names |= _FIELDS & cast("dict[str, object]", extra).keys()
    for base in kind.__mro__:
        names |= _FIELDS & vars(base).keys()
    return names


def _read(fields: Mapping[str, object], places: tuple[_Place, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for field, inner, key in places:
        value: Any = fields[field]
        if inner:
            value = value.get(inner) if type(value) is dict else _look_into(value, inner)
        if key in found:
            continue
        if type(value) is int and 0 <= value <= _MOST:  # nearly always
            found[key] = value
        elif value is not None and (count := read_count(value)) is not None:
            found[key] = count
    return found


def _look_into(details: Any, name: str) -> object:
    """Return the field *name* of what a field of a usage holds; ``None`` if it has none."""
    mapping = isinstance(details, Mapping)
    return details.get(name) if mapping else getattr(details, name, None)


def _settle_provider_quirks(look: Callable[[str], object], found: dict[str, int]) -> None:
    if look("cache_read_input_tokens") is not None or look("cache_creation_input_tokens"):
        # Anthropic counts cache reads and writes beside input_tokens, everyone else within.
        extra = found.get("cached_input_tokens", 0) + found.get("cache_write_tokens", 0)
        found["input_tokens"] = found.get("input_tokens", 0) + extra
        found.pop("total_tokens", None)
    if look("candidates_token_count") is not None or look("thoughts_token_count") is not None:
        # Gemini counts thoughts beside the candidates and tool prompts beside the prompt.
        found["output_tokens"] = found.get("output_tokens", 0) + found.get("reasoning_tokens", 0)
        tool_prompt = read_count(look("tool_use_prompt_token_count"))
        if tool_prompt is not None:
            found["input_tokens"] = found.get("input_tokens", 0) + tool_prompt


def add_usage(left: TokenUsage | None, right: TokenUsage | None) -> TokenUsage | None:
    """Return the sum of two usages; what only one of them knows is taken from that one."""
    if left is None:
        return right
    if right is None:
        return left
    total = dict(left)
    for key, value in right.items():
        total[key] = cast("int", total.get(key, 0)) + cast("int", value)
    return cast("TokenUsage", total)
