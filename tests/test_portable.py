"""All public classes: what can be copied and leave the process, and what cannot, by name."""

import copy
import datetime as dt
import importlib
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import batchllm
from batchllm import llm
from batchllm.core import (
    AttemptFailure,
    AttemptTiming,
    CallCost,
    CallEnd,
    CallStart,
    Citation,
    CurrentItem,
    ErrorGroups,
    LimitHint,
    NumberedItem,
    QuotaScope,
    Reply,
    RunStart,
    ServerHint,
    SpanObserver,
    Tally,
    Timing,
    TokenLogprob,
    ToolCall,
)
from batchllm.llm_strategies import CallableStrategy, FallbackError
from batchllm.middleware import RedactingMiddleware, SkippingMiddleware
from batchllm.observers import ItemContext, LoggingObserver, Quantiles
from batchllm.providers import ChatProfile, GeminiEmbeddingStrategy, OnlineOnlyError
from batchllm.providers.wire import Endpoint
from batchllm.structured import NotStrictError, OutputSchema, OutputValidationError, Parsed, Problem
from batchllm.transport import HttpTransport

ROOMS = [
    "batchllm",
    *(
        f"batchllm.{room}"
        for room in (
            "core",
            "llm_strategies",
            "providers",
            "observers",
            "middleware",
            "classifiers",
            "structured",
        )
    ),
]
KEY = "sk-very-secret-1"


@attrs.frozen
class Town:
    name: str
    founded: dt.date | None = None


class Client:
    """Stands for a client of an SDK; its copies are clients, too."""

    base_url = "https://api.openai.com/v1"

    def __init__(self) -> None:
        self.chat = self.completions = self.messages = self.responses = self.aio = self.models = (
            self
        )

    async def create(self, **request: Any) -> Any:
        raise NotImplementedError

    async def generate_content(self, **request: Any) -> Any:
        raise NotImplementedError

    async def ainvoke(self, *given: Any) -> Any:
        raise NotImplementedError

    async def run(self, *given: Any) -> Any:
        raise NotImplementedError


async def answer(prompt: str) -> str:
    return prompt.upper()


def is_short(item: Any) -> bool:
    return len(item.prompt) < 3


def plain(name: str) -> Any:
    return getattr(batchllm, name)


def model_of(name: str) -> Any:
    return llm(name).model


def two() -> list[Any]:
    return [llm("openai:m"), llm("anthropic:m")]


