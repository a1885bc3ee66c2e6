"""The result of one item, the end of a batch, and the sums over results."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from attrs import evolve, field, fields, frozen
from cattrs import BaseValidationError, transform_error

from batchllm.core.error_info import Category
from batchllm.core.errors import RecordedError
from batchllm.core.html import facts_as_html
from batchllm.core.masking import message_of
from batchllm.core.plain import make_converter, plain, read_value
from batchllm.core.timing import SPANS_PER_CALL, AttemptFailure, AttemptTiming, Timing
from batchllm.core.usage import TokenUsage
from batchllm.core.views import AnswerViews

__all__ = [
    "EndCause",
    "Termination",
    "WorkItemResult",
    "recorded",
    "with_notes",
]

Out = TypeVar("Out")
Ctx = TypeVar("Ctx")

_NOT_RUN = frozenset({Category.STOPPED, Category.PARKED})


@frozen
class WorkItemResult(AnswerViews, Generic[Out, Ctx]):
    """The end of one item. Every accepted item gets exactly one.

    Attributes:
        item_id: The item's id.
        success: Whether ``output`` is its answer.
        output: What the strategy returned.
        error: What went wrong, as a sentence.
        context: The item's own context.
        token_usage: Tokens of all attempts, failed ones included; empty where unknown.
        metadata: What the strategy returned beside output and usage, and notes of the run
            (``notes``, such as a hook that raised). ``reasoning``, ``tool_calls``, ``logprobs``,
            ``citations``, ``finish_reason`` and ``safety_ratings`` are typed views of it.
        exception: The exception object of the last attempt.
        error_category: The kind of failure, a ``Category`` or a classifier's own word.
        attempts: Attempts that were made; one that met a rate limit is not counted, since it
            is repeated. Every call that was made is in ``timing``.
        spans: Where the time went, as bare numbers: four per call, in the order of
            ``AttemptTiming``. Read it as ``timing``. (Bare, since a million results of several
            objects each would keep the garbage collector busier than the batch.)
        attempt_failures: How each call of ``spans`` ended; empty if none has failed. Read it as
            ``timing``, too.
        cost: In US dollars; ``None`` where a price is unknown.
        submission_index: The item's position in the input, from 0.
        replayed: Whether it was taken from a journal and not called for.
    """

    item_id: str
    success: bool
    output: Out | None = None
    error: str | None = None
    context: Ctx | None = None
    token_usage: TokenUsage = field(factory=TokenUsage)
    metadata: Mapping[str, Any] | None = None
    exception: BaseException | None = field(default=None, repr=False)
    error_category: str | None = None
    attempts: int = 0
    spans: tuple[float, ...] = field(default=(), repr=False)
    cost: float | None = None
    submission_index: int = -1
    replayed: bool = False
    attempt_failures: tuple[AttemptFailure | None, ...] = field(
        default=(), kw_only=True, repr=False
    )

    def __getstate__(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in _NAMES}
        if not _is_portable(self.exception):
            state["exception"] = recorded(self.exception)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @property
    def timing(self) -> Timing:
        """The times of the item and the ends of its calls, call by call and in sum."""
        calls = [
            self.spans[first : first + SPANS_PER_CALL]
            for first in range(0, len(self.spans), SPANS_PER_CALL)
        ]
        failures = self.attempt_failures or (None,) * len(calls)
        return Timing(
            tuple(
                AttemptTiming(admission, cooldown, execution, backoff, failure)
                for (admission, cooldown, execution, backoff), failure in zip(
                    calls, failures, strict=False
                )
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it, to be written down and read again by :meth:`from_dict`.

        The exception becomes the name of its type and its message. Attrs classes, dataclasses,
        enums and Pydantic models become plain values; tuples become lists.

        Raises:
            ValueError: Output, context or metadata has no form in JSON; it names the item.
        """
        bare = evolve(self, output=None, context=None, metadata=None)
        where = f"item {self.item_id!r}: its"
        return {
            **make_converter().unstructure(bare),
            "output": plain(self.output, f"{where} output"),
            "context": plain(self.context, f"{where} context"),
            "metadata": plain(self.metadata, f"{where} metadata"),
        }

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], *, output_type: Any = Any, context_type: Any = Any
    ) -> WorkItemResult[Any, Any]:
        """Read what :meth:`to_dict` gave.

        Args:
            data: The dictionary.
            output_type: What to make of the output, such as an attrs class; by default it stays
                as JSON has it.
            context_type: The same for the context.

        Raises:
            ValueError: It is not such a dictionary, or the output or context is not of its type.
        """
        try:
            result = make_converter().structure(data, WorkItemResult[Any, Any])
            return evolve(
                result,
                output=read_value(result.output, output_type),
                context=read_value(result.context, context_type),
            )
        except (BaseValidationError, KeyError, TypeError, ValueError) as error:
            why = (
                "; ".join(transform_error(error))
                if isinstance(error, BaseValidationError)
                else error
            )
            msg = f"this is not a result: {why}"
            raise ValueError(msg) from error

    def _repr_html_(self) -> str:
        facts: dict[str, object] = {
            "Item": self.item_id,
            "Output" if self.success else "Error": self.output if self.success else self.error,
            "Category": self.error_category,
            "Model": (self.metadata or {}).get("model"),
            "Ended by": self.finish_reason,
            "Reasoning": self.reasoning,
            "Tool calls": self.tool_calls or None,
            "Citations": self.citations or None,
            "Tokens": dict(self.token_usage) or None,
            "Cost": self.cost,
            "Attempts": self.attempts,
            "Seconds": round(self.timing.total, 3),
            "Context": self.context,
            "Notes": (self.metadata or {}).get("notes"),
        }
        return facts_as_html((name, fact) for name, fact in facts.items() if fact is not None)

    @property
    def skipped(self) -> bool:
        """Return whether a middleware left the item out."""
        return self.error_category == Category.SKIPPED

    @property
    def not_run(self) -> bool:
        """Return whether the batch ended, or the scope was parked, before the item had its turn."""
        return self.error_category in _NOT_RUN


