"""Everything that batchllm raises, or puts into a result.

Raised to the caller (the program, its configuration or its surroundings are wrong)::

    BatchError
    ├── ConfigError            (ValueError)  a setting is wrong
    │   └── UnknownArgumentError (TypeError) a function or class has no such argument
    ├── InvalidItemError       (ValueError)  an item is wrong; raised by ``add_work`` only
    ├── StrategyError          (TypeError)   a strategy or hook cannot be called as it is
    ├── ProgramError                         a hook broke the rules, e.g. left a scope open
    ├── SourceError                          the iterable of items raised
    ├── PrepareError                         ``prepare()`` of a strategy raised
    ├── JournalError                         the journal cannot be opened, read or written
    ├── ClosedError                          a pool, run or processor was used after its end
    ├── SaturatedError                       a pool's waiting room is full
    └── BatchFailures                        from ``raise_for_failures()``

Found in ``WorkItemResult.exception`` (an item failed, the batch goes on)::

    CallError
    ├── ProviderError                        the provider answered with an error
    │   └── MalformedResponseError           its answer is no valid answer (truncated, not JSON)
    ├── TransportError                       no complete answer arrived
    │   └── StallError                       a stream began and then paused for too long
    ├── FrameworkTimeoutError  (TimeoutError) an attempt or the item ran out of time
    ├── EmptyResponseError     (ValueError)  no text: a filter, a limit on tokens, or nothing
    ├── ScopeParkedError                     the quota will not be back soon
    ├── CallTooLargeError                    it needs more than a limit ever lets through
    └── ItemStopped                          the batch ended before the item was done
    TokenTrackingError                       wraps an error that cannot carry token counts
    RecordedError                            stands for an exception of an earlier process
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from batchllm.core.hints import ServerHint
    from batchllm.core.problems import JournalProblem
    from batchllm.core.usage import TokenUsage

__all__ = [
    "BatchError",
    "BatchFailures",
    "CallError",
    "CallTooLargeError",
    "ClosedError",
    "ConfigError",
    "EmptyResponseError",
    "FrameworkTimeoutError",
    "InvalidItemError",
    "ItemStopped",
    "JournalError",
    "MalformedResponseError",
    "PrepareError",
    "ProgramError",
    "ProviderError",
    "RecordedError",
    "SaturatedError",
    "ScopeParkedError",
    "SourceError",
    "StallError",
    "StrategyError",
    "TokenTrackingError",
    "TransportError",
    "UnknownArgumentError",
]


def _made_again(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    """Make an exception without its ``__init__``, whose arguments ``args`` does not have."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class _Portable(Exception):
    """Survives ``pickle`` and ``copy``, whatever arguments its ``__init__`` takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args, dict(self.__dict__))


class BatchError(_Portable):
    """Base of what batchllm raises to its caller.

    Attributes:
        partial: The ``BatchResult`` of what was finished when the error ended a batch,
            ``None`` where no batch was running.
    """

    partial: Any = None


class ConfigError(BatchError, ValueError):
    """A setting has a value that cannot work."""


class UnknownArgumentError(ConfigError, TypeError):
    """A function or a class was called with a keyword that it does not have."""


class InvalidItemError(BatchError, ValueError):
    """An item cannot be accepted: its id, its type or its strategy is wrong."""


class StrategyError(BatchError, TypeError):
    """A strategy, or one of its hooks, has a shape that cannot be called."""


class ProgramError(BatchError):
    """A hook broke a rule that the run depends on, for example left a cancel scope open."""


class SourceError(BatchError):
    """The iterable of items raised; what came before it is in ``partial``."""


class PrepareError(BatchError):
    """A strategy's ``prepare()`` raised or took too long; the cause is chained."""


class JournalError(BatchError):
    """The journal cannot be opened, read or written; what it holds is as it was.

    Attributes:
        problem: The kind of trouble, for programs.
        path: The journal's file.
        unsaved: Results that were finished and could not be saved. They were not delivered, and
            their items run again when the journal can be written.
    """

    def __init__(
        self,
        message: str,
        *,
        problem: JournalProblem = "io",
        path: str = "",
        unsaved: Sequence[Any] = (),
    ) -> None:
        super().__init__(message)
        self.problem: JournalProblem = problem
        self.path = path
        self.unsaved = list(unsaved)