MADE: dict[str, Callable[[], Any]] = {
    **{
        f"{name}ErrorClassifier": plain(f"{name}ErrorClassifier")
        for name in ("Anthropic", "Default", "Gemini", "OpenAI")
    },
    **{name: plain(name) for name in ("BaseMiddleware", "BaseObserver", "MetricsObserver")},
    **{name: plain(name) for name in ("RetryConfig", "RateLimitConfig", "HedgeConfig", "FailFast")},
    **{name: plain(name) for name in ("RetryState", "ProcessorConfig", "Termination")},
    "Budget": lambda: batchllm.Budget(max_cost=5.0),
    "Price": lambda: batchllm.Price(input=1.0, output=4.0),
    "AnthropicClientModel": lambda: batchllm.AnthropicStrategy(Client(), "m").model,
    "AnthropicModel": lambda: model_of("anthropic:m"),
    "AnthropicStrategy": lambda: batchllm.AnthropicStrategy(Client(), "m"),
    "AttemptFailure": lambda: AttemptFailure("no", "overloaded", 503, {"input_tokens": 3}),
    "AttemptTiming": AttemptTiming,
    "Journal": lambda: batchllm.Journal("run.db", on_resume="skip"),
    "NumberedItem": lambda: NumberedItem("line-7", "a prompt"),
    "Balance": lambda: batchllm.Balance(two(), [1, 2]),
    "BatchResult": lambda: batchllm.BatchResult([batchllm.WorkItemResult("a", True, output=3)]),
    "CallableStrategy": lambda: CallableStrategy(answer),
    "CallCost": CallCost,
    "ChatModel": lambda: model_of("openai:m"),
    "ChatProfile": lambda: ChatProfile(provider="mine", base_url="http://a.test"),
    "CallEnd": lambda: CallEnd(1.5, {"input_tokens": 3}, category="timeout"),
    "CallStart": lambda: CallStart("a", llm("openai:m"), "p", 1),
    "CurrentItem": lambda: CurrentItem("a", 1, "1a2b3c4d"),
    "ItemContext": ItemContext,
    "RunStart": lambda: RunStart("1a2b3c4d", 3),
    "SpanObserver": SpanObserver,
    "Citation": lambda: Citation(url="http://a.test"),
    "ErrorGroups": ErrorGroups,
    "EmbeddingStrategy": lambda: batchllm.EmbeddingStrategy("m", profile="ollama"),
    "Endpoint": lambda: Endpoint(provider="mine"),
    "ErrorInfo": lambda: batchllm.ErrorInfo(True, False, False, "x", 3.0, ServerHint(wait=3.0)),
    "Fallback": lambda: batchllm.Fallback(two()),
    "GeminiClient": lambda: model_of("gemini:m").client,
    "GeminiEmbeddingStrategy": lambda: GeminiEmbeddingStrategy("m", model_of("gemini:m").client),
    "GeminiModel": lambda: model_of("gemini:m"),
    "GeminiResponse": lambda: batchllm.GeminiResponse(Town("Bonn"), {"A": "LOW"}, "stop"),
    "GeminiStrategy": lambda: batchllm.GeminiStrategy(model_of("gemini:m")),
    "HttpTransport": HttpTransport,
    "KeyRotation": lambda: batchllm.KeyRotation("openai:m", [KEY, KEY + "2"]),
    "LLMResponse": lambda: batchllm.LLMResponse("a", 1, 2, 3, metadata={"a": 1}),
    "LLMWorkItem": lambda: batchllm.LLMWorkItem("a", llm("openai:m"), "p", {"town": Town("Bonn")}),
    "LangChainStrategy": lambda: batchllm.LangChainStrategy(Client()),
    "Limit": lambda: batchllm.Limit("requests", 5),
    "LimitHint": lambda: LimitHint(dimension="requests", amount=3),
    "LoggingObserver": LoggingObserver,
    "ModelEscalation": lambda: batchllm.ModelEscalation(two()),
    "ModelStrategy": lambda: llm("openai-responses:m", system="be kind"),
    "OpenAIClientModel": lambda: batchllm.OpenAIStrategy(Client(), "m").model,
    "OpenAIResponsesClientModel": lambda: batchllm.OpenAIResponsesStrategy(Client(), "m").model,
    "OpenAIResponsesStrategy": lambda: batchllm.OpenAIResponsesStrategy(Client(), "m"),
    "OpenAIStrategy": lambda: batchllm.OpenAIStrategy(Client(), "m", output=Town),
    "OutputSchema": lambda: OutputSchema(name="a", schema={"type": "object"}, strict=True),
    "OutputStrategy": lambda: llm("openai:m", output=Town),
    "Parsed": lambda: Parsed(Town("Bonn"), ("a note",)),
    "PartialRecovery": lambda: batchllm.PartialRecovery(llm("openai:m"), Town),
    "Problem": lambda: Problem("a", "b"),
    "PostProcessor": lambda: batchllm.PostProcessor(is_short, inline=True),
    "ProgressivePrompting": lambda: batchllm.ProgressivePrompting(llm("openai:m"), ["again"]),
    "ProgressiveTemperature": lambda: batchllm.ProgressiveTemperature(llm("openai:m")),
    "PydanticAIStrategy": lambda: batchllm.PydanticAIStrategy(Client()),
    "Quantiles": Quantiles,
    "QuotaScope": lambda: QuotaScope("a", "b", "c", "d"),
    "RedactingMiddleware": RedactingMiddleware,
    "Reply": lambda: Reply(Town("Bonn"), {"input_tokens": 3}, {"a": 1}),
    "ResponseCache": lambda: batchllm.ResponseCache(llm("openai:m")),
    "ResponsesModel": lambda: model_of("openai-responses:m"),
    "ServerHint": lambda: ServerHint(wait=3.0, limits=(LimitHint(dimension="tokens"),)),
    "SkippingMiddleware": lambda: SkippingMiddleware(is_short),
    "Tally": lambda: Tally(3, 1, 2),
    "Timing": lambda: Timing((AttemptTiming(1.0),)),
    "TokenLogprob": lambda: TokenLogprob("a", -0.1),
    "ToolCall": lambda: ToolCall("f", {"a": 1}, "c1"),
    "ValidationFeedback": lambda: batchllm.ValidationFeedback(llm("openai:m", output=Town)),
    "WorkItemResult": lambda: batchllm.WorkItemResult("a", True, output=Town("Bonn")),
    "FallbackError": lambda: FallbackError("m", [ValueError("a")]),
    "NotStrictError": lambda: NotStrictError("m"),
    "OnlineOnlyError": lambda: OnlineOnlyError("m"),
    "OutputValidationError": lambda: OutputValidationError(
        "m", text="t", value={"a": 1}, problems=[Problem("a", "b")], valid={"b": 2}
    ),
}
# Live things, and shapes without instances.
STAY = {
    "AnswerViews": "a base of results",
    "AsyncioBridge": "a thread of its own",
    "BatchRun": "a run",
    "CallGuard": "a protocol",
    "Composite": "a base of strategies",
    "ConnectionOptions": "a typed dict",
    "ErrorClassifier": "abstract",
    "Gate": "the pace of one event loop",
    "GeminiCachedModel": "made over the wire",
    "GeminiCachedStrategy": "made over the wire",
    "LLMCallStrategy": "abstract",
    "LLMModel": "a protocol",
    "ManagedLLMModel": "a protocol",
    "Middleware": "a protocol",
    "ParallelBatchProcessor": "a run",
    "OpenTelemetryObserver": "holds the program's tracers and instruments",
    "Pool": "a run",
    "PrometheusObserver": "counts in a registry of the process",
    "ProgressBar": "a protocol",
    "ProgressObserver": "moves a bar on the screen",
    "ThreadRunner": "a protocol",
    "TokenUsage": "a typed dict",
    "WorkedOn": "a protocol",
    "WireRequest": "a tuple of a path, a name and bytes",
    "WireModel": "abstract",
    "WireOptions": "a typed dict",
}


