"""The shapes that users fill in: strategies, models, classifiers."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import (
    Any,
    Final,
    Generic,
    Protocol,
    TypeVar,
    cast,
    runtime_checkable,
)

from attrs import evolve, field, frozen

from batchllm.core.hints import CallCost, Outcome, QuotaScope, ServerHint
from batchllm.core.prices import Price
from batchllm.core.usage import TokenUsage
from batchllm.core.views import AnswerViews

__all__ = [
    "Category",
    "ErrorClassifier",
    "ErrorInfo",
    "LLMCallStrategy",
    "LLMModel",
    "LLMResponse",
    "ManagedLLMModel",
]

T_co = TypeVar("T_co", covariant=True)


class LLMCallStrategy(ABC, Generic[T_co]):
    """Makes LLM calls, and keeps ready what they need.

    Subclass it, as a plain class or an attrs class, and write ``execute``; the other hooks are
    optional. ``execute`` and ``on_error`` may leave their ``state`` parameter out. One instance
    may serve any number of items at once, so what belongs to one item goes into ``state``.

    Attributes:
        quota_scope: The quota that this strategy's calls count against. By default the one that
            all strategies without a name of their own share. ``None`` marks a composite, which
            makes no calls itself and calls its ``parts`` by ``state.call``.
        parts: The strategies that a composite calls; the run prepares and cleans up each once.
        price: What its calls cost, unless the settings' ``prices`` say otherwise; ``None`` looks it
            up in the list of ``batchllm[prices]``.
        takes_texts: Whether a prompt may also be a list of texts, as for embeddings.
        per_loop: Whether ``prepare`` and ``cleanup`` may run on several event loops at once, since
            what they open is kept per loop. If not, a strategy that overrides one of them and is in
            use on one loop is refused on a second.
    """

    quota_scope: QuotaScope | None = QuotaScope()
    parts: Sequence[LLMCallStrategy[Any]] = ()
    price: Price | None = None
    takes_texts: bool = False
    per_loop: bool = False

    async def prepare(self) -> None:
        """Get ready. Called once per instance before its first ``execute``.

        Overlapping runs, pools and single calls on one event loop share one preparation; the last
        of them to end cleans up.

        What it opens must not be a cancel scope or a task group: those cannot outlive it.
        """

    @abstractmethod
    async def execute(
        self, prompt: Any, attempt: int, timeout: float, *args: Any, **kwargs: Any
    ) -> tuple[T_co, Any] | tuple[T_co, Any, Mapping[str, Any] | None]:
        """Make the call: ``execute(prompt, attempt, timeout[, state])``.

        Args:
            prompt: The item's prompt.
            attempt: 1 for the first attempt; a rate limit does not raise it.
            timeout: Seconds until the call is cancelled.
            state: The item's ``RetryState``, handed over where there is a fourth parameter.

        Returns:
            ``(output, usage)`` or ``(output, usage, metadata)``. *usage* is a mapping as
            ``TokenUsage``, a provider's usage object, or ``None`` where it is unknown.

        Raises:
            Exception: The attempt failed; whether it is repeated depends on the error.
        """

    async def on_error(self, exception: Exception, attempt: int, *args: Any, **kwargs: Any) -> None:
        """React to a failed attempt: ``on_error(exception, attempt[, state])``.

        Called after every failed attempt, the last one and rate limits included, before it is
        decided whether there is another. If it raises, that is noted in the result.
        """

    async def dry_run(self, prompt: Any) -> tuple[T_co, TokenUsage]:
        """Stand in for ``execute`` in a dry run: a text that shows the prompt's beginning."""
        text = f"[DRY-RUN] Mock output for prompt: {str(prompt)[:50]}..."
        usage: TokenUsage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
        return cast("T_co", text), usage

    async def cleanup(self) -> None:
        """Let go of what ``prepare`` took. Called once, shielded, when the last run has ended."""

    def estimate(self, prompt: Any) -> CallCost | None:
        """Return what a call may take of limits on tokens; ``None`` lets the run guess."""
        return None

    def identity(self) -> Mapping[str, Any]:
        """Return what names this strategy in records: its class and its plain settings, no secrets.

        The settings are the fields of an attrs class, and what a subclass adds under a public name.
        Of another class they are what ``__init__`` takes and keeps under the same name, so that a
        count of calls is none; if it takes nothing, all plain fields.
        """
        plain = (str, int, float, bool, type(None))
        values = {name: getattr(self, name, None) for name in _settings_of(self)}
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            **{
                name.lstrip("_"): value
                for name, value in sorted(values.items())
                if isinstance(value, plain) and not _sounds_secret(name)
            },
        }


