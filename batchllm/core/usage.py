"""Token counts of a call: one shape for every provider, known zero apart from unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict, cast

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
    given: Any = usage
    if type(given) is dict and "total_tokens" in given and _is_settled(given):
        return given  # type: ignore[return-value]
    fields = given if type(given) is dict else _fields_of(given)
    found: Any = _read(fields)
    if not found:
        return None
    if not _QUIRKS.isdisjoint(fields):
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

# The same table by the providers' names: a usage has a handful of fields and there are thirty
# names for them, so its fields are looked up among the names, not the names among its fields
# (3 µs, not 25). Where two fields are the same count, the name of the lower rank has it.
_KEY_OF: dict[str, str] = {}
_NESTED: dict[str, list[tuple[str, str, str]]] = {}
"""For each field that holds others: the other's name, its full name, and what it counts."""
_RANKS: dict[str, int] = {}
for _key, _names in _NAMES.items():
    for _name in _names:
        _RANKS[_name] = len(_RANKS)
        _outer, _, _inner = _name.partition(".")
        if _inner:
            _NESTED.setdefault(_outer, []).append((_inner, _name, _key))
        _KEY_OF[_name] = _key
_FIELDS = frozenset(
    {_name.partition(".")[0] for _name in _KEY_OF} | {"tool_use_prompt_token_count"}
)
_QUIRKS = frozenset(
    {
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "candidates_token_count",
        "thoughts_token_count",
    }
)
"""The fields of providers that count some tokens beside others, and not among them."""


def _is_settled(usage: dict[Any, Any]) -> bool:
    if not usage.keys() <= _KEYS:
        return False
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


def _read(fields: Mapping[str, object]) -> dict[str, int]:
    found: dict[str, int] = {}
    names: dict[str, str] = {}
    for name, value in fields.items():
        key = _KEY_OF.get(name)
        if key is not None:
            if type(value) is int and 0 <= value <= _MOST and key not in found:  # nearly always
                found[key], names[key] = value, name
            else:
                _note(found, names, name, value)
        elif value is not None and name in _NESTED:
            _read_nested(found, names, name, value)
    return found


def _read_nested(found: dict[str, int], names: dict[str, str], outer: str, details: Any) -> None:
    mapping = type(details) is dict or isinstance(details, Mapping)
    for name, path, key in _NESTED[outer]:
        value = details.get(name) if mapping else getattr(details, name, None)
        if type(value) is int and 0 <= value <= _MOST and key not in found:  # nearly always
            found[key], names[key] = value, path
        elif value is not None:
            _note(found, names, path, value)


def _note(found: dict[str, int], names: dict[str, str], name: str, value: object) -> None:
    """Keep *value* if it is a count, and no name of a lower rank has given it."""
    count = None if value is None else read_count(value)
    key = _KEY_OF[name]
    if count is not None and (key not in found or _RANKS[name] < _RANKS[names[key]]):
        found[key], names[key] = count, name


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
