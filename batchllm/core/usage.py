"""Token counts of a call: one shape for every provider, known zero apart from unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, TypedDict, cast

__all__ = ["TokenUsage", "add_usage", "normalize_usage"]


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
    if type(usage) is dict and "total_tokens" in usage and _is_settled(cast("Any", usage)):
        return cast("TokenUsage", usage)
    found = _read(usage)
    if not found:
        return None
    _settle_provider_quirks(usage, found)
    if "total_tokens" not in found and ("input_tokens" in found or "output_tokens" in found):
        found["total_tokens"] = found.get("input_tokens", 0) + found.get("output_tokens", 0)
    return cast("TokenUsage", found)


_KEYS = frozenset(TokenUsage.__annotations__)


def _is_settled(usage: dict[Any, Any]) -> bool:
    return usage.keys() <= _KEYS and all(type(n) is int and n >= 0 for n in usage.values())


# The same names without the nested ones, and the objects that those are in: a reply has few of
# them, so that looking for what is not there was most of the cost.
_FLAT: dict[str, tuple[str, ...]] = {
    key: tuple(name for name in names if "." not in name) for key, names in _NAMES.items()
}
_NESTED = frozenset(
    name.partition(".")[0] for names in _NAMES.values() for name in names if "." in name
)


def _read(usage: object) -> dict[str, int]:
    found: dict[str, int] = {}
    if isinstance(usage, dict):
        counts = cast("dict[str, Any]", usage)
        names_of = _FLAT if _NESTED.isdisjoint(counts) else _NAMES
        look: Callable[[str], object] = counts.get if names_of is _FLAT else _reader(usage)
    else:
        names_of, look = _NAMES, _reader(usage)
    for key, names in names_of.items():
        for name in names:
            value = look(name)
            if value is None:
                continue
            if type(value) is int and value >= 0:
                found[key] = value
                break
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf:
                found[key] = int(value)
                break
    return found


def _reader(usage: object) -> Callable[[str], object]:
    def look(path: str) -> object:
        value: Any = usage
        if "." not in path and isinstance(usage, dict):
            return value.get(path)
        for part in path.split("."):
            value = (
                cast("Mapping[str, Any]", value).get(part)
                if isinstance(value, Mapping)
                else getattr(value, part, None)
            )
            if value is None:
                return None
        return value

    return look


def _settle_provider_quirks(usage: object, found: dict[str, int]) -> None:
    look = _reader(usage)
    if look("cache_read_input_tokens") is not None or look("cache_creation_input_tokens"):
        # Anthropic counts cache reads and writes beside input_tokens, everyone else within.
        extra = found.get("cached_input_tokens", 0) + found.get("cache_write_tokens", 0)
        found["input_tokens"] = found.get("input_tokens", 0) + extra
        found.pop("total_tokens", None)
    if look("candidates_token_count") is not None or look("thoughts_token_count") is not None:
        # Gemini counts thoughts beside the candidates and tool prompts beside the prompt.
        found["output_tokens"] = found.get("output_tokens", 0) + found.get("reasoning_tokens", 0)
        tool_prompt = look("tool_use_prompt_token_count")
        if isinstance(tool_prompt, int):
            found["input_tokens"] = found.get("input_tokens", 0) + tool_prompt


def add_usage(left: TokenUsage | None, right: TokenUsage | None) -> TokenUsage | None:
    """The sum of two usages; what only one of them knows is taken from that one."""
    if left is None:
        return right
    if right is None:
        return left
    total = dict(left)
    for key, value in right.items():
        total[key] = cast("int", total.get(key, 0)) + cast("int", value)
    return cast("TokenUsage", total)
