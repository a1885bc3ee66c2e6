"""The batch as a whole: its results, its sums and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import Factory, field, frozen

from batchllm.core.errors import BatchFailures
from batchllm.core.results import Termination, WorkItemResult
from batchllm.core.tally import Tally

__all__ = ["BatchData"]

Out = TypeVar("Out")
Ctx = TypeVar("Ctx")


@frozen(repr=False)
class BatchData(Generic[Out, Ctx]):
    """The data of a ``BatchResult``, below the ways to show and keep it."""

    results: Sequence[WorkItemResult[Out, Ctx]] = field(factory=list[WorkItemResult[Any, Any]])
    tally: Tally = field(
        default=Factory(lambda batch: Tally.of(batch.results), takes_self=True), kw_only=True
    )
    termination: Termination = field(factory=Termination, kw_only=True)
    wall_time: float = field(default=0.0, kw_only=True)
    warnings: Sequence[str] = field(default=(), kw_only=True)
    never_read: int = field(default=0, kw_only=True)
    stats: Mapping[str, Any] = field(factory=dict[str, Any], kw_only=True)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[WorkItemResult[Out, Ctx]]:
        return iter(self.results)

    def __bool__(self) -> bool:
        # Where results are not kept there are none to count, and still there was a batch.
        return True

    @property
    def total_items(self) -> int:
        """Items that have a result."""
        return self.tally.total

    @property
    def succeeded(self) -> int:
        """Items with an answer."""
        return self.tally.succeeded

    @property
    def failed(self) -> int:
        """Items that were tried and have no answer."""
        return self.tally.failed

    @property
    def skipped(self) -> int:
        """Items that a middleware left out."""
        return self.tally.skipped

    @property
    def not_run(self) -> int:
        """Items that were not tried to the end, since the batch ended before.

        Of a source whose size is known these are also the ones that were never read, which have no
        result; ``never_read`` is their number.
        """
        return self.tally.not_run + self.never_read

    @property
    def total_input_tokens(self) -> int:
        """Input tokens of all attempts, cached ones included."""
        return self.tally.usage.get("input_tokens", 0)

    @property
    def total_output_tokens(self) -> int:
        """Output tokens of all attempts, reasoning included."""
        return self.tally.usage.get("output_tokens", 0)

    @property
    def total_cached_tokens(self) -> int:
        """Input tokens that came from a provider's cache."""
        return self.tally.usage.get("cached_input_tokens", 0)

    @property
    def cost(self) -> float | None:
        """US dollars; ``None`` where no price is known."""
        return self.tally.cost

    def cache_hit_rate(self) -> float:
        """Cached input tokens, in per cent (0-100) of all input tokens."""
        if not self.total_input_tokens:
            return 0.0
        return 100.0 * self.total_cached_tokens / self.total_input_tokens

    def effective_input_tokens(self, cached_share: float = 0.1) -> int:
        """Input tokens with cached ones counted at *cached_share* of their number."""
        saved = self.total_cached_tokens * (1.0 - cached_share)
        return round(self.total_input_tokens - saved)

    @property
    def successes(self) -> list[WorkItemResult[Out, Ctx]]:
        """The results with an answer."""
        return [r for r in self.results if r.success]

    @property
    def failures(self) -> list[WorkItemResult[Out, Ctx]]:
        """The results without an answer, skipped and not-run ones included."""
        return [r for r in self.results if not r.success]

    @property
    def outputs(self) -> list[Out | None]:
        """One output per item in input order, ``None`` where there is no answer."""
        return [r.output if r.success else None for r in self.in_input_order()]

    def in_input_order(self) -> list[WorkItemResult[Out, Ctx]]:
        """Return the results in the order of the input."""
        return sorted(self.results, key=lambda r: r.submission_index)

    def by_id(self) -> dict[str, WorkItemResult[Out, Ctx]]:
        """Return the results by item id."""
        return {r.item_id: r for r in self.results}

    def raise_for_failures(self) -> None:
        """Do nothing if every item has an answer.

        Raises:
            BatchFailures: Some have none; it names the first of them and holds all.
        """
        failures = self.failures
        if not failures:
            return
        shown = "; ".join(f"{r.item_id}: {r.error}" for r in failures[:3])
        more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
        msg = f"{len(failures)} of {self.total_items} items have no answer: {shown}{more}"
        error = BatchFailures(msg, failures)
        error.partial = self
        raise error from failures[0].exception
