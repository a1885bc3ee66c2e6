"""The runs against each server, and the bounds of their outcomes."""

from __future__ import annotations

from typing import Any, Final, Literal

from attrs import field, frozen

from batchllm import EmbeddingStrategy, LLMCallStrategy, llm
from tests.real.mocklimit import Anthropic, Gemini, MockLimits, OpenAI
from tests.real.servers import Balancer, Chaos, Front, Gateway, ServerKind

__all__ = ["SCENARIOS", "Backend", "Scenario", "strategy_for"]

Backend = Literal["asyncio", "trio"]

_ANSWER: Final = 0.12
"""Seconds of mocklimit's mean answer, see ``mocklimit._endpoint``."""
_BASE_PATHS: Final = {"anthropic": "", "gemini": "/v1beta"}
"""The end of a provider's ``base_url`` after the server's address; all others have ``/v1``."""
_LLMOCK_PATHS: Final = {"anthropic": "/anthropic", "gemini": "/gemini/v1beta"}
"""Those paths on llmock."""
_GATEWAY_ANSWER: Final = 0.1
"""Seconds of LiteLLM's answers without a delay, several at once on one core (measured)."""
_GATEWAY_WORK: Final = 0.05
"""Seconds that LiteLLM works beside the delay of a slow answer (measured)."""
_GATEWAY_ERROR: Final = 0.12
"""Seconds that LiteLLM works for an error, one after the other (measured)."""
_STARTED_SLOWLY: Final = 20
"""Refusals that any run may see: 2 × 5 calls of a cold start + 10."""
_SAYS_WHY: Final = (r"Limited by|[Hh]eld back",)
"""The summary names what held the run back."""
_MISREAD: Final = (r"\d requests per minute",)
"""A limit of seconds is adopted as one per minute."""
_OVERSHOOT: Final = 0.1
"""Share of the items that may be refused beside that: every new scope is learned once."""


@frozen(kw_only=True)
class Scenario:
    """One run against one server.

    Attributes:
        name: As it is asked for on the command line.
        server: Which server, and how it is set up.
        provider: ``"provider:model"`` for ``llm``, or ``"embed:model"``.
        key: The API key. On mocklimit and nginx each run adds a suffix, since their limits are
            per key.
        items: How many prompts.
        concurrency: The cap on calls in flight.
        ideal: Seconds that the quota needs for the items, plus one answer's time; ``None`` where
            only the machine's speed counts.
        bound: Times *ideal* that the run may take.
        prompt: Characters of each prompt.
        park_after: Seconds without an accepted call after which the scope is parked.
        down: The server is gone from this second on, for so many seconds.
        ends: How the run has to end: every item ``"answered"``, the scope ``"parked"`` with
            nothing failed, by ``"fail_fast"``, or every item failed with this error category.
        attempts: Requests that the server may see per item that fails.
        says: Patterns, each of which the log or the summary has to match.
        never_says: Patterns that neither may match.
        backends: Event loops on which it is run.
    """

    name: str
    server: ServerKind
    provider: str
    key: str = "key"
    items: int
    concurrency: int = 20
    ideal: float | None = None
    bound: float = 1.3
    prompt: int = 20
    park_after: float = 900.0
    down: tuple[float, float] | None = None
    ends: str = "answered"
    attempts: int = 1
    says: tuple[str, ...] = ()
    never_says: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = field(default=("asyncio", "trio"))

    @property
    def may_be_refused(self) -> int:
        """The most refusals, as the server counts them, that a run may see."""
        return _STARTED_SLOWLY + int(_OVERSHOOT * self.items)

    @property
    def most_seconds(self) -> float:
        """Seconds that a run may take; where no ideal is known, those of a hang."""
        return 60.0 if self.ideal is None else self.bound * self.ideal


def strategy_for(scenario: Scenario, url: str, key: str) -> LLMCallStrategy[Any]:
    """Return the strategy of *scenario* for the server at *url*."""
    provider, _, model = scenario.provider.partition(":")
    # mocklimit and the fronts count by this header only, whatever a vendor's own is.
    headers = {"authorization": f"Bearer {key}"}
    if provider == "embed":
        return EmbeddingStrategy(
            model, profile="openai-compatible", base_url=f"{url}/v1", api_key=key
        )
    paths = _LLMOCK_PATHS if isinstance(scenario.server, Chaos) else _BASE_PATHS
    base_url = f"{url}{paths.get(provider, '/v1')}"
    return llm(scenario.provider, base_url=base_url, api_key=key, headers=headers)


def _mock(name: str, provider: str, limits: MockLimits, rate: float, **changes: Any) -> Scenario:
    """Return a scenario on mocklimit whose binding limit lets *rate* calls a second pass."""
    items = changes["items"]
    return Scenario(
        name=name,
        server=limits,
        provider=provider,
        ideal=items / rate + _ANSWER,
        says=_SAYS_WHY,
        **changes,
    )


