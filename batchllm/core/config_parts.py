"""The settings of single concerns: retries, rate limits, giving up, budgets, second copies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Literal

from attrs import Attribute, field, frozen

from batchllm.core.arguments import explain_arguments
from batchllm.core.checks import number, refuse, refuse_contradiction
from batchllm.core.errors import ConfigError

__all__ = ["Budget", "FailFast", "HedgeConfig", "JitterKind", "RateLimitConfig", "RetryConfig"]

_NO_FAILURES: Final = frozenset({"cancelled", "parked", "skipped", "stopped"})
"""Categories of items that were not tried to their end, which says nothing about others."""

JitterKind = Literal["equal", "full", "decorrelated"]


def _check_jitter(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, bool) and value not in ("equal", "full", "decorrelated"):
        refuse(instance, attribute, value, "True, False, 'equal', 'full' or 'decorrelated'")


@explain_arguments()
@frozen
class RetryConfig:
    """The rule by which a failed item is tried again.

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

    max_attempts: int = field(default=3, validator=number(least=1, whole=True))
    initial_wait: float = field(default=1.0, validator=number(least=0))
    max_wait: float = field(default=60.0, validator=number(least=0))
    exponential_base: float = field(default=2.0, validator=number(least=1))
    jitter: bool | JitterKind = field(default=True, validator=_check_jitter)
    max_rate_limit_retries: int | None = field(
        default=None, validator=number(least=0, whole=True, none="for no bound")
    )

    def __attrs_post_init__(self) -> None:
        if self.initial_wait > self.max_wait:
            refuse_contradiction(
                self, "initial_wait", "max_wait", "so that the first wait is no longer"
            )

    def too_short(
        self, name: str, seconds: float | None, attempts: int | None = None
    ) -> str | None:
        """Return a warning if the waits between attempts alone take longer than *seconds*.

        Args:
            name: The setting that gives an item so many seconds.
            seconds: ``None`` for any number.
            attempts: The attempts of one item, if it has a number of its own.
        """
        attempts = self.max_attempts if attempts is None else attempts
        waits = sum(self.waits(attempts))
        if seconds is None or seconds >= waits:
            return None
        what, _, _ = name.partition("_")
        return (
            f"{what} may be too short: {name} is {seconds:g} s, and the waits between "
            f"{attempts} attempts alone add up to {waits:g} s; raise {name} or lower "
            "retry.max_attempts or max_wait"
        )

    def waits(self, attempts: int | None = None) -> tuple[float, ...]:
        """Return the waits between *attempts*, by default all, in seconds and before jitter."""
        attempts = self.max_attempts if attempts is None else attempts
        return tuple(
            min(self.max_wait, self.initial_wait * _power(self.exponential_base, n))
            for n in range(min(attempts - 1, 1_000))
        )


def _power(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except OverflowError:
        return math.inf


@explain_arguments()
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

    cooldown_seconds: float = field(default=300.0, validator=number(least=0))
    backoff_multiplier: float = field(default=1.5, validator=number(least=1))
    slow_start_items: int = field(default=50, validator=number(least=0, whole=True))
    slow_start_initial_delay: float = field(default=2.0, validator=number(least=0))
    slow_start_final_delay: float = field(default=0.1, validator=number(least=0))
    max_cooldown_seconds: float = field(default=600.0, validator=number(least=0))

    def __attrs_post_init__(self) -> None:
        if self.cooldown_seconds > self.max_cooldown_seconds:
            why = "so that the first pause is no longer"
            refuse_contradiction(self, "cooldown_seconds", "max_cooldown_seconds", why)
        if self.slow_start_items and self.slow_start_final_delay > self.slow_start_initial_delay:
            why = "so that the calls after a pause do not become slower"
            refuse_contradiction(self, "slow_start_final_delay", "slow_start_initial_delay", why)


def _drain_or_cancel(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if value not in ("drain", "cancel"):
        refuse(instance, attribute, value, "'drain' or 'cancel'")


def _categories(names: Iterable[str]) -> frozenset[str]:
    # A lone text is iterable, too: it would become a set of letters that match nothing.
    return frozenset({names} if isinstance(names, str) else names)


@explain_arguments()
@frozen(kw_only=True)
class FailFast:
    """The rule that stops a batch because every further call would fail the same way.

    As long as no item was answered two more things end it: an address at which no API answers, and
    20 items in a row that are refused as ``invalid_request`` with the very same words.

    Args:
        categories: The error categories that count; ``"*"`` stands for every kind of failure.
        after: How many items in a row have to fail with one of them.
        then: What becomes of calls in flight: ``"drain"`` lets them finish, ``"cancel"`` ends
            them.
    """

    categories: frozenset[str] = field(
        default=frozenset({"authentication", "insufficient_quota", "model_not_found"}),
        converter=_categories,
    )
    after: int = field(default=3, validator=number(least=1, whole=True))
    then: Literal["drain", "cancel"] = field(default="drain", validator=_drain_or_cancel)

    def counts(self, category: str | None) -> bool:
        """Return whether a result of *category* is a failure that counts."""
        if category in self.categories:
            return True
        return category is not None and category not in _NO_FAILURES and "*" in self.categories


@explain_arguments()
@frozen(kw_only=True)
class Budget:
    """The most that a run may spend.

    What a call can cost at most is reserved before it is made, and what it did cost is booked
    after it: booked and reserved together never exceed the budget. A call that does not fit waits
    for those in flight; if it does not fit without any, the run ends, with the cause ``budget``.

    Answers of earlier runs that come from a journal are not counted, so that the next run of the
    same call has as much again. With the provider's batches (``mode="batch"``), whose results come
    by the same call later, what earlier runs on the journal have spent does count.

    Args:
        max_cost: US dollars. The price of every model has to be known.
        max_tokens_total: Tokens in and out together, of all calls.

    Raises:
        ConfigError: Neither is given, or one is no number above 0.
    """

    max_cost: float | None = field(default=None, validator=number(above=0, none="for no bound"))
    max_tokens_total: int | None = field(
        default=None, validator=number(least=1, whole=True, none="for no bound")
    )

    def __attrs_post_init__(self) -> None:
        if self.max_cost is None and self.max_tokens_total is None:
            msg = (
                "Budget.max_cost and max_tokens_total are None, which bounds nothing; give "
                "max_cost in US dollars, max_tokens_total, or both"
            )
            raise ConfigError(msg)


@explain_arguments()
@frozen(kw_only=True)
class HedgeConfig:
    """The rule by which a call that takes very long is made again; the first answer wins.

    Each copy is billed. A second copy is made only when no fresh item waits, the scope is
    open, has been calm for a minute, and no call waits for it; a third if it takes as long again.

    Args:
        delay: Seconds after which a call counts as slow; ``None`` learns it, as the time that
            one call in a hundred exceeds, or would exceed if none had stalled.
        min_delay: Seconds below which a learned delay does not go.
        max_share: Second and third copies per call.
        min_samples: Answers that have to be known before the first second copy.
    """

    delay: float | None = field(default=None, validator=number(above=0, none="to learn it"))
    min_delay: float = field(default=2.0, validator=number(least=0))
    max_share: float = field(default=0.02, validator=number(above=0))
    min_samples: int = field(default=200, validator=number(least=0, whole=True))
