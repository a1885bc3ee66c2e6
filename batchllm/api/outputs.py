"""The value of a single call, or the exception that it ended with."""

from __future__ import annotations

from typing import cast

from typing_extensions import TypeVar

from batchllm.core import BatchFailures, WorkItemResult

__all__ = ["output_of"]

Out = TypeVar("Out")


def output_of(result: WorkItemResult[Out, object]) -> Out:
    """Return the output of *result*.

    Raises:
        Exception: The error of its last attempt.
        BatchFailures: It failed without an error that can be raised.
    """
    if result.success:
        return cast("Out", result.output)
    if isinstance(result.exception, Exception):
        raise result.exception
    msg = f"the call has no answer: {result.error}"
    raise BatchFailures(msg, [result]) from result.exception