class ClosedError(BatchError):
    """A pool, run or processor was used after it had ended."""


class SaturatedError(BatchError):
    """A pool's waiting room is full: try again later, or open it with more room."""


class BatchFailures(BatchError):
    """Some items failed.

    Attributes:
        failures: The failed results.
    """

    def __init__(self, message: str, failures: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class CallError(_Portable):
    """Base of the errors that fail an attempt or an item.

    Attributes:
        usage: Tokens that were billed in spite of the failure, where known.
        cut_off: Whether part of an answer had come, so that more than ``usage`` may be billed.
    """

    usage: TokenUsage | None = None
    cut_off: bool = False


class ProviderError(CallError):
    """The provider answered, and the answer is an error.

    Attributes:
        status: HTTP status; 200 where the error came inside a successful reply.
        code: The provider's machine-readable code, such as ``"insufficient_quota"``.
        kind: The provider's error type, such as ``"invalid_request_error"``.
        hint: The limits and waits that the reply reported.
        request_id: The provider's id of the request, for its support.
        wrong_address: Whether no API seems to be where the request went: nothing was found there,
            and not in the words of an API.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        kind: str | None = None,
        hint: ServerHint | None = None,
        request_id: str | None = None,
        wrong_address: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind
        self.hint = hint
        self.request_id = request_id
        self.wrong_address = wrong_address

    @property
    def status_code(self) -> int:
        """The status under the name that SDKs' exceptions use."""
        return self.status


class MalformedResponseError(ProviderError):
    """A reply that should be an answer cannot be read as one: truncated, not JSON, no choice."""


class TransportError(CallError):
    """The connection failed before a complete answer arrived.

    Attributes:
        sent: Whether the request may have reached the provider, and so may be billed.
        connected: Whether there was a connection: without one no request can be at fault.
    """

    def __init__(self, message: str, *, sent: bool = True, connected: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.connected = connected


class StallError(TransportError):
    """A streamed answer paused for longer than ``stall_timeout``."""


class FrameworkTimeoutError(CallError, TimeoutError):
    """An attempt, or the item as a whole, ran out of time.

    Attributes:
        seconds: The time it had.
        final: Whether the item's own time is over, so that there is no further attempt.
    """

    def __init__(self, message: str, *, seconds: float = 0.0, final: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.final = final


class EmptyResponseError(CallError, ValueError):
    """The model gave no text: a safety filter, a refusal or an empty candidate.

    Attributes:
        response: The reply as far as there was one.
        reason: ``"filtered"`` by a filter, or refused; ``"truncated"`` before any text by the
            limit on tokens; ``"empty"`` for no reason, so that another attempt may help.
    """

    def __init__(
        self,
        message: str,
        *,
        response: Any = None,
        reason: Literal["filtered", "truncated", "empty"] = "filtered",
    ) -> None:
        super().__init__(message)
        self.response = response
        self.reason = reason


class ScopeParkedError(CallError):
    """The quota scope is parked: a daily quota, an empty account, or too long a wait."""


class CallTooLargeError(CallError):
    """The call needs more than a limit of its quota scope, or of the run, ever lets through."""


class ItemStopped(CallError):
    """The batch ended before this item was done."""


class TokenTrackingError(_Portable):
    """Carries token counts for an error that cannot carry them itself.

    Attributes:
        token_usage: Tokens billed by the failed attempt.
    """

    def __init__(self, message: str, *, token_usage: TokenUsage | None = None) -> None:
        super().__init__(message)
        self.token_usage = token_usage
        self._failed_token_usage = token_usage


class RecordedError(Exception):
    """Stands for an exception that was read from a record, where only its text was kept.

    Attributes:
        type_name: The name of the exception's type.
        message: Its message.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name
