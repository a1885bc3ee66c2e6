"""The faults that a server can show on demand: their names, how a prompt asks for them, their mix.

A prompt asks by a marker: `[[fault:500]]` always, `[[fault:500*2]]` for its first two attempts,
`[[fault:429=7]]` with an argument. Several markers act together. `[[answer:text]]` and
`[[latency:1.5]]` settle what is said and when.
"""

import random
import re
from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType

from attrs import field, frozen

from batchllm.simulator.wires import Problem

STATUS_FAULTS: Mapping[str, Problem] = MappingProxyType(
    {
        "400": Problem(status=400, kind="invalid_request", message="The request is not valid."),
        "401": Problem(status=401, kind="authentication", message="Incorrect API key provided."),
        "402": Problem(status=402, kind="billing", message="Insufficient balance."),
        "403": Problem(
            status=403, kind="permission", message="This project has no access to the model."
        ),
        "404": Problem(status=404, kind="not_found", message="The model does not exist."),
        "408": Problem(status=408, kind="timeout", message="The request timed out."),
        "409": Problem(status=409, kind="conflict", message="The resource is locked."),
        "413": Problem(
            status=413, kind="payload_too_large", message="The request body is too large."
        ),
        "422": Problem(status=422, kind="unprocessable", message="The request is invalid."),
        "429": Problem(status=429, kind="rate_limit", message="Rate limit reached."),
        "500": Problem(
            status=500, kind="server_error", message="The server had an error while processing."
        ),
        "503": Problem(
            status=503, kind="overloaded", message="The server is overloaded. Try again later."
        ),
        "504": Problem(status=504, kind="gateway_timeout", message="The upstream timed out."),
        "529": Problem(status=529, kind="overloaded", message="Overloaded"),
        "content-policy": Problem(
            status=400, kind="content_filter", message="The prompt was filtered."
        ),
        "context-length": Problem(
            status=400,
            kind="context_length",
            message="The prompt is too long.",
            limit=8192,
            requested=9000,
        ),
        "daily-limit": Problem(
            status=429,
            kind="daily_limit",
            message="Rate limit reached on requests per day (RPD).",
            dimension="requests_per_day",
            limit=200,
            used=200,
            requested=1,
        ),
        "insufficient-quota": Problem(
            status=429,
            kind="insufficient_quota",
            message="You exceeded your current quota, please check your plan and billing details.",
        ),
        "minute-limit": Problem(
            status=429,
            kind="rate_limit",
            message="Rate limit reached on requests per min (RPM).",
            limit=20,
            used=20,
            requested=1,
        ),
        "slow-down": Problem(
            status=429, kind="slow_down", message="Traffic grew too fast. Slow down."
        ),
        "too-large": Problem(
            status=429,
            kind="request_too_large",
            message="Request too large.",
            dimension="tokens",
            limit=30000,
            requested=36278,
        ),
    }
)
"""Refusals by an error status; the argument is the seconds to wait, for `429` in any spelling."""

CONNECTION_FAULTS = frozenset(
    {"connect", "disconnect", "disconnect-body", "stall", "stall-body", "stall-head"}
)
"""The connection fails: never made, lost before or within the reply, or silent for ever.

`disconnect-body` and `stall-body` take the number of bytes of the body that still arrive.
"""

PAGE_FAULTS = frozenset({"502-html", "200-html", "empty-body", "redirect"})
"""A reply that is no answer of the provider at all, such as a proxy's page."""

BODY_FAULTS = frozenset(
    {"error-200", "malformed-body", "no-terminal", "no-usage", "stream-error", "unknown-finish"}
)
"""A reply with status 200 whose body is wrong in the provider's own format."""

NOISE_FAULTS = frozenset(
    {"byte-order-mark", "crlf", "gzip", "keep-alive", "multi-line", "split", "wrong-date"}
)
"""Odd but correct: a client has to read the answer all the same."""

ANSWER_FAULTS = frozenset({"content-filter", "empty", "length", "refusal"})
"""The model ends without a full answer."""

SHAPE_FAULTS = frozenset({"fenced", "invalid-json", "missing-field", "trailing", "wrong-type"})
"""A structured answer that is not what its schema asks for, or not only that."""

FAULT_NAMES = tuple(
    sorted(
        STATUS_FAULTS.keys()
        | CONNECTION_FAULTS
        | PAGE_FAULTS
        | BODY_FAULTS
        | NOISE_FAULTS
        | ANSWER_FAULTS
        | SHAPE_FAULTS
    )
)

