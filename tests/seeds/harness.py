"""Stand-ins for what the samples only name (clients, models, errors), and a record of runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import anyio.lowlevel
import pytest
from attrs import field, frozen

from batchllm import (
    BatchResult,
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    ProviderError,
    RetryConfig,
)
from batchllm.providers import GeminiClient
from batchllm.simulator import Simulator, SimulatorTransport

__all__ = [
    "CUSTOM",
    "PATTERNS",
    "README",
    "REFERENCE",
    "WEB_PATTERNS",
    "Client",
    "Genai",
    "Sample",
    "asyncio_only",
    "needs",
    "process",
    "refused",
    "sample",
    "usage_of",
    "validation_error",
]

CUSTOM = "Custom strategies"
PATTERNS = "Advanced patterns"
WEB_PATTERNS = "Advanced patterns, as a web page"
README = "Readme"
REFERENCE = "Strategies API reference"

How = Literal["ran", "sketch", "not Python"]
Test = TypeVar("Test", bound=Callable[..., Any])


@frozen(kw_only=True)
class Sample:
    """One sample, as the table has it.

    Attributes:
        documents: The documents that have it.
        number: Its place among their samples, from 1.
        heading: The heading that it stands under.
        how: ``ran`` as it stands; ``sketch``: it leaves its own code out, which the test fills
            in; ``not Python``: no parser takes it, and the test runs what remains.
        stand_ins: What stands for the names that it does not define.
        loops: The event loops that it ran on.
    """

    documents: tuple[str, ...]
    number: int
    heading: str
    how: How
    stand_ins: str
    loops: str = field(default="asyncio, Trio")


def sample(
    number: int,
    heading: str,
    stand_ins: str = "",
    *,
    of: str | tuple[str, ...],
    how: How = "ran",
    loops: str = "asyncio, Trio",
) -> Callable[[Test], Test]:
    """Mark the test of one sample."""

    def mark(test: Test) -> Test:
        documents = (of,) if isinstance(of, str) else of
        marked: Any = test
        marked.samples = [
            Sample(
                documents=documents,
                number=number,
                heading=heading,
                how=how,
                stand_ins=stand_ins,
                loops=loops,
            ),
            *getattr(test, "samples", ()),
        ]
        return test

    return mark


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip a test where an optional library is missing."""

    def found(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            return False

    missing = [module for module in modules if not found(module)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
"""For a sample that calls asyncio itself."""


def usage_of(prompt: Any, answer: Any) -> dict[str, int]:
    """The tokens that the stand-in client counts: words of the prompt, words of the answer."""
    told, given = len(str(prompt).split()), len(str(answer).split())
    return {"input_tokens": told, "output_tokens": given, "total_tokens": told + given}


class Client:
    """A client in every shape that the samples call one.

    Args:
        replies: What it gives, call by call, the last one again and again: a value; an exception
            to raise; or a function of the call's arguments that gives either.

    Attributes:
        calls: The arguments of every call that asked for an answer, in order.
        caches: What happened to its caches, in order.
    """

    def __init__(self, *replies: Any) -> None:
        self._replies = replies or ("an answer",)
        self.calls: list[dict[str, Any]] = []
        self.caches: list[str] = []
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._complete))
        self.messages = SimpleNamespace(create=self._message)

    async def generate(self, prompt: str, **arguments: Any) -> Any:
        value = await self._answer({"prompt": prompt, **arguments})
        tokens = usage_of(prompt, value)
        return SimpleNamespace(
            text=value, output=value, tokens=tokens, usage=SimpleNamespace(**tokens)
        )

    async def create_cache(self, content: str) -> str:
        await anyio.lowlevel.checkpoint()
        self.caches.append(f"created with {content}")
        return f"cache {len(self.caches)}"

    async def delete_cache(self, name: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.caches.append(f"deleted {name}")

    async def _complete(self, *, model: str, messages: list[dict[str, str]]) -> Any:
        value = await self._answer({"model": model, "messages": messages})
        tokens = usage_of(messages[-1]["content"], value)
        return SimpleNamespace(
            choices=[SimpleNamespace(message=SimpleNamespace(content=value))],
            usage=SimpleNamespace(
                prompt_tokens=tokens["input_tokens"],
                completion_tokens=tokens["output_tokens"],
                total_tokens=tokens["total_tokens"],
            ),
        )

    async def _message(self, *, model: str, max_tokens: int, messages: list[dict[str, str]]) -> Any:
        value = await self._answer({"model": model, "max_tokens": max_tokens, "messages": messages})
        tokens = usage_of(messages[-1]["content"], value)
        return SimpleNamespace(
            content=[SimpleNamespace(text=value)],
            usage=SimpleNamespace(
                input_tokens=tokens["input_tokens"], output_tokens=tokens["output_tokens"]
            ),
        )

    async def _answer(self, arguments: dict[str, Any]) -> Any:
        self.calls.append(arguments)
        reply = self._replies[min(len(self.calls), len(self._replies)) - 1]
        await anyio.lowlevel.checkpoint()
        if callable(reply):
            reply = reply(**arguments)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Genai:
    """Google's ``genai`` module: its clients reach the simulator, in virtual time.

    Attributes:
        simulator: The provider that all its clients share.
    """

    def __init__(self) -> None:
        self.simulator = Simulator("default?profile=gemini")

    def Client(self, api_key: str) -> GeminiClient:
        http = SimulatorTransport(self.simulator)
        return GeminiClient(api_key, base_url="http://sim.test/v1beta", http=http)

    @property
    def calls(self) -> list[Any]:
        """The log's entries of answers."""
        entries = self.simulator.log.entries
        return [entry for entry in entries if "generateContent" in entry.path]

    @property
    def caches(self) -> dict[str, int]:
        """Return how many caches were created, renewed, deleted, are alive, and so on."""
        counts: dict[str, int] = self.simulator.stats()["caches"]
        return counts


def refused() -> ProviderError:
    """An answer with status 429."""
    return ProviderError("too many requests", status=429)


def validation_error() -> Exception:
    """A ``ValidationError`` of Pydantic's."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(int).validate_python("not a number")
    except ValidationError as error:
        return error
    raise AssertionError


async def process(
    strategy: LLMCallStrategy[Any],
    *prompts: str,
    attempts: int = 3,
    config: ProcessorConfig | None = None,
    **options: Any,
) -> BatchResult[Any, Any]:
    """Process one item per prompt, named ``item_0`` and so on."""
    config = config or ProcessorConfig(retry=RetryConfig(max_attempts=attempts))
    async with ParallelBatchProcessor[str, Any, None](config=config, **options) as processor:
        for number, prompt in enumerate(prompts):
            await processor.add_work(
                LLMWorkItem(item_id=f"item_{number}", strategy=strategy, prompt=prompt)
            )
        return await processor.process_all()
