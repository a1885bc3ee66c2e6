"""The share of an unknown quota that a rate limiter uses: ``python -m benchmarks.quota``."""

from benchmarks.quota.limiter import Limited
from benchmarks.quota.makers import bucket, fixed, sliding
from benchmarks.quota.world import Record, Traffic, lognormal, simulate

__all__ = ["Limited", "Record", "Traffic", "bucket", "fixed", "lognormal", "simulate", "sliding"]
