"""What held a run back, told from looks at it."""

from types import SimpleNamespace
from typing import Any

from batchllm.cli.limiting import LimitWatch
from batchllm.core import ProcessorConfig
from batchllm.policy import Limit


def stats(
    in_flight: int = 0,
    waiting: int = 0,
    *,
    pace: float | None = None,
    limits: Any = (),
    met: int = 0,
) -> dict[str, Any]:
    scope = SimpleNamespace(pace=pace, limits=limits)
    return {
        "in_flight": in_flight,
        "waiting": waiting,
        "scopes": {"one": scope},
        "rate_limit_count": met,
    }


def verdict(*looks: dict[str, Any], **config: Any) -> str | None:
    watch = LimitWatch(ProcessorConfig(max_workers=10, **config))
    for look in looks:
        watch.look(look)
    return watch.verdict(looks[-1] if looks else stats())


def test_a_run_that_is_always_full_is_held_by_its_concurrency() -> None:
    """It says so and names the option, even if a quota was told."""
    told = [Limit("requests", 3000)]
    full = stats(10, 5, limits=told)
    assert "raise --concurrency" in str(verdict(full, full, stats(3, limits=told)))


def test_a_run_that_waits_below_its_cap_is_held_by_the_quota() -> None:
    """The quota is the declared one, else the one that was told, else the one that was found."""
    told = [
        Limit("requests", 3000),
        Limit("input_tokens", 7, per=86_400),
        Limit("requests", 2, per=5),
    ]
    waits = stats(3, 9, limits=told)
    assert verdict(waits, max_requests_per_minute=600, max_tokens_per_minute=5000) == (
        "the quota that was declared: 600 requests per minute, 5,000 tokens per minute"
    )
    assert verdict(waits) == (
        "the quota that the provider told: 3,000 requests per minute, 7 input tokens per day, "
        "2 requests per 5 s"
    )
    assert "about 3,000 requests per minute" in str(verdict(stats(3, 9, pace=50.0)))
    assert verdict(stats(3, 9, met=1)) == "rate limits of the provider"


def test_otherwise_nothing_is_said() -> None:
    """Without a look, without anyone waiting, or without a reason there is no verdict."""
    assert verdict() is None
    assert verdict(stats(3), stats(10), stats(3, 1), stats(3)) is None
    assert verdict(stats(3, 9)) is None