_NAMES = tuple(one.name for one in fields(WorkItemResult))


def _is_portable(error: BaseException | None) -> bool:
    """Return whether *error* can leave the process; those of SDKs and others' code often cannot."""
    if error is None:
        return True
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # what others' exceptions hold may raise anything
        return False


def recorded(error: BaseException | None) -> RecordedError | None:
    """Return what stands for *error* where it cannot go itself, without keys."""
    if error is None or isinstance(error, RecordedError):
        return error
    return RecordedError(type(error).__qualname__, message_of(error))


class EndCause(StrEnum):
    """The reason why a batch ended."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    BATCH_TIMEOUT = "batch_timeout"
    FAIL_FAST = "fail_fast"
    BUDGET = "budget"
    PARKED = "parked"
    ENDPOINT_DOWN = "endpoint_down"
    SOURCE_FAILED = "source_failed"
    PREPARE_FAILED = "prepare_failed"
    JOURNAL_FAILED = "journal_failed"
    CALLER_CANCELLED = "caller_cancelled"
    READER_LEFT = "reader_left"
    PROGRAM_ERROR = "program_error"
    DETACHED = "detached"
    ACCOUNT_PROBLEM = "account_problem"
    QUOTA = "quota"


@frozen
class Termination:
    """The end of a batch.

    Attributes:
        cause: Why.
        reason: The same as a sentence, with what to do next where there is something to do.
        item_id: The item that set it off, where one did.
    """

    cause: EndCause = EndCause.DONE
    reason: str = "every item was processed"
    item_id: str | None = None

    @property
    def complete(self) -> bool:
        """Return whether every item of the source was processed."""
        return self.cause is EndCause.DONE


def with_notes(
    metadata: Mapping[str, Any] | None, notes: Sequence[str]
) -> Mapping[str, Any] | None:
    """Add sentences under ``notes`` of *metadata*, behind those that are there already."""
    if not notes:
        return metadata
    there = cast("tuple[str, ...]", tuple((metadata or {}).get("notes") or ()))
    added = tuple(note for note in notes if note not in there)
    return {**(metadata or {}), "notes": (*there, *added)} if added else metadata
