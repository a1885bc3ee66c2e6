"""The shapes that users fill in to make calls: strategies and models."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from attrs import field, frozen

from batchllm.core.hints import CallCost, QuotaScope, ServerHint
from batchllm.core.prices import Price
from batchllm.core.usage import TokenUsage
from batchllm.core.views import AnswerViews

__all__ = ["LLMCallStrategy", "LLMModel", "LLMResponse", "ManagedLLMModel"]

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