TRANSIENT_MIX: Mapping[str, float] = MappingProxyType(
    {
        "500": 3.0,
        "502-html": 2.0,
        "disconnect": 2.0,
        "disconnect-body": 1.0,
        "error-200": 1.0,
        "malformed-body": 1.0,
    }
)
"""Faults that go away by asking again at once, by weight."""


@frozen
class Fault:
    """One fault of one request."""

    name: str
    argument: str | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}={self.argument}"

    def number(self, default: float) -> float:
        """Return the argument as a number, or `default` without one."""
        return default if self.argument is None else float(self.argument)


_MARKER = re.compile(r"\[\[fault:([a-z0-9-]+)(?:=([^\]*]*))?(?:\*(\d+))?\]\]")
_SETTING = re.compile(r"\[\[(answer|latency):([^\]]*)\]\]")


def faults_in_prompt(prompt: str, attempt: int) -> tuple[Fault, ...]:
    """The faults that the markers in `prompt` ask for at this attempt, counted from 1.

    Raises:
        ValueError: a marker names no known fault.
    """
    if "[[fault:" not in prompt:
        return ()
    found = []
    for name, argument, times in _MARKER.findall(prompt):
        check_fault_name(name)
        if not times or attempt <= int(times):
            found.append(Fault(name, argument or None))
    return tuple(found)


def settings_in_prompt(prompt: str) -> dict[str, str]:
    """Return what the markers `[[answer:…]]` and `[[latency:…]]` in `prompt` set."""
    if "[[" not in prompt:
        return {}
    return dict(_SETTING.findall(prompt))


def check_fault_name(name: str) -> None:
    """Refuse a name that is no fault's.

    Raises:
        ValueError: with all names.
    """
    if name not in FAULT_NAMES:
        msg = f"unknown fault {name!r}; known are {', '.join(FAULT_NAMES)}"
        raise ValueError(msg)


def _checked_mix(mix: Mapping[str, float]) -> Mapping[str, float]:
    for name, weight in mix.items():
        check_fault_name(name)
        if weight <= 0:
            msg = f"fault {name!r} has weight {weight}; give it one above 0 or leave it out"
            raise ValueError(msg)
    return MappingProxyType(dict(mix))


def _checked_script(
    script: Mapping[int, str | Iterable[str]],
) -> Mapping[int, tuple[Fault, ...]]:
    checked = {}
    for number, names in script.items():
        wanted = (names,) if isinstance(names, str) else tuple(names)
        checked[number] = tuple(_parse_fault(name) for name in wanted)
    return MappingProxyType(checked)


def _parse_fault(text: str) -> Fault:
    name, _, argument = text.partition("=")
    check_fault_name(name)
    return Fault(name, argument or None)


@frozen(kw_only=True)
class FaultPlan:
    """The plan by which requests fail.

    Args:
        rate: The share of requests that get a fault drawn from `mix`.
        mix: Faults by weight.
        script: Faults by the number of the request, counted from 1, as `"429=7"`.
    """

    rate: float = 0.0
    mix: Mapping[str, float] = field(default=TRANSIENT_MIX, converter=_checked_mix)
    script: Mapping[int, tuple[Fault, ...]] = field(factory=dict, converter=_checked_script)

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            msg = f"FaultPlan.rate is {self.rate}; give a share from 0 to 1"
            raise ValueError(msg)

    def __reduce__(self) -> tuple[object, ...]:
        # Read-only views of dicts cannot be pickled; the converters make new ones.
        script = {number: tuple(map(str, faults)) for number, faults in self.script.items()}
        return partial(FaultPlan, rate=self.rate, mix=dict(self.mix), script=script), ()

    def choose(
        self, number: int, prompt: str, attempt: int, rng: random.Random
    ) -> tuple[Fault, ...]:
        """The faults of one request: scripted, asked for by its prompt, or drawn."""
        wanted = self.script.get(number, ()) + faults_in_prompt(prompt, attempt)
        if wanted or not self.rate or rng.random() >= self.rate:
            return wanted
        names = sorted(self.mix)
        return (Fault(rng.choices(names, [self.mix[name] for name in names])[0]),)


NO_FAULTS = FaultPlan()
"""The plan by which nothing fails unless a prompt asks for it."""
