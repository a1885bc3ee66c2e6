"""The modules that `mutants.py` looks at, the tests of their numbers, and the numbers without."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1] / "batchllm"
_READERS: Final = ("hints/", "json_reading", "price", "pricing", "tokens", "limit_words")
"""Of texts and prices: bounds on what is read, and units."""


def _is_tried(name: str) -> bool:
    return not name.startswith(_READERS)


LIMITER: Final = tuple(
    f"policy/{name}"
    for path in sorted((_PACKAGE / "policy").rglob("[!_]*.py"))
    if _is_tried(name := path.relative_to(_PACKAGE / "policy").with_suffix("").as_posix())
)
"""A module that is new in policy is tried from the start."""
MODULES: Final = (
    *LIMITER,
    "provider_batch/admission",
    "provider_batch/pacing",
    "provider_batch/polling",
    "provider_batch/refinding",
)
_PACE: Final = ("policy/test_pace_numbers", "policy/test_capped", "policy/test_rate_limiter")
_SEARCH: Final = (
    "policy/test_quota_search_numbers",
    "policy/test_quota_search",
    "policy/test_taken_back",
)
_LEASES: Final = ("policy/test_lease_numbers", "policy/test_lease_book")
_REPORTED: Final = ("policy/test_reported_numbers", "policy/test_reported", "policy/test_reports")
_CANARY: Final = (
    "provider_batch/test_waits::test_a_budget_without_room_for_the_test_makes_it_smaller"
)
TESTS: Final = {
    "policy/adaptive": _PACE,
    "policy/bucket": ("policy/test_bucket_numbers", "policy/test_bucket"),
    "policy/concurrency_search": ("policy/test_concurrency_search", "policy/test_pace_numbers"),
    "policy/episodes": _PACE,
    "policy/findings": ("policy/test_findings", "policy/test_first_episode"),
    "policy/fixed_cooldown": ("policy/test_fixed_cooldown", "policy/test_rate_limiter"),
    "policy/followed_pauses": ("policy/test_pace_numbers", "policy/test_followed_pauses"),
    "policy/learned": _SEARCH,
    "policy/lease_book": _LEASES,
    "policy/lease_limits": _LEASES,
    "policy/lease_reports": _LEASES,
    "policy/leased_bucket": _LEASES,
    "policy/ledger": ("policy/test_bucket_numbers",),
    "policy/probing": _SEARCH,
    "policy/quota_search": _SEARCH,
    "policy/rate_meter": ("policy/test_rate_meter", *_SEARCH),
    "policy/releases": ("policy/test_reported",),
    "policy/reported/accepted": _REPORTED,
    "policy/reported/burst": ("policy/test_burst_numbers", "policy/test_burst"),
    "policy/reported/countdown": ("policy/test_countdown",),
    "policy/reported/limit": ("policy/test_limit_numbers", "policy/test_reported"),
    "policy/reported/period": ("policy/test_period_numbers", "policy/test_reported"),
    "policy/reported/reading": _REPORTED,
    "policy/reported/scale": ("policy/test_countdown", "policy/test_reported"),
    "policy/reported/settling": ("policy/test_settling",),
    "policy/reported/sparing": ("policy/test_sparing",),
    "policy/reported/spacing": ("policy/test_limit_numbers", "policy/test_reported"),
    "policy/reports": _REPORTED,
    "policy/send_log": ("policy/test_send_log", "policy/test_pace_numbers"),
    "policy/shared_pace": _LEASES,
    "provider_batch/admission": ("provider_batch/test_pacing",),
    "provider_batch/pacing": ("provider_batch/test_pacing", _CANARY),
    "provider_batch/polling": ("provider_batch/test_pacing",),
    "provider_batch/refinding": ("provider_batch/test_pacing",),
}
"""Files of tests or single ones, if it is not the file that is named for the module."""
HELD_ELSEWHERE: Final = {
    "policy/budget._UNITS": "the unit of the integer account: any fine one behaves alike",
    "policy/bucket.Limit.enforced:1e-09": "covers roundings of floats: any small one does",
    "policy/cooldown.CooldownPolicy.pause:64": "keeps a power finite: any that is high does",
    "policy/cooldown.overload_pause:64": "keeps a power finite: any that is high does",
    "policy/outage.OutageBreaker._recovery_time:0.01": "less than a call: any small one does",
    "policy/reported/reading.COARSE": "no server writes what lies between this and milliseconds",
    "policy/reported/reading._FINEST": "is divided by where a hint says none: any small one does",
    "policy/reported/reading._SHORTEST": "keeps a rate finite: any small one does",
    "policy/reports._MOST_ADOPTED": "bounds what waits for a log that is read at each reply",
}
"""Numbers by module and name, each with the reason why no test has to hold it."""
