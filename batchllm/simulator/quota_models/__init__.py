"""Servers that keep a quota which a client cannot see, pure: the time is an argument.

A model takes what arrives and says what happens to it: accepted or refused, with which wait hint,
and how long the answer is delayed. It also says how much it would have accepted over a stretch of
time, so that what a client got can be compared with what there was.

    server = Limits(TokenBucket(600, 60.0, depth=100))
    verdict = server.arrive(now=12.5)     # Verdict(accepted=True, wait_hint=None, delay=0.0)
    server.sustained(600.0, 3600.0)       # 30000.0 calls
"""

from batchllm.simulator.quota_models.hint_rules import (
    HintRule,
    always_hint,
    exact_hint,
    no_hint,
    stretched_hint,
)
from batchllm.simulator.quota_models.limits import Limits, ParallelCalls
from batchllm.simulator.quota_models.moving import GrowingByUse, Schedule
from batchllm.simulator.quota_models.queueing import LeakyQueue, Slots
from batchllm.simulator.quota_models.trouble import RandomRefusals, RefusesFrom
from batchllm.simulator.quota_models.verdict import QuotaServer, Verdict

__all__ = [
    "GrowingByUse",
    "HintRule",
    "LeakyQueue",
    "Limits",
    "ParallelCalls",
    "QuotaServer",
    "RandomRefusals",
    "RefusesFrom",
    "Schedule",
    "Slots",
    "Verdict",
    "always_hint",
    "exact_hint",
    "no_hint",
    "stretched_hint",
]