_CHAT: Final = "openai-compatible:m"
_USUAL: Final = MockLimits()

_MOCKLIMIT: Final = (
    _mock("mock-openai", _CHAT, _USUAL, 20, items=400, concurrency=50, never_says=_MISREAD),
    _mock(
        "mock-anthropic",
        "anthropic:m",
        _USUAL,
        20,
        items=200,
        concurrency=50,
        never_says=_MISREAD,
    ),
    _mock("mock-gemini", "gemini:m", _USUAL, 12, items=180, concurrency=50),
    _mock(
        "mock-30-per-2s",
        _CHAT,
        MockLimits(openai=OpenAI(requests=30, window=2.0)),
        15,
        items=150,
        backends=("trio",),
    ),
    _mock(
        "mock-300-per-15s",
        _CHAT,
        MockLimits(openai=OpenAI(requests=300, tokens=1_000_000, window=15.0)),
        20,
        items=600,
        concurrency=50,
        backends=("asyncio",),
    ),
    _mock(
        "mock-100-per-60s",
        _CHAT,
        MockLimits(openai=OpenAI(requests=100, tokens=1_000_000, window=60.0)),
        100 / 60,
        items=130,
        backends=("trio",),
    ),
    # A call of 400 characters takes about 125 tokens in (with its JSON) and 125 out.
    _mock(
        "mock-openai-tokens",
        _CHAT,
        MockLimits(openai=OpenAI(requests=1_000, tokens=10_000)),
        10_000 / 250 / 5,
        items=120,
        prompt=400,
        backends=("asyncio",),
    ),
    # A call of 1,000 characters takes about 280 tokens in.
    _mock(
        "mock-anthropic-tokens",
        "anthropic:m",
        _USUAL,
        2_000 / 280,
        items=100,
        prompt=1_000,
        backends=("trio",),
    ),
    _mock(
        "mock-anthropic-deep",
        "anthropic:m",
        MockLimits(anthropic=Anthropic(requests=5, depth=10)),
        5,
        items=150,
        backends=("asyncio",),
    ),
    _mock(
        "mock-gemini-17s",
        "gemini:m",
        MockLimits(gemini=Gemini(requests=100, window=17.0)),
        100 / 17,
        items=200,
        backends=("trio",),
    ),
)


def _gateway(name: str, provider: str, key: str, items: int, **changes: Any) -> Scenario:
    # Its windows are a minute of the clock and its models' limits are for all keys: a second run
    # right after the first would find the quota spent, so those take one backend each.
    return Scenario(name=name, server=Gateway(), provider=provider, key=key, items=items, **changes)


_LITELLM: Final = (
    _gateway("gateway-plain", "openai-compatible:plain", "sk-free", 200),
    _gateway("gateway-master", "openai-compatible:plain", "sk-master", 20),
    # The same answer would come to every item, so a few are enough to stop the run.
    _gateway("gateway-wrong-key", "openai-compatible:plain", "sk-wrong", 100, ends="fail_fast"),
    _gateway("gateway-claude", "anthropic:claude", "sk-free", 60),
    _gateway("gateway-gemini", "gemini:gemini-2.5-flash", "sk-free", 60),
    _gateway("gateway-emb", "embed:emb", "sk-free", 60),
    _gateway(
        "gateway-parallel",
        "openai-compatible:slow",
        "sk-par4",
        40,
        concurrency=10,
        ideal=40 / 4 * (0.5 + _GATEWAY_WORK),
    ),
    _gateway(
        "gateway-rpm60",
        "openai-compatible:rpm60",
        "sk-free",
        75,
        ideal=75 + _GATEWAY_ANSWER,
        backends=("asyncio",),
    ),
    _gateway(
        "gateway-rpm30",
        "openai-compatible:plain",
        "sk-rpm30",
        40,
        ideal=80 + _GATEWAY_ANSWER,
        backends=("trio",),
    ),
    # An answer takes 30 tokens, counted when it is given.
    _gateway(
        "gateway-tpm2000",
        "openai-compatible:tpm2000",
        "sk-free",
        90,
        ideal=90 * 30 / 2_000 * 60 + _GATEWAY_ANSWER,
        backends=("asyncio",),
    ),
    _gateway(
        "gateway-tpm3000",
        "openai-compatible:plain",
        "sk-tpm3000",
        130,
        ideal=130 * 30 / 3_000 * 60 + _GATEWAY_ANSWER,
        backends=("trio",),
    ),
    # Parked by time: nothing was accepted for so long.
    _gateway(
        "gateway-always429",
        "openai-compatible:always429",
        "sk-free",
        10,
        park_after=5.0,
        ideal=5.0,
        bound=2.0,
        ends="parked",
        says=("park",),
    ),
    # Three attempts with waits of 1 and 2 s between, and no pause of the scope for that.
    _gateway(
        "gateway-always500",
        "openai-compatible:always500",
        "sk-free",
        10,
        ideal=3.0 + 30 * _GATEWAY_ERROR,
        bound=2.0,
        ends="server_error",
        attempts=3,
        never_says=("Rate limit detected",),
    ),
    # The status is 400 and the code "400"; only words speak of the prompt's length.
    _gateway(
        "gateway-ctxerr",
        "openai-compatible:ctxerr",
        "sk-free",
        15,
        ends="invalid_request",
    ),
)

