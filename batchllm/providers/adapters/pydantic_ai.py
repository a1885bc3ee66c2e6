"""PydanticAI's agents, and everything that is run as they are."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import getattr_static
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from attrs import define, field

from batchllm.core import (
    QuotaScope,
    RetryState,
    TokenUsage,
    normalize_usage,
)
from batchllm.providers.adapters.bridge import AsyncioBridge
from batchllm.providers.adapters.bridged import BridgedStrategy, has_method
from batchllm.providers.adapters.clients import check_arguments, client_scope
from batchllm.providers.wire import attach_usage

__all__ = ["PydanticAIStrategy"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AgentRun(Protocol[T_co]):
    """The result of an agent's ``run``; older versions call the output ``data``."""

    @property
    def output(self) -> T_co:
        """The model's answer."""
        ...


class Agent(Protocol[T_co]):
    """Anything that is run with a prompt."""

    def run(self, prompt: Any, /) -> Awaitable[AgentRun[T_co]]:
        """Answer *prompt*."""
        ...


@define(eq=False, slots=False, init=False, repr=False)
class PydanticAIStrategy(BridgedStrategy[T], Generic[T]):
    """Runs an agent of PydanticAI, or anything alike, for each attempt.

    The agent validates by itself. What it retries inside one run counts as one attempt here; so
    does what its provider's client retries, unless that is made with ``max_retries=0``.

    Example::

        PydanticAIStrategy(Agent("openai:gpt-5-mini", output_type=City))

    Args:
        agent: Has ``async run(prompt)``.
        bridge: If the agent needs asyncio, and so a bridge on any other event loop; or the
            bridge itself, to be shared with other runs. By default those whose class comes from
            ``pydantic_ai`` have one of their own.
        run: More arguments for each run, such as ``deps=…`` or ``usage_limits=…``.

    Raises:
        StrategyError: *agent* has no ``run``.
        ConfigError: *bridge* is of a wrong kind, or ``run`` does not take an argument.
    """

    _package: ClassVar[str] = "pydantic_ai"
    agent: Agent[T] = field(
        init=False,
        validator=has_method(
            "run",
            "agent",
            "a pydantic_ai.Agent (pip install 'batchllm[pydantic-ai]'), or anything with "
            "async run(prompt)",
        ),
    )

    def __init__(
        self, agent: Agent[T], *, bridge: bool | AsyncioBridge | None = None, **run: Any
    ) -> None:
        self.agent = agent
        check_arguments(type(self).__name__, agent.run, run, own=("bridge",))
        self.quota_scope = _scope_of(agent)
        self._cross(agent, bridge)
        self._settings = run

    def __repr__(self) -> str:
        return f"PydanticAIStrategy({type(self.agent).__name__})"

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[T, TokenUsage | None]:
        """Run the agent once.

        Raises:
            Exception: What the run raised, or reading its output.
        """
        result = await self._call(self.agent.run, prompt, **self._settings)
        # First of all: the output may be refused on being read, and is paid for all the same.
        usage = _usage_of(result)
        return cast("T", _output_of(result, usage)), usage

    async def dry_run(self, prompt: Any) -> tuple[T, TokenUsage]:
        """Give an empty Pydantic model of the agent's output type, built without validation."""
        kind = getattr(self.agent, "output_type", None) or getattr(self.agent, "result_type", None)
        construct = getattr(kind, "model_construct", None) if isinstance(kind, type) else None
        if construct is None:
            return await super().dry_run(prompt)
        words = len(str(prompt).split())
        usage: TokenUsage = {"input_tokens": words, "output_tokens": 50, "total_tokens": words + 50}
        return cast("T", construct()), usage


def _scope_of(agent: object) -> QuotaScope:
    """Return the agent's own quota, if its model shows whose it is."""
    model = getattr(agent, "model", None)
    name, provider = getattr(model, "model_name", None), getattr(model, "system", None)
    if not isinstance(name, str) or not isinstance(provider, str):
        return QuotaScope()
    return client_scope(getattr(model, "client", None), name, provider)


def _usage_of(result: object) -> TokenUsage | None:
    usage = getattr(result, "usage", None)
    known = normalize_usage(usage)
    # A method in older versions; the counts of newer ones may be called as well, and complain.
    return normalize_usage(usage()) if known is None and callable(usage) else known


def _is_old(result: object) -> bool:
    """Return whether the output is called ``data``; it is not read to find that out."""
    names = [name for name in ("output", "data") if getattr_static(result, name, None) is not None]
    return names == ["data"]


def _output_of(result: object, usage: TokenUsage | None) -> Any:
    try:
        return getattr(result, "data" if _is_old(result) else "output")
    except Exception as error:
        attach_usage(error, usage)
        raise
