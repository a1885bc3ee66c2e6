"""Limits as servers report them: claims that replies confirm or overrule."""

from batchllm.policy.reported.accepted import Accepted
from batchllm.policy.reported.countdown import Countdown
from batchllm.policy.reported.limit import ReportedLimit
from batchllm.policy.reported.period import Kind

__all__ = ["Accepted", "Countdown", "Kind", "ReportedLimit"]