_NGINX: Final = (
    # 20 a second is what binds.
    Scenario(
        name="nginx-rate",
        server=Front("default?latency=0.05"),
        provider=_CHAT,
        items=300,
        ideal=300 / 20 + 0.05,
        says=_SAYS_WHY,
    ),
    # Nothing listens for 8 s: no item fails for that, and the run goes on soon after.
    Scenario(
        name="nginx-gone",
        server=Front("default?latency=0.05"),
        provider=_CHAT,
        items=300,
        ideal=300 / 20 + 0.05 + 8.0,
        down=(5.0, 8.0),
        says=_SAYS_WHY,
        never_says=("Rate limit detected: breaker",),
    ),
    # Answers take a second, so 8 at once are 8 a second: the cap binds, and only its 503s show it.
    Scenario(
        name="nginx-cap",
        server=Front("default?latency=1.0"),
        provider=_CHAT,
        items=120,
        ideal=120 / 8 * 1.0,
        says=_SAYS_WHY,
        backends=("trio",),
    ),
    # The same cap, which looks like a quota: the same number in flight is what gives it away.
    Scenario(
        name="nginx-cap-429",
        server=Front("default?latency=1.0", too_many_calls=429),
        provider=_CHAT,
        items=160,
        ideal=160 / 8 * 1.0,
        says=_SAYS_WHY,
        backends=("asyncio",),
    ),
)


def _failing(share: float) -> tuple[str, ...]:
    """Return options of llmock that let *share* of all calls fail in each of three ways."""
    errors = (f"{status}={share}" for status in (429, 500, 503))
    return ("--latency-ms", "500", *(part for one in errors for part in ("--error-rate", one)))


# The scenarios' bounds were never tuned; of the limiter, rules were changed for servers simulated
# after llmock's noises and HAProxy's queue.
_UNTUNED: Final = (
    # A bucket of 240 that is full at first: 360 calls need 30 s beside it.
    Scenario(
        name="llmock-rpm",
        server=Chaos(("--rpm", "240", "--latency-ms", "100")),
        provider=_CHAT,
        items=360,
        concurrency=50,
        ideal=(360 - 240) / 4 + 0.1,
        says=_SAYS_WHY,
    ),
    Scenario(
        name="llmock-rpm-anthropic",
        server=Chaos(("--rpm", "240", "--latency-ms", "100")),
        provider="anthropic:m",
        items=360,
        concurrency=50,
        ideal=(360 - 240) / 4 + 0.1,
        says=_SAYS_WHY,
    ),
    # Tokens by the size of the request, 20 s of the quota beside what the bucket holds.
    Scenario(
        name="llmock-tpm",
        server=Chaos(("--tpm", "12000", "--latency-ms", "100")),
        provider=_CHAT,
        items=200,
        prompt=200,
        ideal=(200 * 76 - 12_000) / 200 + 0.1,
        says=_SAYS_WHY,
    ),
    # Three calls in a hundred fail for nothing; twenty at a time are what binds.
    Scenario(
        name="llmock-noise",
        server=Chaos(_failing(0.01)),
        provider="gemini:m",
        items=800,
        ideal=800 / 20 * 0.5,
    ),
    # Three in twenty: more than the limiter takes for noise, so that it looks for a quota.
    Scenario(
        name="llmock-much-noise",
        server=Chaos(_failing(0.05)),
        provider="gemini:m",
        items=400,
        ideal=400 / 20 * 0.5,
        bound=10.0,
    ),
    # 40 in two seconds, refused ones counted.
    Scenario(
        name="haproxy-rate",
        server=Balancer("default?latency=0.05", 40),
        provider=_CHAT,
        items=300,
        ideal=300 / 20 + 0.05,
        says=_SAYS_WHY,
    ),
    # Eight at once and a queue of two seconds, so that 24 calls in flight are the most.
    Scenario(
        name="haproxy-queue",
        server=Balancer("default?latency=1.0", 10_000),
        provider=_CHAT,
        items=160,
        concurrency=60,
        ideal=160 / 8 * 1.0,
        says=_SAYS_WHY,
    ),
)

SCENARIOS: Final = {one.name: one for one in (*_MOCKLIMIT, *_LITELLM, *_NGINX, *_UNTUNED)}
