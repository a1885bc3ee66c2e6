"""The meaning of what a provider answers to a create, of how a batch ends, and of each line.

Pure: the tables of ``docs/design/provider-batches.md`` as functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Final

from attrs import field, frozen

__all__ = [
    "BatchProblem",
    "CreateVerdict",
    "EndVerdict",
    "LineKind",
    "LineOutcome",
    "NextOfLine",
    "is_about_the_account",
    "judge_create",
    "judge_rejection",
    "next_of_line",
]

# -- creates ---------------------------------------------------------------------------------------


class CreateVerdict(Enum):
    """The fates of a create."""

    CREATED = "created"
    NOT_SENT = "not sent"
    """It never reached the provider: the same attempt may be repeated."""
    WAIT = "wait"
    """Refused for now, for a quota."""
    REFUSED = "refused"
    ACCOUNT = "account"
    """Refused for a key, a permission or a bill: for every chunk alike."""
    UNKNOWN = "unknown"
    """It may have been created."""


_REFUSED: Final = frozenset({400, 404, 405, 413, 415, 422})
_ACCOUNT: Final = frozenset({401, 402, 403})


def judge_create(
    status: int | None, *, readable: bool = True, sent: bool = True, text: str = ""
) -> CreateVerdict:
    """Return what became of a create.

    Args:
        status: Of the reply; ``None`` if no complete reply arrived.
        readable: Whether its body is a batch.
        sent: Whether the request may have reached the provider.
        text: Code and message of an error.
    """
    if status is None:
        return CreateVerdict.UNKNOWN if sent else CreateVerdict.NOT_SENT
    if 200 <= status < 300:
        # A batch whose description cannot be read is a batch all the same.
        return CreateVerdict.CREATED if readable else CreateVerdict.UNKNOWN
    if status in _ACCOUNT or (status in (400, 429) and is_about_the_account(text)):
        return CreateVerdict.ACCOUNT
    if status == 429:
        return CreateVerdict.WAIT
    if status in _REFUSED or 300 <= status < 400:
        return CreateVerdict.REFUSED
    # 408, 409, 425 and each 5xx say nothing about what happened behind them.
    return CreateVerdict.UNKNOWN


_ACCOUNT_CODES: Final = frozenset(
    {
        "account_deactivated",
        "api_key_invalid",
        "authentication_error",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_quota",
        "invalid_api_key",
        "permission_denied",
        "permission_error",
        "unauthenticated",
    }
)
_ACCOUNT_WORDS: Final = (
    "api key expired",
    "api key not valid",
    "billing hard limit",
    "credit balance",
    "credits are depleted",
    "enable billing",
)
"""Words without a code: Anthropic puts an empty account into each line as an invalid request, and
Google answers 400 for a key that is none."""
_OF_A_QUOTA: Final = "exceeded your current quota"
_OF_GOOGLE: Final = "resource_exhausted"
"""Google says the former of each quota, whichever it is, with this code; OpenAI of the bill."""
_NO_QUOTA: Final = re.compile(r"\blimit: 0\b")
"""A quota of nothing: Google's free tier has no batches."""


def is_about_the_account(text: str) -> bool:
    """Return whether the code and message of an error are about the account and no request."""
    low = text.lower()
    if any(word in low for word in (*_ACCOUNT_CODES, *_ACCOUNT_WORDS)):
        return True
    if _OF_GOOGLE in low:
        return _NO_QUOTA.search(low) is not None
    return _OF_A_QUOTA in low


# -- whole batches ---------------------------------------------------------------------------------


@frozen
class BatchProblem:
    """One error of a batch as a whole.

    Attributes:
        code: The provider's.
        message: The provider's.
        line: Of the file that it is about, from 1; ``None`` if it is about all.
    """

    code: str
    message: str
    line: int | None = None

    @property
    def text(self) -> str:
        """Return code and message."""
        return f"{self.code}: {self.message}" if self.code else self.message


