"""The settings of a run, as frozen values that are checked when they are made."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, Final, Literal, NoReturn

from attrs import Attribute, evolve, field, frozen

from batchllm.core.errors import ConfigError

__all__ = [
    "FASTEST_PER_MINUTE",
    "SLOWEST_PER_MINUTE",
    "FailFast",
    "HedgeConfig",
    "JitterKind",
    "ProcessorConfig",
    "RateLimitConfig",
    "RetryConfig",
]

JitterKind = Literal["equal", "full", "decorrelated"]


_Check = Callable[[Any, "Attribute[Any]", Any], None]


def _fail(instance: Any, attribute: Attribute[Any], value: object, remedy: str) -> NoReturn:
    msg = f"{type(instance).__name__}.{attribute.name} is {value!r}; give {remedy}"
    raise ConfigError(msg)


def _contradict(instance: Any, name: str, ceiling: str, why: str) -> NoReturn:
    low, high = getattr(instance, name), getattr(instance, ceiling)
    msg = (
        f"{type(instance).__name__}.{name} is {low!r} and {ceiling} is {high!r}; give {ceiling} "
        f"of at least {low:g}, or lower {name}, {why}"
    )
    raise ConfigError(msg)


def _number(
    *,
    above: float | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    none: str = "",
    whole: bool = False,
) -> _Check:
    kind = "a whole number" if whole else "a number"
    bound = f" of at least {least:g}" if above is None else f" above {above:g}"
    bound += "" if most == math.inf else f" and at most {most:g}"
    remedy = f"{kind}{bound}" + (f", or None {none}" if none else "")

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is None:
            if none:
                return
            _fail(instance, attribute, value, remedy)
        right_type = isinstance(value, int if whole else int | float)
        if isinstance(value, bool) or not right_type or not -math.inf < value < math.inf:
            _fail(instance, attribute, value, remedy)
        if not least <= value <= most or (above is not None and value <= above):
            _fail(instance, attribute, value, remedy)

    return check


def _one_of(kinds: type | tuple[type, ...], remedy: str) -> _Check:
    def check(instance: Any, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            _fail(instance, attribute, value, remedy)

    return check


_switch = _one_of(bool, "True or False")


def _check_jitter(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool) and value not in ("equal", "full", "decorrelated"):
        _fail(instance, attribute, value, "True, False, 'equal', 'full' or 'decorrelated'")


@frozen
class RetryConfig:
    """When a failed item is tried again.

    The wait before attempt n+1 is ``min(max_wait, initial_wait * exponential_base ** (n-1))``
    seconds, then jittered: 1, 2, 4 s and so on by default.

    Args:
        max_attempts: Attempts per item, the first included. Rate limits do not count.
        initial_wait: Seconds before the second attempt.
        max_wait: The longest wait, in seconds.
        exponential_base: Growth from wait to wait.
        jitter: ``False``; ``True`` or ``"equal"`` for a wait drawn from its upper half;
            ``"full"`` for one from all of it; ``"decorrelated"`` for one between
            ``initial_wait`` and three times the last.
        max_rate_limit_retries: How often one item may meet a rate limit before it fails;
            ``None`` is without a bound: a scope whose limit never ends is parked.

    Raises:
        ConfigError: A setting is no number in its range, or the first wait is longer than the
            longest.
    """

    max_attempts: int = field(default=3, validator=_number(least=1, whole=True))
    initial_wait: float = field(default=1.0, validator=_number(least=0))
    max_wait: float = field(default=60.0, validator=_number(least=0))
    exponential_base: float = field(default=2.0, validator=_number(least=1))
    jitter: bool | JitterKind = field(default=True, validator=_check_jitter)
    max_rate_limit_retries: int | None = field(
        default=None, validator=_number(least=0, whole=True, none="for no bound")
    )

    def __attrs_post_init__(self) -> None:
        if self.initial_wait > self.max_wait:
            _contradict(self, "initial_wait", "max_wait", "so that the first wait is no longer")

    def waits(self) -> tuple[float, ...]:
        """The waits between attempts in seconds, before jitter."""
        return tuple(
            min(self.max_wait, self.initial_wait * _power(self.exponential_base, n))
            for n in range(min(self.max_attempts - 1, 1_000))
        )


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


@frozen
class RateLimitConfig:
    """A fixed policy for rate limits that come without a hint from the server.

    Args:
        cooldown_seconds: How long every call of the scope pauses.
        backoff_multiplier: Growth of the pause when the next one follows without a success.
        slow_start_items: Calls after a pause that go out one by one.
        slow_start_initial_delay: Seconds between the first of them.
        slow_start_final_delay: Seconds between the last of them.
        max_cooldown_seconds: The longest pause.

    Raises:
        ConfigError: A setting is no number in its range, the first pause is longer than the
            longest, or the delays of the slow start grow instead of falling.
    """

    cooldown_seconds: float = field(default=300.0, validator=_number(least=0))
    backoff_multiplier: float = field(default=1.5, validator=_number(least=1))
    slow_start_items: int = field(default=50, validator=_number(least=0, whole=True))
    slow_start_initial_delay: float = field(default=2.0, validator=_number(least=0))
    slow_start_final_delay: float = field(default=0.1, validator=_number(least=0))
    max_cooldown_seconds: float = field(default=600.0, validator=_number(least=0))

    def __attrs_post_init__(self) -> None:
        if self.cooldown_seconds > self.max_cooldown_seconds:
            why = "so that the first pause is no longer"
            _contradict(self, "cooldown_seconds", "max_cooldown_seconds", why)
        if self.slow_start_items and self.slow_start_final_delay > self.slow_start_initial_delay:
            why = "so that the calls after a pause do not become slower"
            _contradict(self, "slow_start_final_delay", "slow_start_initial_delay", why)


def _categories(names: Iterable[str]) -> frozenset[str]:
    # A lone text is iterable, too: it would become a set of letters that match nothing.
    return frozenset({names} if isinstance(names, str) else names)


@frozen(kw_only=True)
class FailFast:
    """When to stop the batch because every further call would fail the same way.

    An address at which no API answers counts, too, as long as there was no other answer.

    Args:
        categories: The error categories that count.
        after: How many items in a row have to fail with one of them.
    """

    categories: frozenset[str] = field(
        default=frozenset({"authentication", "insufficient_quota", "model_not_found"}),
        converter=_categories,
    )
    after: int = field(default=3, validator=_number(least=1, whole=True))


@frozen(kw_only=True)
class HedgeConfig:
    """When a call that takes very long is made a second time; the first answer wins.

    Both copies are billed. A second copy is made only when no fresh item waits, the scope is
    open, has been calm for a minute, and nobody waits for it.

    Args:
        delay: Seconds after which a call counts as slow; ``None`` learns it, as the time that
            one call in a hundred exceeds, or twice what one in twenty exceeds if that is less.
        min_delay: Seconds below which a learned delay does not go.
        max_share: Second copies per call.
        min_samples: Answers that have to be known before the first second copy.
    """

    delay: float | None = field(default=None, validator=_number(above=0, none="to learn it"))
    min_delay: float = field(default=2.0, validator=_number(least=0))
    max_share: float = field(default=0.02, validator=_number(above=0))
    min_samples: int = field(default=200, validator=_number(least=0, whole=True))


_OFF = "to switch it off"

SLOWEST_PER_MINUTE: Final = 1 / (366 * 1440)
"""One a year. Allowances by the month are the slowest that are sold; less than this is a slip."""
FASTEST_PER_MINUTE: Final = 1e12
"""More than any provider sells, and a million times what one process can send; ``None`` says that
there is no limit."""


def _per_minute(what: str) -> _Check:
    none = f"for no such limit on {what}"
    positive = _number(above=0, none=none)
    sensible = _number(least=SLOWEST_PER_MINUTE, most=FASTEST_PER_MINUTE, none=none)

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        positive(instance, attribute, value)  # its words suit the mistake that is made most
        sensible(instance, attribute, value)

    return check


@frozen
class ProcessorConfig:
    """The settings of a run. All times are in seconds.

    Args:
        max_workers: The exact cap on calls in flight; ``concurrency`` of the faces.
        timeout_per_item: An item's own work: its attempts and the backoff between them.
            Waiting that a shared limit imposes does not count.
        retry: When a failed item is tried again.
        rate_limit: A fixed policy for rate limits without a hint; ``None`` adapts.
        max_requests_per_minute: A known quota, never exceeded.
        progress_interval: A log line every so many items.
        progress_callback: Called as ``(completed, total, current_item)``; sync or async.
        progress_callback_timeout: For an async callback.
        max_queue_size: Items that ``add_work`` takes before a run; 0 is unlimited.
        dry_run: Call ``dry_run()`` of strategies in place of everything else.
        enable_detailed_logging: A log line per attempt, at DEBUG.
        attempt_timeout: For one attempt.
        deadline_per_item: Wall-clock time for an item, all waits included.
        stall_timeout: For a streamed answer: to its first chunk, and between chunks.
        batch_timeout: For the whole run.
        drain_grace: For calls in flight to finish when a run is asked to stop.
        max_tokens_per_minute: A known quota on input and output tokens together.
        window: Items that are ready, calling, or finished and unread; by default twice
            ``max_workers``.
        max_sleeping: Items that wait for a backoff or a cooldown, outside the window.
        reorder_window: Results that ``ordered=True`` may hold back.
        park_after: When no call of a scope was accepted for so long, or its server asks for a
            longer wait, the scope is parked; ``None`` never does.
        outage_after: When an endpoint has given no answer for so long it is given up, and the run
            stops if it has no other; 60 s are enough for one that never answered. ``None`` never
            does.
        fail_fast: When to give up on the batch; ``None`` never does.
        hedge: When a slow call is made a second time; ``None`` never does.
        prepare_timeout: For each ``prepare()``.
        hook_timeout: For each call of a middleware, ``on_error`` or post-processor.
        cleanup_timeout: For each ``cleanup()``, also when the run is cancelled.
        keep_results: Whether the results stay in memory; ``None`` leaves it to the face.
        seed: Makes jitter repeatable.
    """

    max_workers: int = field(default=5, validator=_number(least=1, whole=True))
    timeout_per_item: float | None = field(default=120.0, validator=_number(above=0, none=_OFF))
    retry: RetryConfig = field(factory=RetryConfig, validator=_one_of(RetryConfig, "a RetryConfig"))
    rate_limit: RateLimitConfig | None = field(
        default=None,
        validator=_one_of((RateLimitConfig, NoneType), "a RateLimitConfig, or None to adapt"),
    )
    max_requests_per_minute: float | None = field(default=None, validator=_per_minute("requests"))
    progress_interval: int = field(default=10, validator=_number(least=1, whole=True))
    progress_callback: Callable[..., Any] | None = field(default=None, repr=False)
    progress_callback_timeout: float | None = field(
        default=5.0, validator=_number(above=0, none=_OFF)
    )
    max_queue_size: int = field(default=0, validator=_number(least=0, whole=True))
    dry_run: bool = field(default=False, validator=_switch)
    enable_detailed_logging: bool = field(default=False, validator=_switch)
    attempt_timeout: float | None = field(
        default=None, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    deadline_per_item: float | None = field(
        default=None, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    stall_timeout: float | None = field(
        default=None, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    batch_timeout: float | None = field(
        default=None, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    drain_grace: float | None = field(
        default=60.0, kw_only=True, validator=_number(least=0, none="to wait for every call")
    )
    max_tokens_per_minute: float | None = field(
        default=None, kw_only=True, validator=_per_minute("tokens")
    )
    window: int | None = field(
        default=None, kw_only=True, validator=_number(least=1, whole=True, none="for the default")
    )
    max_sleeping: int = field(default=10_000, kw_only=True, validator=_number(least=1, whole=True))
    reorder_window: int = field(default=1_000, kw_only=True, validator=_number(least=1, whole=True))
    park_after: float | None = field(
        default=900.0, kw_only=True, validator=_number(above=0, none="to wait however long")
    )
    outage_after: float | None = field(
        default=600.0, kw_only=True, validator=_number(above=0, none="to wait however long")
    )
    fail_fast: FailFast | None = field(
        factory=FailFast,
        kw_only=True,
        validator=_one_of((FailFast, NoneType), "a FailFast, or None to go on whatever fails"),
    )
    hedge: HedgeConfig | None = field(
        default=None,
        kw_only=True,
        validator=_one_of((HedgeConfig, NoneType), "a HedgeConfig, or None to make no call twice"),
    )
    prepare_timeout: float | None = field(
        default=120.0, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    hook_timeout: float | None = field(
        default=60.0, kw_only=True, validator=_number(above=0, none=_OFF)
    )
    cleanup_timeout: float = field(default=10.0, kw_only=True, validator=_number(above=0))
    keep_results: bool | None = field(
        default=None, kw_only=True, validator=_one_of((bool, NoneType), "True, False or None")
    )
    seed: int | None = field(
        default=None, kw_only=True, validator=_one_of((int, NoneType), "a whole number or None")
    )

    def __attrs_post_init__(self) -> None:
        waits = sum(self.retry.waits())
        if self.timeout_per_item is not None and self.timeout_per_item < waits:
            text = (
                f"timeout may be too short: timeout_per_item is {self.timeout_per_item:g} s, and "
                f"the waits between {self.retry.max_attempts} attempts alone add up to "
                f"{waits:g} s; raise timeout_per_item or lower retry.max_attempts or max_wait"
            )
            warnings.warn(text, UserWarning, stacklevel=3)

    @property
    def window_size(self) -> int:
        """The window in force."""
        return self.window if self.window is not None else 2 * self.max_workers

    def with_changes(self, **changes: Any) -> ProcessorConfig:
        """A copy with *changes*, checked as a new one is."""
        return evolve(self, **changes)
