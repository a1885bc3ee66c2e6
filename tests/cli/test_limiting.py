"""The cause that held a run back, found by looks at it and in its numbers."""

from types import SimpleNamespace
from typing import Any

from batchllm.cli.limiting import LimitWatch
from batchllm.core import BatchResult, ProcessorConfig, Tally, TokenUsage
from batchllm.policy import Limit

TOLD = (Limit("requests", 3000), Limit("output_tokens", 60_000), Limit("requests", 100, per=5))


def verdict(
    *looks: int,
    sent: int = 500,
    held: float = 8.0,
    pace: float | None = None,
    limits: tuple[Limit, ...] = (),
    met: int = 0,
    **config: Any,
) -> str | None:
    """The verdict on ten seconds with at most ten calls, of which so many were seen."""
    stats = {
        "duration": 10.0,
        "calls_sent": sent,
        "held_back": {"calls": 0.0, "quota": held / 2, "cooldown": held / 2},
        "scopes": {"one": SimpleNamespace(pace=pace, limits=limits, cap=None, reported_cap=None)},
        "rate_limit_count": met,
    }
    watch = LimitWatch(ProcessorConfig(max_workers=10, **config))
    for look in looks:
        watch.look(look)
    tally = Tally(usage=TokenUsage(input_tokens=700, output_tokens=300))
    return watch.verdict(BatchResult(tally=tally, stats=stats))


def test_a_run_that_is_mostly_full_is_held_by_its_concurrency() -> None:
    """It says so and names the option, even if a quota was told."""
    assert "raise --concurrency" in str(verdict(10, 10, 3, limits=TOLD))
    assert "--concurrency" not in str(verdict(10, 3, limits=TOLD))


def test_the_quota_is_the_limits_that_were_used() -> None:
    """Declared and reported limits count; one that was hardly touched held nothing back."""
    assert verdict(limits=TOLD) == "the quota of 3,000 requests per minute, 100 requests per 5 s"
    assert verdict(max_requests_per_minute=3000, max_tokens_per_minute=9000, sent=10) == (
        "the quota of 9,000 tokens per minute"
    )
    both = verdict(limits=TOLD[:1], max_requests_per_minute=3000)
    assert both == "the quota of 3,000 requests per minute"


def test_a_quota_that_nobody_told_is_the_one_that_was_found() -> None:
    """Its pace is shown, and without one at least that there were refusals."""
    assert "about 3,000 requests per minute" in str(verdict(pace=50.0, limits=TOLD, sent=9))
    assert verdict(met=1) == "rate limits of the provider"


def test_otherwise_nothing_is_said() -> None:
    """A run that seldom waited was held by nothing, and one that only started slowly, too."""
    assert verdict(3, 10, held=4.0, limits=TOLD, met=1) is None
    assert verdict(held=9.0) is None


def test_a_large_limit_is_written_in_full() -> None:
    """A million tokens are no "1e+06"."""
    used = verdict(max_requests_per_minute=2_000_000, sent=400_000)
    assert used == "the quota of 2,000,000 requests per minute"
