"""Everything that a server says about waiting: durations, headers, bodies and words."""

from batchllm.policy.hints.addresses import is_own_address
from batchllm.policy.hints.durations import LONGEST, parse_duration, parse_moment
from batchllm.policy.hints.error_body import ErrorBody
from batchllm.policy.hints.headers import read_headers
from batchllm.policy.hints.replies import read_error
from batchllm.policy.hints.words import EXHAUSTED_CODES, can_never_pass

__all__ = [
    "EXHAUSTED_CODES",
    "LONGEST",
    "ErrorBody",
    "can_never_pass",
    "is_own_address",
    "parse_duration",
    "parse_moment",
    "read_error",
    "read_headers",
]
