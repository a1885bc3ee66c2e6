"""Scenarios: the speed, the quota and the faults of a simulated provider; some have names."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from attrs import evolve, field, fields_dict, frozen, validators

from batchllm.simulator.distributions import Distribution, Fixed, LogNormal, to_distribution
from batchllm.simulator.faults import NO_FAULTS, TRANSIENT_MIX, FaultPlan

PROFILES = (
    "anthropic",
    "azure",
    "azure-blind",
    "deepseek",
    "gemini",
    "groq",
    "mistral",
    "ollama",
    "openai",
    "openrouter",
    "together",
    "vertex",
    "vllm",
)
ENFORCEMENTS = ("bucket", "counting", "fixed", "sliding")

_share = validators.and_(validators.ge(0.0), validators.le(1.0))
_limit = validators.optional(validators.gt(0.0))
_count = validators.optional(validators.ge(1))


@frozen(kw_only=True)
class Scenario:
    """One provider as the simulator plays it. Limits hold per API key and model.

    Args:
        name: What it is called in messages.
        profile: Whose headers, error bodies and details are shown; one of `PROFILES`.
        latency: Seconds to the first byte of an answer.
        refusal_latency: Seconds to a refusal.
        answer_tokens: Length of a free answer.
        seconds_per_token: Added for each token of the answer.
        requests_per_minute: Quota on requests; None is no quota, here and below.
        tokens_per_minute: Quota on input and output; the bound on the output is reserved first.
        input_tokens_per_minute: Quota on input alone.
        output_tokens_per_minute: Quota on what was really written.
        requests_per_day: Quota in windows of a day.
        enforcement: "bucket" refills all the time; "fixed" counts in windows of the clock;
            "sliding" over the seconds just passed; "counting" as well, refusals included.
        enforcement_window: Seconds over which the quotas per minute are enforced, in proportion;
            for a bucket the seconds' worth that it can hold.
        burst: What a request bucket can hold, where that is not `enforcement_window`'s worth.
        max_concurrent: Requests at once, beyond which there is a 429 without a hint.
        slots: Requests worked on at once by a server that queues instead of refusing.
        queue_capacity: Waiting requests of such a server, beyond which there is a 503.
        refunds: Whether tokens reserved but not used are given back.
        reserved_output: Output tokens reserved for a request that gives no bound.
        limit_headers: Whether replies report the limits.
        hints: Whether refusals report when to come back.
        faults: Which requests fail, and how.
        wrong_answers: Share of structured answers that break their schema.
        noise: Share of requests refused with a 429 for no reason.
        neighbour: Requests per minute that another tenant takes from each quota.
        quota_changes: Pairs (seconds since the first request, factor on the declared quota).
        api_key: The key that is accepted; None accepts every request.
        models: The models that exist; empty for all.
        context_tokens: The longest prompt.
        shortest_cache: Tokens that a context cache has to hold at least.
        input_price: US dollars per million input tokens, to try out budgets; nothing is billed.
        output_price: The same for the output.
    """

    name: str = "custom"
    profile: str = field(default="openai", validator=validators.in_(PROFILES))
    latency: Distribution = field(default=Fixed(0.02), converter=to_distribution)
    refusal_latency: Distribution = field(default=Fixed(0.005), converter=to_distribution)
    answer_tokens: Distribution = field(default=Fixed(20.0), converter=to_distribution)
    seconds_per_token: float = field(default=0.0, validator=validators.ge(0))
    requests_per_minute: float | None = field(default=None, validator=_limit)
    tokens_per_minute: float | None = field(default=None, validator=_limit)
    input_tokens_per_minute: float | None = field(default=None, validator=_limit)
    output_tokens_per_minute: float | None = field(default=None, validator=_limit)
    requests_per_day: float | None = field(default=None, validator=_limit)
    enforcement: str = field(default="bucket", validator=validators.in_(ENFORCEMENTS))
    enforcement_window: float = field(default=60.0, validator=validators.gt(0))
    burst: float | None = field(default=None, validator=_limit)
    max_concurrent: int | None = field(default=None, validator=_count)
    slots: int | None = field(default=None, validator=_count)
    queue_capacity: int = field(default=512, validator=validators.ge(0))
    refunds: bool = True
    reserved_output: int = field(default=256, validator=validators.ge(0))
    limit_headers: bool = True
    hints: bool = True
    faults: FaultPlan = NO_FAULTS
    wrong_answers: float = field(default=0.0, validator=_share)
    noise: float = field(default=0.0, validator=_share)
    neighbour: float = field(default=0.0, validator=validators.ge(0))
    quota_changes: tuple[tuple[float, float], ...] = ()
    api_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    context_tokens: int | None = field(default=None, validator=_count)
    shortest_cache: int = field(default=0, validator=validators.ge(0))
    input_price: float = field(default=0.0, validator=validators.ge(0))
    output_price: float = field(default=0.0, validator=validators.ge(0))


_QUOTA = Scenario(name="quota", latency=0.05, requests_per_minute=3000, burst=50)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        made.name: made
        for made in (
            Scenario(name="default"),
            Scenario(name="instant", latency=0.0, refusal_latency=0.0),
            Scenario(name="flaky", latency=0.05, faults=FaultPlan(rate=0.05)),
            _QUOTA,
            evolve(_QUOTA, name="quota-nohint", hints=False, limit_headers=False),
            evolve(_QUOTA, name="quota-noheaders", limit_headers=False),
            evolve(_QUOTA, name="demo", latency=LogNormal(0.15, 0.4), faults=FaultPlan(rate=0.05)),
            Scenario(
                name="strict",
                latency=0.05,
                requests_per_minute=600,
                enforcement="counting",
                api_key="sim-key",
                context_tokens=8192,
            ),
            Scenario(name="queue", profile="vllm", latency=0.1, slots=8, queue_capacity=64),
            Scenario(
                name="openai-tier1",
                latency=LogNormal(0.8, 0.4),
                seconds_per_token=0.01,
                requests_per_minute=500,
                tokens_per_minute=30_000,
            ),
            Scenario(
                name="azure",
                profile="azure",
                latency=LogNormal(0.8, 0.4),
                requests_per_minute=600,
                tokens_per_minute=100_000,
                enforcement="sliding",
                enforcement_window=10.0,
                refunds=False,
            ),
            Scenario(
                name="anthropic",
                profile="anthropic",
                latency=LogNormal(1.0, 0.4),
                requests_per_minute=50,
                input_tokens_per_minute=30_000,
                output_tokens_per_minute=8_000,
            ),
            Scenario(
                name="gemini-free",
                profile="gemini",
                latency=LogNormal(0.9, 0.4),
                requests_per_minute=20,
                input_tokens_per_minute=250_000,
                requests_per_day=200,
                enforcement="fixed",
            ),
            Scenario(  # capacity that all share: it drifts, and nothing shows how much there is
                name="vertex",
                profile="vertex",
                latency=LogNormal(0.9, 0.4),
                requests_per_minute=600,
                enforcement_window=10.0,
                quota_changes=((60.0, 0.6), (150.0, 1.3), (240.0, 0.8), (330.0, 1.1)),
                noise=0.002,
            ),
            Scenario(
                name="groq",
                profile="groq",
                latency=0.2,
                requests_per_minute=30,
                tokens_per_minute=6_000,
                requests_per_day=14_400,
            ),
            Scenario(
                name="mistral",
                profile="mistral",
                latency=LogNormal(0.6, 0.3),
                requests_per_minute=60,
                burst=1,
                tokens_per_minute=500_000,
            ),
            Scenario(
                name="deepseek",
                profile="deepseek",
                latency=LogNormal(1.0, 0.5),
                max_concurrent=100,
                hints=False,
            ),
            Scenario(name="openrouter", profile="openrouter", latency=0.5, requests_per_minute=200),
            Scenario(name="ollama", profile="ollama", latency=0.2, slots=4, queue_capacity=512),
        )
    }
)
"""The scenarios with names."""

_SHORT_NAMES = {
    "burst": "burst",
    "concurrency": "max_concurrent",
    "context": "context_tokens",
    "headers": "limit_headers",
    "itpm": "input_tokens_per_minute",
    "key": "api_key",
    "otpm": "output_tokens_per_minute",
    "per_token": "seconds_per_token",
    "rpd": "requests_per_day",
    "rpm": "requests_per_minute",
    "tokens": "answer_tokens",
    "tpm": "tokens_per_minute",
    "window": "enforcement_window",
    "wrong": "wrong_answers",
}


def scenario(name: str = "default", **overrides: Any) -> Scenario:
    """The scenario of that name with some fields replaced.

    A field goes by its own name or a short one: `rpm`, `tpm`, `itpm`, `otpm`, `rpd`, `burst`,
    `window`, `tokens`, `per_token`, `wrong`, `concurrency`, `context`, `headers`, `key`; `rps` is
    a sixtieth of `rpm`. `faults` also takes a share of requests, or texts such as
    `"0.05:500,disconnect"`. Texts are read as the field needs them.

    Raises:
        ValueError: an unknown name, with the known ones, or a value that does not fit.
    """
    base = SCENARIOS.get(name)
    if base is None:
        raise ValueError(_unknown("scenario", name, tuple(SCENARIOS)))
    changes: dict[str, Any] = {}
    for given, value in overrides.items():
        if given == "rps":
            changes["requests_per_minute"] = 60 * _number("rps", value)
            continue
        field_name = _SHORT_NAMES.get(given, given)
        read = _READERS.get(field_name)
        if read is None:
            raise ValueError(_unknown("option", given, (*_SHORT_NAMES, "rps", *_READERS)))
        changes[field_name] = read(given, value)
    return evolve(base, **changes)


def parse_scenario(text: str) -> Scenario:
    """Read a scenario from text: a name, then overrides: `quota?rpm=600&burst=10`.

    Raises:
        ValueError: an unknown name or option, or a value that does not fit.
    """
    name, _, options = text.partition("?")
    pairs = parse_qsl(options, keep_blank_values=True, strict_parsing=bool(options))
    return scenario(name or "default", **dict(pairs))


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    advice = f", did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{advice} The known ones are: {', '.join(sorted(set(known)))}"


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        msg = f"{name} is {value!r}; give a number"
        raise ValueError(msg) from None


def _optional_number(name: str, value: Any) -> float | None:
    return None if value in (None, "", "none") else _number(name, value)


def _integer(name: str, value: Any) -> int:
    return int(_number(name, value))


def _optional_integer(name: str, value: Any) -> int | None:
    number = _optional_number(name, value)
    return None if number is None else int(number)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if str(value).lower() not in words:
        msg = f"{name} is {value!r}; give true or false"
        raise ValueError(msg)
    return words[str(value).lower()]


def _as_given(_name: str, value: Any) -> Any:
    return value


def _faults(name: str, value: Any) -> FaultPlan:
    if isinstance(value, FaultPlan):
        return value
    rate, _, names = str(value).partition(":")
    mix = dict.fromkeys(names.split(","), 1.0) if names else TRANSIENT_MIX
    return FaultPlan(rate=_number(name, rate), mix=mix)


def _names(_name: str, value: Any) -> tuple[str, ...]:
    return tuple(value.split(",")) if isinstance(value, str) else tuple(value)


def _changes(name: str, value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, str):
        return tuple((float(after), float(factor)) for after, factor in value)
    pairs = [part.partition("*") for part in value.split(",")]
    return tuple((_number(name, after), _number(name, factor)) for after, _, factor in pairs)


_BY_TYPE: Mapping[Any, Callable[[str, Any], Any]] = {
    float: _number,
    float | None: _optional_number,
    int: _integer,
    int | None: _optional_integer,
    bool: _flag,
}
_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    name: _BY_TYPE.get(attribute.type, _as_given)
    for name, attribute in fields_dict(Scenario).items()
} | {"faults": _faults, "models": _names, "quota_changes": _changes}