def _settings_of(strategy: LLMCallStrategy[Any]) -> list[str]:
    fields = getattr(strategy, "__attrs_attrs__", ())
    names = [a.name for a in fields]
    kept = [name for name in getattr(strategy, "__dict__", ()) if name not in names]
    taken = [
        name
        for name, parameter in inspect.signature(type(strategy)).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if fields:
        added = [name for name in kept if not name.startswith("_")]
        # A class with an __init__ of its own has no field that attrs would take there.
        return [a.name for a in fields if a.init or a.name.lstrip("_") in taken] + added
    return [name for name in kept if name.lstrip("_") in taken] if taken else kept


def _sounds_secret(name: str) -> bool:
    low = name.lower()
    return any(word in low for word in ("key", "token", "secret", "password", "auth", "credential"))


@frozen
class LLMResponse(AnswerViews):
    """One model's answer, the same for every provider.

    Attributes:
        text: The answer.
        metadata: What else the provider said: finish reason, safety ratings, request id.
        raw: The provider's own reply.
        hint: The limits that the reply reported.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_input_tokens: int = 0
    metadata: Mapping[str, Any] | None = None
    raw: Any = field(default=None, repr=False)
    usage: TokenUsage | None = field(default=None, kw_only=True, repr=False)
    hint: ServerHint | None = field(default=None, kw_only=True, repr=False)

    @property
    def token_usage(self) -> TokenUsage:
        """The counts as a ``TokenUsage``; the fuller one that the provider gave, where it did."""
        if self.usage is not None:
            return self.usage
        usage: TokenUsage = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "cached_input_tokens": self.cached_input_tokens,
        }
        return usage


@runtime_checkable
class LLMModel(Protocol):
    """Something that answers prompts: one provider, one model name."""

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> LLMResponse:
        """Answer *prompt*; ``config`` passes provider-specific settings on."""
        ...


@runtime_checkable
class ManagedLLMModel(LLMModel, Protocol):
    """A model that has something to prepare and to clean up; both may be called repeatedly."""

    async def prepare(self) -> None:
        """Get ready."""
        ...

    async def cleanup(self) -> None:
        """Let go of what ``prepare`` took."""
        ...


class Category(StrEnum):
    """The kinds of failure that ``error_category`` names; a classifier may add its own."""

    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    BAD_OUTPUT = "bad_output"
    FILTERED = "filtered"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    PROGRAM_ERROR = "program_error"
    UNKNOWN = "unknown"
    MIDDLEWARE = "middleware_error"
    INVALID_ITEM = "invalid_item"
    SKIPPED = "skipped"
    PARKED = "parked"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


_FATAL: Final = frozenset(
    {
        Category.TOO_LARGE,
        Category.INVALID_REQUEST,
        Category.AUTHENTICATION,
        Category.PERMISSION,
        Category.MODEL_NOT_FOUND,
        Category.NOT_FOUND,
        Category.PROGRAM_ERROR,
    }
)


@frozen
class ErrorInfo:
    """The meaning of an exception for the item and for all who share its quota.

    Attributes:
        is_retryable: Whether another attempt may help.
        is_rate_limit: Whether the whole scope has to wait; wins over ``is_retryable``.
        is_timeout: Whether time ran out.
        error_category: A ``Category`` or a word of the classifier's own.
        suggested_wait: Seconds: the scope's cooldown for a rate limit, else the least backoff.
        hint: The limits that the server reported.
    """

    is_retryable: bool
    is_rate_limit: bool
    is_timeout: bool
    error_category: str
    suggested_wait: float | None = None
    hint: ServerHint | None = None

    @property
    def outcome(self) -> Outcome:
        """Return the outcome of the call as the gate sees it."""
        if self.is_rate_limit:
            return Outcome.THROTTLED
        if self.is_timeout:
            return Outcome.TIMEOUT
        match self.error_category:
            case Category.OVERLOADED:
                return Outcome.OVERLOADED
            case Category.INSUFFICIENT_QUOTA | Category.PARKED:
                return Outcome.EXHAUSTED
            case Category.BAD_OUTPUT | Category.FILTERED | Category.TRUNCATED:
                return Outcome.BAD_OUTPUT
            case category if category in _FATAL:
                return Outcome.FATAL
            case Category.CONNECTION | Category.SERVER_ERROR:
                # "Do not repeat this" is an answer: the server lives and has judged the call.
                return Outcome.TRANSIENT if self.is_retryable else Outcome.FATAL
            case _:
                return Outcome.UNKNOWN

    @property
    def scope_hint(self) -> ServerHint | None:
        """Return the hint for the whole scope, with ``suggested_wait`` if it has no wait."""
        if self.suggested_wait is None or not (
            self.is_rate_limit or self.error_category == Category.OVERLOADED
        ):
            return self.hint
        if self.hint is None:
            return ServerHint(wait=self.suggested_wait)
        if self.hint.wait is None:
            return evolve(self.hint, wait=self.suggested_wait)
        return self.hint


class ErrorClassifier(ABC):
    """Says what an exception means."""

    @abstractmethod
    def classify(self, exception: Exception) -> ErrorInfo | None:
        """Classify *exception*; ``None`` asks the default classifier."""
