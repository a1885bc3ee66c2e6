"""The settings of a run, as one frozen value that is checked when it is made."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final, cast

from attrs import Attribute, evolve, field, fields, frozen

from batchllm.core.arguments import explain_arguments
from batchllm.core.checks import number, one_of, per_minute, refuse, switch
from batchllm.core.config_parts import (
    Budget,
    FailFast,
    HedgeConfig,
    RateLimitConfig,
    RetryConfig,
)
from batchllm.core.prices import Price

__all__ = ["SECTIONS", "ProcessorConfig", "names_of_settings", "places_of_settings"]

SECTIONS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "retry": RetryConfig,
        "rate_limit": RateLimitConfig,
        "fail_fast": FailFast,
        "budget": Budget,
        "hedge": HedgeConfig,
    }
)
"""The settings of ``ProcessorConfig`` that have settings of their own."""


def _places_in_sections() -> dict[str, str]:
    """Return how each setting of a section is written in a ``ProcessorConfig``."""
    return {
        name: f"{section}={kind.__name__}({name}=…)"
        for section, kind in SECTIONS.items()
        for name in names_of_settings(kind)
    }


def names_of_settings(kind: type[Any]) -> list[str]:
    """Return the names of the settings of a class, in their order."""
    attributes = cast("tuple[Attribute[Any], ...]", fields(kind))
    return [attribute.name for attribute in attributes]


_OFF = "to switch it off"


def _copied(prices: Any) -> Any:
    return dict(prices) if isinstance(prices, Mapping) else prices


def _are_prices(instance: Any, attribute: Attribute[Any], value: object) -> None:
    remedy = 'a mapping such as {"openai:gpt-5-mini": Price(input=0.25, output=2.0)}'
    if not isinstance(value, Mapping):
        refuse(instance, attribute, value, remedy)
    for name, price in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not isinstance(price, Price):
            refuse(instance, attribute, {name: price}, remedy)


@explain_arguments(_places_in_sections())
@frozen
class ProcessorConfig:
    """The settings of a run. All times are in seconds.

    Args:
        max_workers: The exact cap on calls in flight; ``concurrency`` of the entry points.
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
        budget: The most that the run may spend; ``None`` bounds nothing.
        prices: Prices of models by ``"provider:model"``, over those of the package genai-prices
            (``pip install "batchllm[prices]"``). ``*`` stands for anything: ``"openai:*"``.
        hedge: When a slow call is made a second time; ``None`` never does.
        prepare_timeout: For each ``prepare()``.
        hook_timeout: For each call of a middleware, ``on_error`` or post-processor.
        cleanup_timeout: For each ``cleanup()``, also when the run is cancelled.
        keep_results: Whether the results stay in memory; ``None`` leaves it to the entry point.
        seed: Makes jitter repeatable.
    """

    max_workers: int = field(default=5, validator=number(least=1, whole=True))
    timeout_per_item: float | None = field(default=120.0, validator=number(above=0, none=_OFF))
    retry: RetryConfig = field(factory=RetryConfig, validator=one_of(RetryConfig, "a RetryConfig"))
    rate_limit: RateLimitConfig | None = field(
        default=None,
        validator=one_of((RateLimitConfig, NoneType), "a RateLimitConfig, or None to adapt"),
    )
    max_requests_per_minute: float | None = field(default=None, validator=per_minute("requests"))
    progress_interval: int = field(default=10, validator=number(least=1, whole=True))
    progress_callback: Callable[..., Any] | None = field(default=None, repr=False)
    progress_callback_timeout: float | None = field(
        default=5.0, validator=number(above=0, none=_OFF)
    )
    max_queue_size: int = field(default=0, validator=number(least=0, whole=True))
    dry_run: bool = field(default=False, validator=switch)
    enable_detailed_logging: bool = field(default=False, validator=switch)
    attempt_timeout: float | None = field(
        default=None, kw_only=True, validator=number(above=0, none=_OFF)
    )
    deadline_per_item: float | None = field(
        default=None, kw_only=True, validator=number(above=0, none=_OFF)
    )
    stall_timeout: float | None = field(
        default=None, kw_only=True, validator=number(above=0, none=_OFF)
    )
    batch_timeout: float | None = field(
        default=None, kw_only=True, validator=number(above=0, none=_OFF)
    )
    drain_grace: float | None = field(
        default=30.0, kw_only=True, validator=number(least=0, none="to wait for every call")
    )
    max_tokens_per_minute: float | None = field(
        default=None, kw_only=True, validator=per_minute("tokens")
    )
    window: int | None = field(
        default=None, kw_only=True, validator=number(least=1, whole=True, none="for the default")
    )
    max_sleeping: int = field(default=10_000, kw_only=True, validator=number(least=1, whole=True))
    reorder_window: int = field(default=1_000, kw_only=True, validator=number(least=1, whole=True))
    park_after: float | None = field(
        default=900.0, kw_only=True, validator=number(above=0, none="to wait however long")
    )
    outage_after: float | None = field(
        default=600.0, kw_only=True, validator=number(above=0, none="to wait however long")
    )
    fail_fast: FailFast | None = field(
        factory=FailFast,
        kw_only=True,
        validator=one_of((FailFast, NoneType), "a FailFast, or None to go on whatever fails"),
    )
    budget: Budget | None = field(
        default=None,
        kw_only=True,
        validator=one_of(
            (Budget, NoneType), "a Budget, such as Budget(max_cost=5.0), or None for no bound"
        ),
    )
    prices: Mapping[str, Price] = field(
        factory=dict[str, Price],
        kw_only=True,
        converter=_copied,
        validator=_are_prices,
        hash=False,  # a dict has none; equal settings still have equal hashes
    )
    hedge: HedgeConfig | None = field(
        default=None,
        kw_only=True,
        validator=one_of((HedgeConfig, NoneType), "a HedgeConfig, or None to make no call twice"),
    )
    prepare_timeout: float | None = field(
        default=120.0, kw_only=True, validator=number(above=0, none=_OFF)
    )
    hook_timeout: float | None = field(
        default=60.0, kw_only=True, validator=number(above=0, none=_OFF)
    )
    cleanup_timeout: float = field(default=10.0, kw_only=True, validator=number(above=0))
    keep_results: bool | None = field(
        default=None, kw_only=True, validator=one_of((bool, NoneType), "True, False or None")
    )
    seed: int | None = field(
        default=None, kw_only=True, validator=one_of((int, NoneType), "a whole number or None")
    )

    def __attrs_post_init__(self) -> None:
        for name in ("timeout_per_item", "deadline_per_item"):
            text = self.retry.too_short(name, getattr(self, name))
            if text is not None:
                warnings.warn(text, UserWarning, stacklevel=4)

    @property
    def window_size(self) -> int:
        """The window in force."""
        return self.window if self.window is not None else 2 * self.max_workers

    def with_changes(self, **changes: Any) -> ProcessorConfig:
        """Return a copy with *changes*, checked as a new one is."""
        return evolve(self, **changes)


def places_of_settings() -> dict[str, str]:
    """Return how each setting is written in a call that takes a ``config``.

    Such as ``{"max_attempts": "config=ProcessorConfig(retry=RetryConfig(max_attempts=…))"}``.
    """
    own = {name: f"{name}=…" for name in names_of_settings(ProcessorConfig)}
    return {
        name: f"config=ProcessorConfig({place})"
        for name, place in {**_places_in_sections(), **own}.items()
    }
