"""Numbers and texts as a report shows them. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from batchllm.core import as_clock
from batchllm.transport import redact

__all__ = ["clean", "clip", "date_and_time", "dollars", "seconds", "shown"]

_LONGEST_KEY: Final = 200
"""Characters of a key that may lie across a cut; it shows in less what it is."""
_MOST_NUMBERS: Final = 8
"""Numbers of a vector that are shown; an embedding has a thousand."""


def clean(text: object) -> str:
    """Return a text without what looks like a key, and without halves of surrogate pairs.

    A report is made to be passed on, and UTF-8 has no such halves.
    """
    return redact(str(text)).encode("utf-8", "replace").decode()


def clip(text: object, most: int) -> str:
    """Return a text, cleaned, of at most *most* characters and a note of how many more there were.

    What lies far behind the cut is not looked at: a text may be a thousand times as long.
    """
    whole = str(text)
    head = clean(whole[: most + _LONGEST_KEY])
    more = max(len(head), len(whole)) - most
    return f"{head[:most]}… ({more:,} more characters)" if more > 0 else head


def shown(value: Any) -> str:
    """Return an answer as a text: JSON, unless it is a text already."""
    if isinstance(value, str):
        return value
    if (
        isinstance(value, list)
        and len(value) > _MOST_NUMBERS
        and all(isinstance(one, float) for one in value)
    ):
        first = ", ".join(f"{one:.4g}" for one in value[:_MOST_NUMBERS])
        return f"[{first}, … {len(value):,} numbers]"
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def seconds(time: float) -> str:
    """Return a time of calls, such as ``1.25 s``."""
    if time >= 60:
        return as_clock(time, unit=True)
    return f"{time * 1000:.0f} ms" if time < 1 else f"{time:.1f} s"


def date_and_time(at: float) -> str:
    """Return a moment in seconds since 1970 as date and time, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def dollars(cost: float) -> str:
    """Return a cost, with more places the smaller it is."""
    return f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.6f}".rstrip("0").rstrip(".")
