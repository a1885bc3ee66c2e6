"""The needs of the driver of batches from a provider's wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, NamedTuple, Protocol

import msgspec
from attrs import field, frozen

from batchllm.provider_batch.pacing import WireLimits
from batchllm.provider_batch.refinding import Strength
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.verdicts import BatchProblem, LineOutcome
from batchllm.providers import WireRequest
from batchllm.transport import HttpClient

__all__ = [
    "BatchWire",
    "Headers",
    "Page",
    "RemoteBatch",
    "RemoteKind",
    "TakePiece",
    "body_of",
    "server_time",
]

Headers = Mapping[str, str]
TakePiece = Callable[[bytes], Awaitable[None]]


class RemoteKind(Enum):
    """The six kinds of state that a batch is in at its provider."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    PARTIAL = "partial"
    REJECTED = "rejected"

    @property
    def ended(self) -> bool:
        """Return whether nothing of it will run any more."""
        return self in (RemoteKind.DONE, RemoteKind.PARTIAL, RemoteKind.REJECTED)


@frozen(kw_only=True)
class RemoteBatch:
    """A batch as its provider describes it.

    Attributes:
        id: The provider's.
        kind: What its status means.
        status: The provider's own word.
        created: In seconds since 1970.
        expires: The same.
        total: Requests, if they are counted.
        done: Of these, how many are processed, with success or not.
        expired: Whether its time was over before it was done.
        cancelled: Whether it was cancelled, by whomever.
        outputs: The names of its result files.
        gone: Whether its results are kept no more.
        problems: What the provider says against it as a whole.
        metadata: What it was created with.
        file_id: Of the uploaded file.
    """

    id: str
    kind: RemoteKind
    status: str
    created: float | None = None
    expires: float | None = None
    total: int | None = None
    done: int | None = None
    expired: bool = False
    cancelled: bool = False
    outputs: tuple[str, ...] = ()
    gone: bool = False
    problems: tuple[BatchProblem, ...] = ()
    metadata: Mapping[str, Any] = field(factory=dict[str, Any])
    file_id: str | None = None


class Page(NamedTuple):
    """A page of a list of batches.

    Attributes:
        batches: With most providers the newest first.
        after: Asks for the next page; ``None`` after the last.
    """

    batches: Sequence[RemoteBatch]
    after: str | None

    def is_behind(self, time: float) -> bool:
        """Return whether all that follow were created before *time*.

        Only a list that goes from the newest to the oldest shows that, and not each provider says
        that its list does.
        """
        times = [one.created for one in self.batches if one.created is not None]
        return bool(times) and times == sorted(times, reverse=True) and times[-1] < time


class BatchWire(Protocol):
    """One account's batches at one provider.

    Whatever calls the provider raises ``ProviderError`` for an answer that is an error and
    ``TransportError`` if no complete answer arrived, and nothing is repeated.
    """

    strength: Strength
    absent_after: float
    """Seconds after a create from which an empty list proves that there is no batch."""
    has_files: bool
    """If lines are uploaded as a file before the batch is created."""
    stacks: bool
    """If a cached token has half of the cache's price in a batch."""

    @property
    def provider(self) -> str:
        """Return the provider's name."""
        ...

    @property
    def limits(self) -> WireLimits:
        """Return the provider's limits."""
        ...

    @property
    def hint(self) -> float | None:
        """Return the seconds that the last answer asks to wait, also one that is good."""
        ...

    @property
    def http(self) -> HttpClient:
        """Return the client whose connections are used."""
        ...

    @property
    def account(self) -> str:
        """Return what distinguishes the account, as far as its answers have shown it."""
        ...

    @property
    def clock_offset(self) -> float | None:
        """Return what to add to the loop's clock for the provider's; ``None`` before an answer."""
        ...

    def is_of(self, remote: RemoteBatch, chunk: Chunk) -> bool:
        """Return whether a batch is one of *chunk*, or may be, whichever attempt made it."""
        ...

    def write_line(self, custom_id: str, request: WireRequest) -> bytes:
        """Return the line of a request, with its line feed."""
        ...

    def read_line(self, line: bytes) -> LineOutcome:
        """Read a line of a result file, whatever it is."""
        ...

    async def identify(self) -> None:
        """Ask for something small, so that the account and its clock are known."""
        ...

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file and return the provider's id of it."""
        ...

    async def find_files(self, name: str, size: int) -> Sequence[str]:
        """Return the ids of uploaded files of that name and size."""
        ...

    async def create(self, chunk: Chunk, content: bytes | None) -> RemoteBatch:
        """Create the batch of a chunk; *content* is its lines, if they are not uploaded."""
        ...

    async def fetch(self, batch_id: str) -> RemoteBatch:
        """Return one batch."""
        ...

    async def list_batches(self, after: str | None) -> Page:
        """Return a page of the account's batches.

        Args:
            after: What the page before said of the next; ``None`` for the first page.
        """
        ...

    async def cancel(self, batch_id: str) -> RemoteBatch | None:
        """Ask for the end of a batch; ``None`` if the answer does not describe it."""
        ...

    async def download(self, output: str, take: TakePiece) -> None:
        """Pass the pieces of a result file to *take*, one by one."""
        ...

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        ...


def body_of(outcome: LineOutcome) -> bytes:
    """Return the body of an answer as it would have come online."""
    return msgspec.json.encode(outcome.body)


def server_time(headers: Headers) -> float | None:
    """Return the provider's own time in an answer, in seconds since 1970."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
