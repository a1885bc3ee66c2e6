from typing import Any

import attrs
import pytest

from batchllm.core import (
    SKIP,
    BaseMiddleware,
    BaseObserver,
    CallCost,
    Category,
    ErrorInfo,
    LLMCallStrategy,
    LLMModel,
    LLMResponse,
    LLMWorkItem,
    ManagedLLMModel,
    Outcome,
    ProcessingEvent,
    QuotaScope,
    ServerHint,
)

pytestmark = pytest.mark.anyio


class Plain(LLMCallStrategy[str]):
    def __init__(self) -> None:
        self.model = "m"
        self.temperature = 0.5
        self.api_key = "secret"
        self.client = object()
        self._limit = 3

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any]:  # type: ignore[override]
        return "x", None


@attrs.define
class Fields(LLMCallStrategy[str]):
    model: str = "m"
    auth_header: str = "secret"
    parser: Any = len

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any]:  # type: ignore[override]
        return "x", None


def test_identity_has_plain_fields_and_no_secrets() -> None:
    """Class and settings name a strategy; clients and keys do not."""
    name = f"{__name__}."
    assert Plain().identity() == {
        "class": f"{name}Plain",
        "limit": 3,
        "model": "m",
        "temperature": 0.5,
    }
    assert Fields().identity() == {"class": f"{name}Fields", "model": "m"}


class Counting(LLMCallStrategy[str]):
    def __init__(self, model: str, tone: str = "plain", *args: Any) -> None:
        self.model = model
        self._tone = tone
        self.calls = 0

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> tuple[str, Any]:  # type: ignore[override]
        return "x", None


def test_what_a_strategy_counts_is_no_part_of_its_identity() -> None:
    """Only what it is made of: the arguments that it keeps under their names."""
    strategy = Counting("m")
    strategy.calls = 7
    name = f"{__name__}.Counting"
    assert strategy.identity() == {"class": name, "model": "m", "tone": "plain"}


async def test_hooks_may_be_left_out() -> None:
    """Only ``execute`` has to be written."""
    strategy = Plain()
    await strategy.prepare()
    await strategy.on_error(ValueError(), 1)
    await strategy.cleanup()
    assert strategy.estimate("hi") is None
    assert strategy.quota_scope == QuotaScope()
    assert strategy.parts == ()
    with pytest.raises(TypeError):
        LLMCallStrategy()  # type: ignore[abstract]


async def test_a_dry_run_shows_the_beginning_of_the_prompt() -> None:
    """Fifty letters of it, and the tokens of an average call."""
    text, usage = await Plain().dry_run("p" * 80)
    assert text == f"[DRY-RUN] Mock output for prompt: {'p' * 50}..."
    assert usage == {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}


async def test_middleware_and_observers_do_nothing_by_themselves() -> None:
    """Each hook may be overridden alone."""
    item: LLMWorkItem[Any, Any, Any] = LLMWorkItem("a")
    middleware = BaseMiddleware()
    assert await middleware.before_process(item) is None
    assert await middleware.after_process(item, None) is None
    await middleware.on_retry(item, 1, ValueError())
    await middleware.on_error(item, ValueError())
    await BaseObserver().on_event(ProcessingEvent.ITEM_STARTED, {})
    assert repr(SKIP) == "<_Skip.SKIP: 'skip'>"


def test_a_response_gives_its_usage() -> None:
    """The fuller one of the provider where there is one."""
    response = LLMResponse("hi", 1, 2, 3)
    assert response.token_usage == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "cached_input_tokens": 0,
    }
    assert LLMResponse("hi", usage={"input_tokens": 9}).token_usage == {"input_tokens": 9}


class Model:
    async def generate(self, prompt: Any, **_: Any) -> LLMResponse:
        return LLMResponse("x")


class Managed(Model):
    async def prepare(self) -> None: ...

    async def cleanup(self) -> None: ...


def test_models_are_known_by_their_methods() -> None:
    """No base class is needed."""
    assert isinstance(Model(), LLMModel)
    assert not isinstance(Model(), ManagedLLMModel)
    assert isinstance(Managed(), ManagedLLMModel)
    assert not isinstance(object(), LLMModel)


@pytest.mark.parametrize(
    ("category", "outcome"),
    [
        (Category.OVERLOADED, Outcome.OVERLOADED),
        (Category.INSUFFICIENT_QUOTA, Outcome.EXHAUSTED),
        (Category.PARKED, Outcome.EXHAUSTED),
        (Category.BAD_OUTPUT, Outcome.BAD_OUTPUT),
        (Category.FILTERED, Outcome.BAD_OUTPUT),
        (Category.AUTHENTICATION, Outcome.FATAL),
        (Category.TOO_LARGE, Outcome.FATAL),
        (Category.PROGRAM_ERROR, Outcome.FATAL),
        (Category.CONNECTION, Outcome.TRANSIENT),
        (Category.SERVER_ERROR, Outcome.TRANSIENT),
        (Category.UNKNOWN, Outcome.UNKNOWN),
        ("my own word", Outcome.UNKNOWN),
    ],
)
def test_what_the_gate_learns_of_a_failure(category: str, outcome: Outcome) -> None:
    """By category, unless it is a rate limit or ran out of time."""
    plain = ErrorInfo(
        is_retryable=True, is_rate_limit=False, is_timeout=False, error_category=category
    )
    assert plain.outcome is outcome
    assert attrs.evolve(plain, is_timeout=True).outcome is Outcome.TIMEOUT
    assert attrs.evolve(plain, is_retryable=False).outcome is not Outcome.TRANSIENT
    assert attrs.evolve(plain, is_timeout=True, is_rate_limit=True).outcome is Outcome.THROTTLED


def test_scopes_and_costs_are_values() -> None:
    """A scope shows what tells it apart; tokens are those of both ways."""
    assert str(QuotaScope()) == "common"
    assert str(QuotaScope("openai", "https://x", "k-12", "gpt")) == "openai https://x gpt k-12"
    assert QuotaScope("a") == QuotaScope("a")
    assert CallCost(input_tokens=3, output_tokens=4).tokens == 7


def test_a_suggested_wait_is_a_hint_for_the_scope() -> None:
    """A classifier's wait pauses the scope after a limit, unless the server told its own."""
    limited = ErrorInfo(False, True, False, "rate_limit", suggested_wait=60.0)
    assert limited.scope_hint == ServerHint(wait=60.0)
    busy = ErrorInfo(True, False, False, Category.OVERLOADED, 5.0, ServerHint(retry=True))
    assert busy.scope_hint == ServerHint(wait=5.0, retry=True)
    told = ErrorInfo(True, True, False, "rate_limit", 5.0, ServerHint(wait=9.0))
    assert told.scope_hint == ServerHint(wait=9.0)
    own_affair = ErrorInfo(True, False, False, Category.BAD_OUTPUT, suggested_wait=5.0)
    assert own_affair.scope_hint is None