class EndVerdict(Enum):
    """The ways on from a batch of which nothing ran."""

    WAIT = "wait"
    """A quota: submit it again when there is room."""
    ACCOUNT = "account"
    DROP_LINES = "drop lines"
    """These lines fail, and the rest is submitted anew."""
    FAIL = "fail"
    """Each of its items fails with the error."""


_QUOTA_CODES: Final = frozenset(
    {"queue_full", "request_limit_exceeded", "resource_exhausted", "token_limit_exceeded"}
)
MOST_REJECTIONS: Final = 3
"""After that many a chunk is not submitted again: providers list some hundred bad lines at a time,
and a file that still has some then was not made of requests that can work."""


def judge_rejection(
    problems: Sequence[BatchProblem], lines: int, rejections: int
) -> tuple[EndVerdict, dict[int, BatchProblem]]:
    """Return what to do about a batch that was rejected, and the lines that are to blame.

    Args:
        problems: What the provider says of it.
        lines: How many the batch has.
        rejections: How often it was rejected, this time included.
    """
    if any(is_about_the_account(one.text) for one in problems):
        return EndVerdict.ACCOUNT, {}
    if any(one.code.lower() in _QUOTA_CODES for one in problems):
        return EndVerdict.WAIT, {}
    bad = {one.line: one for one in problems if one.line is not None and 1 <= one.line <= lines}
    # More than half are bad: that is a mistake in all of them, of which only some are listed.
    if not bad or 2 * len(bad) > lines or rejections > MOST_REJECTIONS:
        return EndVerdict.FAIL, {}
    return EndVerdict.DROP_LINES, bad


# -- lines -----------------------------------------------------------------------------------------


class LineKind(StrEnum):
    """The five kinds of what a result file says of a line."""

    OK = "ok"
    HTTP_ERROR = "http_error"
    NOT_RUN = "not_run"
    UNKNOWN = "unknown"
    ACCOUNT = "account"


@frozen(kw_only=True)
class LineOutcome:
    """One line of a result file, the same for every provider.

    Attributes:
        custom_id: Of the line that it answers; ``None`` if it has none that can be read.
        kind: What it says.
        status: As the answer would have had online.
        body: As the answer would have had online, parsed.
        request_id: The provider's, for its support.
        text: Code and message of an error.
    """

    custom_id: str | None
    kind: LineKind
    status: int = 0
    body: Any = field(default=None, repr=False)
    request_id: str | None = None
    text: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that the answer would have had online, as far as they are known."""
        return {"x-request-id": self.request_id} if self.request_id else {}


class NextOfLine(Enum):
    """The ways on for a line when its batch has ended."""

    PUBLISH = "publish"
    """It has its answer, or an error that is final or repaired by the item's own next attempt."""
    BATCH = "batch"
    """Into a batch of the next round."""
    ONLINE = "online"
    WAIT = "wait"
    """Nothing now; it stays planned for a later run."""


_PASSING: Final = frozenset({408, 409, 425, 429})


def next_of_line(
    kind: LineKind, status: int, *, round: int, rounds: int, hurried: bool, kept: bool
) -> NextOfLine:
    """Return what comes next for a line.

    Args:
        kind: What the results say of it.
        status: Of its answer.
        round: How often it has been in a batch.
        rounds: How often it may be.
        hurried: Whether there is no time for another batch.
        kept: Whether the user cancelled the batch, so that nothing is to be sent for it.
    """
    passing = kind is LineKind.UNKNOWN or (
        kind is LineKind.HTTP_ERROR and (status in _PASSING or status >= 500)
    )
    if kind is LineKind.ACCOUNT:
        return NextOfLine.WAIT
    if kind is not LineKind.NOT_RUN and not passing:
        return NextOfLine.PUBLISH
    if kept:
        return NextOfLine.WAIT
    return NextOfLine.ONLINE if hurried or round >= rounds else NextOfLine.BATCH
