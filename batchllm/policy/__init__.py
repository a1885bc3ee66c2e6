"""Decisions as pure functions and values: the time and the randomness are arguments."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.policy.backoff import RetrySchedule
    from batchllm.policy.bucket import Limit, Settlement
    from batchllm.policy.budget import BudgetLedger, Need, Reservation
    from batchllm.policy.cold_start import FIRST_CALLS
    from batchllm.policy.concurrency_search import ConcurrencySearch
    from batchllm.policy.cooldown import Cause, CooldownPolicy, Parked, State, overload_pause
    from batchllm.policy.events import (
        OUTAGE,
        CapLearned,
        CapReported,
        CooldownEnded,
        EndpointDown,
        EpisodeStarted,
        GateEvent,
        GateSnapshot,
        LimitAdopted,
        OutageEnded,
        OutageStarted,
        PaceLearned,
        PauseLengthened,
        ScopeParked,
        Send,
    )
    from batchllm.policy.hedge import HedgePolicy
    from batchllm.policy.hints import (
        EXHAUSTED_CODES,
        LONGEST,
        ErrorBody,
        can_never_pass,
        is_own_address,
        parse_duration,
        parse_moment,
        read_error,
        read_headers,
    )
    from batchllm.policy.json_reading import (
        JsonError,
        decode_text,
        is_replaced,
        mend,
        mended_text,
        python_json,
        read_as,
        read_json,
    )
    from batchllm.policy.learned import Learned
    from batchllm.policy.lease_book import LeaseBook
    from batchllm.policy.leased_bucket import CUT_OFF, SHARED, LeaseCounts, LeasedBucket
    from batchllm.policy.leases import Correction, Lease, LeaseReport, LeaseRequest, Quota
    from batchllm.policy.limit_words import amount_in_words, found_in_words, limit_in_words
    from batchllm.policy.outage import FailureRow, OutageBreaker, Verdict
    from batchllm.policy.pricing import PriceBook, model_name
    from batchllm.policy.rate_limiter import RateLimiter
    from batchllm.policy.tokens import TokenEstimator, prompt_bytes, strict_input_bound
    from batchllm.policy.worst_case import FIRST_ANSWERS, FIRST_IN_FLIGHT, Bound, WorstCases
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.policy.backoff": "RetrySchedule",
            "batchllm.policy.bucket": "Limit Settlement",
            "batchllm.policy.budget": "BudgetLedger Need Reservation",
            "batchllm.policy.cold_start": "FIRST_CALLS",
            "batchllm.policy.concurrency_search": "ConcurrencySearch",
            "batchllm.policy.cooldown": "Cause CooldownPolicy Parked State overload_pause",
            "batchllm.policy.events": """
                OUTAGE CapLearned CapReported CooldownEnded EndpointDown
                EpisodeStarted GateEvent GateSnapshot LimitAdopted OutageEnded
                OutageStarted PaceLearned PauseLengthened ScopeParked Send
            """,
            "batchllm.policy.hedge": "HedgePolicy",
            "batchllm.policy.hints": """
                EXHAUSTED_CODES LONGEST ErrorBody can_never_pass is_own_address
                parse_duration parse_moment read_error read_headers
            """,
            "batchllm.policy.json_reading": """
                JsonError decode_text is_replaced mend mended_text python_json
                read_as read_json
            """,
            "batchllm.policy.learned": "Learned",
            "batchllm.policy.lease_book": "LeaseBook",
            "batchllm.policy.leased_bucket": "CUT_OFF SHARED LeaseCounts LeasedBucket",
            "batchllm.policy.leases": "Correction Lease LeaseReport LeaseRequest Quota",
            "batchllm.policy.limit_words": "amount_in_words found_in_words limit_in_words",
            "batchllm.policy.outage": "FailureRow OutageBreaker Verdict",
            "batchllm.policy.pricing": "PriceBook model_name",
            "batchllm.policy.rate_limiter": "RateLimiter",
            "batchllm.policy.tokens": "TokenEstimator prompt_bytes strict_input_bound",
            "batchllm.policy.worst_case": "FIRST_ANSWERS FIRST_IN_FLIGHT Bound WorstCases",
        },
    )

__all__ = [
    "CUT_OFF",
    "EXHAUSTED_CODES",
    "FIRST_ANSWERS",
    "FIRST_CALLS",
    "FIRST_IN_FLIGHT",
    "LONGEST",
    "OUTAGE",
    "SHARED",
    "Bound",
    "BudgetLedger",
    "CapLearned",
    "CapReported",
    "Cause",
    "ConcurrencySearch",
    "CooldownEnded",
    "CooldownPolicy",
    "Correction",
    "EndpointDown",
    "EpisodeStarted",
    "ErrorBody",
    "FailureRow",
    "GateEvent",
    "GateSnapshot",
    "HedgePolicy",
    "JsonError",
    "Learned",
    "Lease",
    "LeaseBook",
    "LeaseCounts",
    "LeaseReport",
    "LeaseRequest",
    "LeasedBucket",
    "Limit",
    "LimitAdopted",
    "Need",
    "OutageBreaker",
    "OutageEnded",
    "OutageStarted",
    "PaceLearned",
    "Parked",
    "PauseLengthened",
    "PriceBook",
    "Quota",
    "RateLimiter",
    "Reservation",
    "RetrySchedule",
    "ScopeParked",
    "Send",
    "Settlement",
    "State",
    "TokenEstimator",
    "Verdict",
    "WorstCases",
    "amount_in_words",
    "can_never_pass",
    "decode_text",
    "found_in_words",
    "is_own_address",
    "is_replaced",
    "limit_in_words",
    "mend",
    "mended_text",
    "model_name",
    "overload_pause",
    "parse_duration",
    "parse_moment",
    "prompt_bytes",
    "python_json",
    "read_as",
    "read_error",
    "read_headers",
    "read_json",
    "strict_input_bound",
]