def public_classes() -> dict[str, type]:
    found: dict[str, type] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            one = getattr(module, name)
            if inspect.isclass(one):
                found[name] = one
    return found


CLASSES = public_classes()
WAYS: list[Callable[[Any], Any]] = [
    lambda value: pickle.loads(pickle.dumps(value)),
    copy.copy,
    copy.deepcopy,
]


def is_plain(name: str) -> bool:
    """Return whether a class is an enum, or an error that another test makes."""
    kind = CLASSES[name]
    from_errors = issubclass(kind, BaseException) and kind.__module__ == "batchllm.core.errors"
    return from_errors or hasattr(kind, "__members__")


def test_every_public_class_is_here() -> None:
    """A new one has to be added to those that travel, or to those that stay."""
    missing = [name for name in CLASSES if not is_plain(name) and name not in {**MADE, **STAY}]
    assert missing == []
    assert MADE.keys() & STAY.keys() == set()


def state_of(value: Any) -> Any:
    """Return what can be compared of an instance without an equality of its own."""
    if hasattr(value, "identity"):
        return value.identity()
    shown = repr(value)
    return re.sub(r"0x[0-9a-f]+", "0x", shown)


@pytest.mark.parametrize("way", WAYS, ids=["pickle", "copy", "deepcopy"])
@pytest.mark.parametrize("name", MADE)
def test_every_class_of_values_and_strategies_travels(
    name: str, way: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is of the same type and says the same; keys are read again where it arrives."""
    for variable in ("OPENAI", "ANTHROPIC", "GEMINI", "GROQ"):
        monkeypatch.setenv(f"{variable}_API_KEY", KEY)
    made = MADE[name]()
    other = way(made)
    assert type(other) is type(made)
    assert other == made or state_of(other) == state_of(made)
