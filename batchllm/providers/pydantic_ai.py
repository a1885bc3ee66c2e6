"""PydanticAI's agents, and everything that is run as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import getattr_static
from typing import Any, Generic, Protocol, TypeVar, cast

from batchllm.core import (
    LLMCallStrategy,
    QuotaScope,
    RetryState,
    StrategyError,
    TokenUsage,
    normalize_usage,
)
from batchllm.providers.billing import attach_usage
from batchllm.providers.bridge import AsyncioBridge, bridge_for
from batchllm.providers.sdk import client_scope

__all__ = ["PydanticAIStrategy"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AgentRun(Protocol[T_co]):
    """What an agent's ``run`` gives; older versions call the output ``data``."""

    @property
    def output(self) -> T_co:
        """What the model answered."""
        ...


class Agent(Protocol[T_co]):
    """Anything that is run with a prompt."""

    def run(self, prompt: Any, /) -> Awaitable[AgentRun[T_co]]:
        """Answer *prompt*."""
        ...


class PydanticAIStrategy(LLMCallStrategy[T], Generic[T]):
    """Runs an agent of PydanticAI, or anything alike, for each attempt.

    The agent validates by itself. What it retries inside one run counts as one attempt here; so
    does what its provider's client retries, unless that is made with ``max_retries=0``.

    Args:
        agent: Has ``async run(prompt)``.
        bridge: Whether the agent needs asyncio, and so a bridge on any other event loop; or
            the bridge itself, to be shared with other runs. By default those whose class comes
            from ``pydantic_ai`` have one of their own.
        run: More arguments for each run, such as ``deps=…`` or ``usage_limits=…``.

    Raises:
        StrategyError: *agent* has no ``run``.
    """

    per_loop = True

    def __init__(
        self, agent: Agent[T], *, bridge: bool | AsyncioBridge | None = None, **run: Any
    ) -> None:
        if not callable(getattr(agent, "run", None)):
            msg = (
                f"the agent is a {type(agent).__name__}, which has no run(); give a "
                "pydantic_ai.Agent (pip install 'batchllm[pydantic-ai]'), or anything with "
                "async run(prompt)"
            )
            raise StrategyError(msg)
        self.agent = agent
        self.quota_scope = _scope_of(agent)
        self._bridge = bridge_for(agent, "pydantic_ai", bridge)
        self._settings = run

    def __repr__(self) -> str:
        return f"PydanticAIStrategy({type(self.agent).__name__})"

    async def prepare(self) -> None:
        """Keep the bridge, where there is one, until the matching ``cleanup``."""
        if self._bridge is not None:
            self._bridge.hold()

    async def cleanup(self) -> None:
        """Let go of the bridge."""
        if self._bridge is not None:
            await self._bridge.release()

    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[T, TokenUsage | None]:
        """Run the agent once.

        Raises:
            Exception: What the run raised, or reading its output.
        """
        run: Callable[..., Awaitable[Any]] = self.agent.run
        if self._bridge is None:
            result = await run(prompt, **self._settings)
        else:
            result = await self._bridge.call(run, prompt, **self._settings)
        # First of all: the output may be refused on being read, and is paid for all the same.
        usage = _usage_of(result)
        return cast("T", _output_of(result, usage)), usage

    async def dry_run(self, prompt: Any) -> tuple[T, TokenUsage]:
        """An empty Pydantic model of the agent's output type, built without validation."""
        kind = getattr(self.agent, "output_type", None) or getattr(self.agent, "result_type", None)
        construct = getattr(kind, "model_construct", None) if isinstance(kind, type) else None
        if construct is None:
            return await super().dry_run(prompt)
        words = len(str(prompt).split())
        usage: TokenUsage = {"input_tokens": words, "output_tokens": 50, "total_tokens": words + 50}
        return cast("T", construct()), usage


def _scope_of(agent: object) -> QuotaScope:
    """The agent's own quota, where its model tells whose it is."""
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
    """Whether the output is called ``data``; it is not read to find that out."""
    names = [name for name in ("output", "data") if getattr_static(result, name, None) is not None]
    return names == ["data"]


def _output_of(result: object, usage: TokenUsage | None) -> Any:
    try:
        return getattr(result, "data" if _is_old(result) else "output")
    except Exception as error:
        attach_usage(error, usage)
        raise
