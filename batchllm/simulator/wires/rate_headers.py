"""The headers in which providers report their limits, one function per provider."""

import math
from collections.abc import Callable, Iterator, Mapping

from batchllm.simulator.wires.durations import go_duration, timestamp
from batchllm.simulator.wires.exchange import Context, Headers, LimitState

Pairs = Iterator[tuple[str, str]]


def rate_headers(context: Context, style: str | None = None) -> Headers:
    """Return limits and wait of `context` in a style, by default that of its profile."""
    return tuple(_STYLES.get(style or context.profile, _silent)(context))


def _openai(context: Context) -> Pairs:
    yield from _limits(context, {"requests": "requests", "tokens": "tokens"})
    yield from _wait(context, milliseconds=True)


def _azure(context: Context) -> Pairs:
    for state in context.limits:
        if state.dimension in {"requests", "tokens"}:
            yield f"x-ratelimit-remaining-{state.dimension}", str(int(state.remaining))
            yield f"x-ratelimit-reset-{state.dimension}", str(math.ceil(state.reset))
    yield from _wait(context, milliseconds=True)


def _azure_blind(context: Context) -> Pairs:
    for dimension in ("requests", "tokens"):
        yield f"x-ratelimit-limit-{dimension}", "-1"
        yield f"x-ratelimit-remaining-{dimension}", "-1"
        yield f"x-ratelimit-reset-{dimension}", "0"


def _groq(context: Context) -> Pairs:
    yield from _limits(context, {"requests_per_day": "requests", "tokens": "tokens"})
    yield from _wait(context, milliseconds=False)


def _mistral(context: Context) -> Pairs:
    names = {"requests": "req-minute", "tokens": "tokens-minute"}
    for state in context.limits:
        if name := names.get(state.dimension):
            yield f"x-ratelimit-limit-{name}", str(int(state.limit * 60 / state.window))
            yield f"x-ratelimit-remaining-{name}", str(int(state.remaining))
    yield from _wait(context, milliseconds=False)


def _openrouter(context: Context) -> Pairs:
    if context.retry_after is None:
        return
    for state in context.limits:
        if state.dimension == "requests":
            yield "X-RateLimit-Limit", str(int(state.limit))
            yield "X-RateLimit-Remaining", str(int(state.remaining))
            yield "X-RateLimit-Reset", str(int((context.now + state.reset) * 1000))
    yield from _wait(context, milliseconds=False)


def _anthropic(context: Context) -> Pairs:
    for state in context.limits:
        if state.dimension in {"requests", "tokens", "input_tokens", "output_tokens"}:
            name = f"anthropic-ratelimit-{state.dimension.replace('_', '-')}"
            remaining = int(state.remaining)
            if state.dimension != "requests":
                remaining = round(remaining, -3)
            yield f"{name}-limit", str(int(state.limit))
            yield f"{name}-remaining", str(remaining)
            yield f"{name}-reset", timestamp(math.ceil(context.now + state.reset))
    yield from _wait(context, milliseconds=False)


def _wait_only(context: Context) -> Pairs:
    yield from _wait(context, milliseconds=False)


def _silent(_context: Context) -> Pairs:
    yield from ()


def _limits(context: Context, names: Mapping[str, str]) -> Pairs:
    for state in context.limits:
        if name := names.get(state.dimension):
            yield from _limit(state, name)


def _limit(state: LimitState, name: str) -> Pairs:
    yield f"x-ratelimit-limit-{name}", str(int(state.limit))
    yield f"x-ratelimit-remaining-{name}", str(int(state.remaining))
    yield f"x-ratelimit-reset-{name}", go_duration(state.reset)


def _wait(context: Context, *, milliseconds: bool) -> Pairs:
    wait = context.retry_after
    if wait is None:
        return
    if isinstance(wait, str):
        yield "retry-after", wait
        return
    yield "retry-after", str(math.ceil(wait))
    if milliseconds:
        yield "retry-after-ms", str(math.ceil(wait * 1000))


_STYLES: Mapping[str, Callable[[Context], Pairs]] = {
    "openai": _openai,
    "azure": _azure,
    "azure-blind": _azure_blind,
    "groq": _groq,
    "mistral": _mistral,
    "openrouter": _openrouter,
    "anthropic": _anthropic,
    "together": _openai,
    "vllm": _wait_only,
    "ollama": _wait_only,
}
