"""Unknown arguments explained: what was meant, and where a setting is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from batchllm.core.errors import UnknownArgumentError

__all__ = ["explain_arguments", "names_alike"]

F = TypeVar("F", bound=Callable[..., Any])

# Each row has the names under which one thing goes here and in other libraries: httpx, openai,
# tenacity, joblib, LangChain. Spelling alone does not connect them, or connects the wrong ones:
# "max_retries" is nearer to "max_rate_limit_retries" than to "max_attempts".
_ALIKE: Final = (
    ("max_attempts", "max_retries", "retries", "num_retries", "n_retries", "attempts", "tries"),
    (
        "max_workers",
        "concurrency",
        "max_concurrency",
        "max_concurrent",
        "max_parallel",
        "parallelism",
        "workers",
        "num_workers",
        "n_jobs",
        "calls",
    ),
    ("max_requests_per_minute", "requests_per_minute", "max_rpm", "rpm"),
    ("max_tokens_per_minute", "tokens_per_minute", "max_tpm", "tpm"),
    ("timeout_per_item", "timeout"),
    ("attempt_timeout", "request_timeout", "call_timeout", "timeout"),
    ("batch_timeout", "total_timeout"),
    ("initial_wait", "base_delay", "initial_delay", "min_wait", "min_delay"),
    ("max_wait", "max_delay", "max_backoff"),
    ("exponential_base", "multiplier", "factor", "backoff_factor"),
    ("progress_callback", "on_progress", "progress", "callback"),
    ("middlewares", "middleware"),
    ("observers", "observer", "callbacks", "callback"),
    ("items", "prompts", "inputs", "messages"),
    ("strategy", "model", "llm", "client"),
    ("gate", "gates", "limiter", "rate_limiter"),
    ("retry", "retry_config"),
    ("rate_limit", "rate_limit_config"),
    ("config", "processor_config", "settings", "options"),
)

_REMARKS: Final = MappingProxyType({"max_attempts": ", which counts the first attempt too"})


def names_alike(name: str, known: Iterable[str]) -> list[str]:
    """Return those of *known* that mean what *name* means elsewhere; *name* itself first."""
    there = list(known)
    alike = [name, *(other for row in _ALIKE if name in row for other in row)]
    return [other for other in dict.fromkeys(alike) if other in there]


def explain_arguments(
    places: Mapping[str, str] = MappingProxyType({}), further: Iterable[str] = ()
) -> Callable[[F], F]:
    """Make a function or a class refuse an unknown keyword with a sentence that helps.

    Example::

        @explain_arguments({"max_workers": "config=ProcessorConfig(max_workers=…)"})
        async def run_batch(items, *, config=None, concurrency=None): ...

    Args:
        places: Settings that the target takes inside another argument, and how to write them.
        further: Names that it takes by a mapping of keywords.

    Returns:
        A decorator; the target keeps its signature and its type.
    """

    def decorate(target: F) -> F:
        known = [
            parameter.name
            for parameter in inspect.signature(target).parameters.values()
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_KEYWORD)
        ]
        known += further
        allowed = frozenset(known)
        title = target.__name__

        def check(given: Mapping[str, Any]) -> None:
            if not given.keys() <= allowed:
                raise UnknownArgumentError(_sentence(title, given, known, places))

        return _with_check(target, check)

    return decorate


def _with_check(target: F, check: Callable[[Mapping[str, Any]], None]) -> F:
    """Return *target*, which now passes its keywords to *check* before it begins."""
    if isinstance(target, type):
        kind = cast("type[Any]", target)
        begin = kind.__init__

        @wraps(begin)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            check(kwargs)
            begin(self, *args, **kwargs)

        kind.__init__ = init
        return cast("F", kind)
    if inspect.iscoroutinefunction(target):
        # Async as well, for those who ask whether it is, such as web frameworks.
        @wraps(target)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            return await target(*args, **kwargs)

        return cast("F", coroutine)

    @wraps(target)
    def function(*args: Any, **kwargs: Any) -> Any:
        check(kwargs)
        return target(*args, **kwargs)

    return cast("F", function)


def _sentence(
    title: str, given: Mapping[str, Any], known: list[str], places: Mapping[str, str]
) -> str:
    unknown = next(name for name in given if name not in known)
    meant = _meant(unknown, known, places)
    remedy = f"did you mean {' or '.join(meant)}?" if meant else f"it has {', '.join(known)}"
    return f"{title}() has no argument {unknown}; {remedy}"


def _meant(name: str, known: list[str], places: Mapping[str, str]) -> list[str]:
    """Return how to write what *name* probably stands for, the most direct way first."""
    own, inner = names_alike(name, known), names_alike(name, places)
    if not own and not inner:
        own = get_close_matches(name, known, n=1)
        inner = [] if own else get_close_matches(name, places, n=1)
    written = [*((one, f"{one}=…") for one in own), *((one, places[one]) for one in inner)]
    return [text + _REMARKS.get(one, "") for one, text in written]
