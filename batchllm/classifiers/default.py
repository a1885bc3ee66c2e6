"""The classifier for exceptions of any library and any provider."""

from __future__ import annotations

from typing import ClassVar, Final

from batchllm.classifiers.evidence import Evidence, words_of
from batchllm.classifiers.tables import (
    COMMON,
    RETRYABLE,
    STATUS_OF,
    Tables,
    by_status,
    by_type,
    by_words,
)
from batchllm.core import (
    BatchError,
    BatchFailures,
    CallTooLargeError,
    Category,
    EmptyResponseError,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    InvalidItemError,
    ItemStopped,
    ProviderError,
    SaturatedError,
    ScopeParkedError,
    ServerHint,
    StallError,
    TransportError,
)
from batchllm.policy import can_never_pass

__all__ = ["DefaultErrorClassifier", "error_info"]

_MOST_EXCEPTIONS: Final = 64
"""Exceptions of one chain or group that are looked at: some chains are made anew without end."""

_OWN: Final = (
    (ScopeParkedError, Category.PARKED),
    (CallTooLargeError, Category.TOO_LARGE),
    (ItemStopped, Category.STOPPED),
    (InvalidItemError, Category.INVALID_ITEM),
    (StallError, Category.TIMEOUT),
    (TransportError, Category.CONNECTION),
)
_EMPTY: Final = {"empty": Category.BAD_OUTPUT, "truncated": Category.TRUNCATED}
_SILENT: Final = (BatchFailures, SaturatedError)

# A cause that was chained implicitly is only what happened to be handled: it counts where it is
# an error of the provider or the network, not if it is a slip in the handling code.
_FROM_OUTSIDE: Final = frozenset(
    {
        Category.RATE_LIMIT,
        Category.OVERLOADED,
        Category.INSUFFICIENT_QUOTA,
        Category.TIMEOUT,
        Category.CONNECTION,
        Category.SERVER_ERROR,
    }
)


class DefaultErrorClassifier(ErrorClassifier):
    """Classifies by our own exceptions, by HTTP status and code, then by type.

    A status is found on any SDK's exception (``status_code``, ``status``, ``code``,
    ``response``), and so are its headers and body; no SDK is imported. The provider's code
    decides before the status, and words only where no code does. A group of one is its member;
    of several the least retryable one decides: what cannot pass before a rate limit, a rate
    limit before the rest. An exception that says nothing gives way to its ``__cause__``, and
    to its ``__context__`` if that is an error of the provider or the network; last of all its
    type's name and the start of its message are looked at for a rate limit.
    """

    tables: ClassVar[Tables] = COMMON

    def classify(self, exception: BaseException) -> ErrorInfo:
        """Classify *exception*; never raises, and never answers ``None``."""
        try:
            info = self._look(exception, set())
        except Exception:  # so odd an object that even isinstance() raises
            info = None
        return info or error_info(Category.UNKNOWN)

    def _look(self, exception: BaseException, seen: set[int]) -> ErrorInfo | None:
        if id(exception) in seen or len(seen) >= _MOST_EXCEPTIONS:
            return None
        seen.add(id(exception))
        own = self._own(exception)
        if own is not None:
            return own
        category = by_type(exception)
        if isinstance(exception, BaseExceptionGroup) and category is None:
            return self._gravest(exception.exceptions, seen)
        if not isinstance(exception, Exception):
            return error_info(category or Category.UNKNOWN, retryable=False)
        if _is_on_wrong_loop(exception):
            return error_info(Category.PROGRAM_ERROR)
        evidence = Evidence.of(exception)
        judged = self._by_reply(evidence)
        if judged is not None:
            return judged
        if category is not None:
            return error_info(category)
        behind = self._behind(exception, seen)
        if behind is not None or evidence.status is not None or evidence.codes:
            return behind
        category = by_words(exception, evidence.message)
        return None if category is None else error_info(category, hint=evidence.hint)

    def _own(self, exception: BaseException) -> ErrorInfo | None:
        match exception:
            case FrameworkTimeoutError():
                return error_info(Category.TIMEOUT, retryable=not exception.final)
            case EmptyResponseError():
                return error_info(_EMPTY.get(exception.reason, Category.FILTERED))
            case ProviderError():
                evidence = Evidence.of(exception)
                return self._by_reply(evidence) or error_info(
                    Category.SERVER_ERROR, hint=evidence.hint
                )
            case BatchError() if not isinstance(exception, (*_SILENT, InvalidItemError)):
                return error_info(Category.PROGRAM_ERROR)
            case _:
                for kind, category in _OWN:
                    if isinstance(exception, kind):
                        return error_info(category)
                return None

    def _by_reply(self, evidence: Evidence) -> ErrorInfo | None:
        """Judge by the provider's reply; ``None`` if there is none or it says nothing."""
        status = evidence.status
        if status is None or status < 300:
            status = next((STATUS_OF[c] for c in evidence.codes if c in STATUS_OF), None)
        codes = self.tables.codes
        category = next((codes[code] for code in evidence.codes if code in codes), None)
        if category is None and status is not None:
            category = self._by_words(status, evidence) or by_status(status)
        if category is None:
            return None
        hint = evidence.hint
        if category == Category.RATE_LIMIT and can_never_pass(evidence.message):
            category = Category.TOO_LARGE
        elif hint.wait is not None and status == 503:
            category = Category.OVERLOADED
        elif hint.wait is not None and status == 402:
            # OpenRouter: credits are bound by calls in flight and will be free again.
            category = Category.RATE_LIMIT
        return error_info(category, hint=hint, retryable=_may_retry(category, status, hint))

    def _by_words(self, status: int, evidence: Evidence) -> Category | None:
        for phrase in self.tables.phrases:
            heard = not (phrase.unless_coded and evidence.codes)
            if heard and status in phrase.statuses and phrase.words.search(evidence.message):
                return phrase.category
        return None

    def _gravest(self, exceptions: tuple[BaseException, ...], seen: set[int]) -> ErrorInfo | None:
        few = exceptions[:_MOST_EXCEPTIONS]  # no more would be looked at
        infos = [info for one in few if (info := self._look(one, seen)) is not None]
        return max(infos, key=_gravity, default=None)

    def _behind(self, exception: Exception, seen: set[int]) -> ErrorInfo | None:
        if exception.__cause__ is not None:
            return self._look(exception.__cause__, seen)
        if exception.__context__ is None or exception.__suppress_context__:
            return None
        info = self._look(exception.__context__, seen)
        return info if info is not None and info.error_category in _FROM_OUTSIDE else None


