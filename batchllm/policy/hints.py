"""What a reply says about waiting and limits: headers and error bodies to ``ServerHint``.

Everything here is total: any text may come, nothing is raised, and garbage counts as silence.
Waits are finite, above 0 and at most ``LONGEST``. The order of precedence for a wait is
``retry-after-ms``, ``retry-after``, ``x-amz-retry-after``, Google's ``RetryInfo``, the message,
and last the reset of a limit of which nothing remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

from attrs import define, field

from batchllm.core import Dimension, LimitHint, ServerHint
from batchllm.policy.durations import LONGEST, parse_duration, parse_moment, parse_number
from batchllm.policy.error_body import ErrorBody
from batchllm.policy.error_hints import read_details, read_message

__all__ = ["read_error", "read_headers"]

_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
_MOST: Final = 10**15
_UNITS: Final = {"second": 1.0, "minute": _MINUTE, "hour": 3_600.0, "day": _DAY}
_PARTS: Final = ("limit", "remaining", "reset")


class _Limit(NamedTuple):
    dimension: Dimension
    per: float | None
    infer: bool = False
    margin: int = 0


class _Place(NamedTuple):
    limit: str
    part: str


def _tables() -> tuple[dict[str, _Limit], dict[str, _Place]]:
    """Build the limits by name, and where each header belongs; unknown headers cost one lookup."""
    limits: dict[str, _Limit] = {"": _Limit("requests", None)}
    for name, dimension in (
        ("requests", "requests"),
        ("tokens", "tokens"),
        ("input-tokens", "input_tokens"),
        ("output-tokens", "output_tokens"),
    ):
        known = cast("Dimension", dimension)
        limits[name] = limits[f"project-{name}"] = _Limit(known, _MINUTE, infer=True)
        # Anthropic rounds what remains of tokens to thousands.
        margin = 0 if name == "requests" else 1_000
        limits[f"anthropic {name}"] = _Limit(known, _MINUTE, margin=margin)
        for unit, seconds in _UNITS.items():
            limits[f"{name}-{unit}"] = _Limit(known, seconds)
            if name == "requests":
                limits[f"req-{unit}"] = _Limit(known, seconds)
    limits["tokens_usage_based"] = limits["tokens"]
    places: dict[str, _Place] = {}
    for name in limits:
        for part in _PARTS:
            vendor, _, rest = name.rpartition(" ")
            header = f"{vendor}-ratelimit-{rest}-{part}" if vendor else f"x-ratelimit-{part}-{rest}"
            places[header.rstrip("-")] = _Place(name, part)
    return limits, places


_LIMITS, _LIMIT_PLACES = _tables()
_WAIT_HEADERS: Final = ("retry-after-ms", "retry-after", "x-amz-retry-after")
_PLACES: Final[dict[str, _Place]] = {
    **_LIMIT_PLACES,
    **{name: _Place("", "") for name in (*_WAIT_HEADERS, "x-should-retry")},
}


@define(eq=False)
class _Clock:
    """The moment of the reply: its own ``Date`` header, so that our clock may be wrong."""

    headers: Mapping[str, str]
    fallback: float | None
    _now: float | None = field(default=None, init=False)
    _read: bool = field(default=False, init=False)

    def seconds_until(self, moment: float) -> float | None:
        if not self._read:
            self._read = True
            date = next((v for k, v in self.headers.items() if k.lower() == "date"), "")
            told = parse_moment(date)
            self._now = self.fallback if told is None else told
        return None if self._now is None else _positive(moment - self._now)


def read_headers(headers: Mapping[str, str], *, now_wall: float | None = None) -> ServerHint | None:
    """Read the headers of any reply; cheap where they say nothing.

    Args:
        headers: Names in any case.
        now_wall: Seconds since the epoch, for absolute times in a reply without ``Date``.

    Returns:
        The hint, or ``None`` where the headers say nothing. ``wait`` is set only by headers that
        ask for a wait; a limit that is used up is told in ``limits``.
    """
    found = {low: value for key, value in headers.items() if (low := key.lower()) in _PLACES}
    if not found:
        return None
    clock = _Clock(headers, now_wall)
    hint = ServerHint(
        wait=_wait(found, clock),
        limits=_limits(found, clock),
        retry={"true": True, "false": False}.get(found.get("x-should-retry", "").strip().lower()),
    )
    return None if hint == _SILENCE else hint


def read_error(
    status: int | None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    *,
    now_wall: float | None = None,
) -> ServerHint:
    """Read an error reply.

    Args:
        status: HTTP status, ``None`` where there was none.
        headers: Names in any case.
        body: Parsed JSON, text, bytes or an ``ErrorBody``.
        now_wall: Seconds since the epoch, for absolute times in a reply without ``Date``.

    Returns:
        The hint, empty where the reply says nothing. On 429, 503 and 529 the reset of a limit
        of which nothing remains counts as a wait where nothing better is told. A daily quota
        that is used up, or an empty account, is ``exhausted``.
    """
    told = (read_headers(headers, now_wall=now_wall) if headers else None) or _SILENCE
    error = body if isinstance(body, ErrorBody) else ErrorBody.read(body)
    details, message = read_details(error), read_message(error.message)
    limits = (*told.limits, *(details.limits or message.limits))
    # A daily quota comes with a delay of seconds that would only meet the next refusal.
    exhausted = details.exhausted or message.exhausted
    wait = told.wait or details.wait or (None if details.exhausted else message.wait)
    if wait is None and not exhausted and status in (429, 503, 529):
        wait = _longest_reset(limits)
    return ServerHint(wait=wait, limits=limits, exhausted=exhausted, retry=told.retry)


_SILENCE: Final = ServerHint()


def _positive(seconds: float | None) -> float | None:
    return min(seconds, LONGEST) if seconds is not None and seconds > 0 else None


def _wait(found: Mapping[str, str], clock: _Clock) -> float | None:
    readers: tuple[Callable[[str], float | None], ...] = (
        _milliseconds,
        lambda text: _seconds_or_date(text, clock),
        _milliseconds,
    )
    for name, read in zip(_WAIT_HEADERS, readers, strict=True):
        text = found.get(name)
        wait = None if text is None else _positive(read(text))
        if wait is not None:
            return wait
    return None


def _milliseconds(text: str) -> float | None:
    number = parse_number(text)
    return None if number is None else number / 1000


def _seconds_or_date(text: str, clock: _Clock) -> float | None:
    seconds = parse_duration(text)
    if seconds is not None:
        return seconds
    moment = parse_moment(text)
    return None if moment is None else clock.seconds_until(moment)


def _limits(found: Mapping[str, str], clock: _Clock) -> tuple[LimitHint, ...]:
    groups: dict[str, dict[str, str]] = {}
    for name, text in found.items():
        place = _PLACES[name]
        if place.part:
            groups.setdefault(place.limit, {})[place.part] = text
    hints = (_limit(_LIMITS[name], parts, clock) for name, parts in groups.items())
    return tuple(hint for hint in hints if hint is not None)


def _limit(limit: _Limit, parts: Mapping[str, str], clock: _Clock) -> LimitHint | None:
    amount = _count(parts.get("limit"))
    if (amount is None and "limit" in parts) or amount == 0:
        return None  # Azure's -1 beside a reset of 0 means "no such limit"
    remaining = _count(parts.get("remaining"))
    reset = _reset(parts.get("reset", ""), clock)
    if amount is None and remaining is None and reset is None:
        return None
    per = limit.per
    if limit.infer and amount is not None and reset is not None:
        per = _period(amount, remaining, reset, parts["reset"])
    if remaining is not None:
        remaining = max(0, remaining - limit.margin)
        if amount is not None:
            remaining = min(remaining, amount)
    return LimitHint(
        dimension=limit.dimension,
        amount=amount,
        per=None if amount is None else per,
        remaining=remaining,
        reset=reset,
    )


def _count(text: str | None) -> int | None:
    number = None if text is None else parse_number(text)
    return int(number) if number is not None and number <= _MOST else None


def _reset(text: str, clock: _Clock) -> float | None:
    number = parse_number(text)
    if number is not None and number >= 1e9:
        # No limit takes 30 years: the time itself, in seconds or (OpenRouter) milliseconds.
        return clock.seconds_until(number / 1000 if number >= 1e11 else number)
    return _positive(_seconds_or_date(text, clock))


def _period(amount: int, remaining: int | None, reset: float, text: str) -> float | None:
    """Tell a limit per day from one per minute, which bear the same names.

    Groq counts requests per day, and so does OpenAI for small accounts. A bucket that refills
    steadily gives its period away: the reset grows by period/amount with each use. A minute
    cannot be over a minute away, so a far reset is a day or unknown; a near one that would fit
    a day is unknown.
    """
    used = amount - (remaining or 0)
    refill = reset * amount / used if used > 0 else 0.0
    fits_a_day = 0.9 * _DAY <= refill <= 1.1 * _DAY
    if reset > _MINUTE + 1:
        return _DAY if fits_a_day or reset > 3600 else None
    return None if fits_a_day and not text.strip().isdigit() else _MINUTE


def _longest_reset(limits: tuple[LimitHint, ...]) -> float | None:
    resets = (one.reset for one in limits if one.remaining == 0 and one.reset is not None)
    return max(resets, default=None)