def error_info(
    category: Category, *, retryable: bool | None = None, hint: ServerHint | None = None
) -> ErrorInfo:
    """The ``ErrorInfo`` of *category*, retryable as the category is unless declared otherwise."""
    return ErrorInfo(
        is_retryable=category in RETRYABLE if retryable is None else retryable,
        is_rate_limit=category == Category.RATE_LIMIT,
        is_timeout=category == Category.TIMEOUT,
        error_category=category,
        suggested_wait=None if hint is None else hint.wait,
        hint=None if hint == _SILENCE else hint,
    )


_ASYNCIO: Final = (
    "this needs asyncio and was called on another event loop; call it by AsyncioBridge "
    "(batchllm.AsyncioBridge), or run the batch on asyncio"
)


_OTHER_LOOP: Final = (
    "a client, lock or future of asyncio belongs to the event loop that it was first used on; make "
    "one for each event loop"
)
_OF_LOOPS: Final = (
    (RuntimeError, "no running event loop", _ASYNCIO),
    (RuntimeError, "no current event loop", _ASYNCIO),
    (TypeError, "trio.run received unrecognized yield message", _ASYNCIO),
    (RuntimeError, "attached to a different loop", _OTHER_LOOP),
    (RuntimeError, "is bound to a different event loop", _OTHER_LOOP),
)
"""Errors of code on the wrong event loop, with what to do about it. No further attempt helps."""


def _is_on_wrong_loop(exception: BaseException) -> bool:
    """Return whether the code needs another event loop than the one it ran on; a note says so."""
    said = words_of(exception) if isinstance(exception, RuntimeError | TypeError) else ""
    advice = (
        note for kind, words, note in _OF_LOOPS if isinstance(exception, kind) and words in said
    )
    note = next(advice, None)
    if note is not None and note not in getattr(exception, "__notes__", ()):
        exception.add_note(note)
    return note is not None


_SILENCE: Final = ServerHint()
_NEVER: Final = frozenset({400, 401, 403, 404, 422})


def _may_retry(category: Category, status: int | None, hint: ServerHint) -> bool:
    """Obey ``x-should-retry``, but never repeat what is wrong in itself."""
    if hint.retry is None or category == Category.RATE_LIMIT:
        return category in RETRYABLE
    known = category != Category.INVALID_REQUEST and category not in RETRYABLE
    return hint.retry and not known and status not in _NEVER


def _gravity(info: ErrorInfo) -> tuple[int, float]:
    """Order the members of a group: cancelled, retryable, rate limited, final."""
    if info.error_category == Category.CANCELLED:
        rank = 0
    elif info.is_rate_limit:
        rank = 2
    else:
        rank = 1 if info.is_retryable else 3
    return rank, info.suggested_wait or 0.0
