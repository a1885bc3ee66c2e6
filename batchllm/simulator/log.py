"""The simulator's own record of every request: the witness that a client's counts are held to."""

import json
from collections import Counter, deque
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TextIO

from attrs import asdict, define, field
from attrs.converters import optional

Outcome = Literal["ok", "refused", "invalid", "fault", "aborted", "control"]

_LEADING = 80


@define(kw_only=True)
class LogEntry:
    """One request. Times are seconds of the simulator's clock; tokens are what is billed.

    `outcome` is "ok" for an answer that was delivered, be it a wrong one on purpose; "refused" for
    a quota, a full queue or random noise; "invalid" for a request that is not valid; "fault" for a
    failure on purpose; "aborted" when the client left before the end; "control" for calls that
    run no model. `fault` names the faults that were put in.
    """

    number: int
    request_id: str
    client_id: str | None = None
    arrived: float
    finished: float | None = None
    method: str
    path: str
    model: str | None = None
    outcome: Outcome = "invalid"
    fault: str | None = None
    status: int = 0
    stream: bool = False
    attempt: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    digest: str | None = None
    prompt_digest: str | None = None
    prompt: str = ""


def prompt_digest(prompt: str) -> str:
    """The name under which the log keeps a prompt's text, so that a client can find it again."""
    return blake2b(prompt.encode(), digest_size=8).hexdigest()


def leading_text(prompt: str) -> str:
    """The start of a prompt, short enough for a log."""
    return prompt[:_LEADING]


@define(eq=False)
class SimulatorLog:
    """All requests in the order of their arrival.

    Args:
        path: Each request is appended to this file as a line of JSON when it ends, at once, so
            that another process can read it.
        keep: Only so many of the latest entries stay in memory; None keeps all. The counts of
            `summary` are over all requests either way.
    """

    path: Path | None = field(default=None, converter=optional(Path))
    keep: int | None = field(default=None, kw_only=True)
    _entries: deque[LogEntry] = field(init=False)
    _file: TextIO | None = field(init=False, default=None)
    _count: int = field(init=False, default=0)
    _in_flight: int = field(init=False, default=0)
    _most_in_flight: int = field(init=False, default=0)
    _first: float | None = field(init=False, default=None)
    _last: float | None = field(init=False, default=None)
    _outcomes: Counter[str] = field(init=False, factory=Counter)
    _statuses: Counter[int] = field(init=False, factory=Counter)
    _faults: Counter[str] = field(init=False, factory=Counter)
    _models: Counter[str] = field(init=False, factory=Counter)
    _tokens: Counter[str] = field(init=False, factory=Counter)

    def __attrs_post_init__(self) -> None:
        self._entries = deque(maxlen=self.keep)

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """The entries that are kept, in order of arrival."""
        return tuple(self._entries)

    def __len__(self) -> int:
        """Return the number of requests that have arrived."""
        return self._count

    def __iter__(self) -> Iterator[LogEntry]:
        """Over the entries that are kept."""
        return iter(self.entries)

    def open(self, *, method: str, path: str, arrived: float, client_id: str | None) -> LogEntry:
        """Begin the entry of a request that has arrived."""
        self._count += 1
        entry = LogEntry(
            number=self._count,
            request_id=f"req_{self._count:08d}",
            client_id=client_id,
            arrived=arrived,
            method=method,
            path=path,
        )
        self._entries.append(entry)
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        self._first = arrived if self._first is None else self._first
        return entry

    def close(self, entry: LogEntry, finished: float) -> None:
        """End an entry: count it, and write it where there is a file."""
        entry.finished = finished
        self._last = finished
        self._in_flight -= 1
        self._outcomes[entry.outcome] += 1
        self._statuses[entry.status] += 1
        if entry.fault is not None:
            self._faults[entry.fault] += 1
        if entry.model is not None:
            self._models[entry.model] += 1
        self._tokens["input"] += entry.input_tokens
        self._tokens["output"] += entry.output_tokens
        self._tokens["cached"] += entry.cached_tokens
        if self.path is not None:
            self._write(self.path, entry)

    def release(self) -> None:
        """Close the file; a later request opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def summary(self) -> dict[str, Any]:
        """The counts over all requests that have ended, as plain JSON values."""
        return {
            "requests": self._count,
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
            "first_arrival": self._first,
            "last_finish": self._last,
            "outcomes": dict(self._outcomes),
            "statuses": {str(status): count for status, count in self._statuses.items()},
            "faults": dict(self._faults),
            "models": dict(self._models),
            "input_tokens": self._tokens["input"],
            "output_tokens": self._tokens["output"],
            "cached_tokens": self._tokens["cached"],
        }

    def to_jsonl(self) -> str:
        """The entries that are kept, one line of JSON each."""
        return "".join(_line(entry) for entry in self._entries)

    def _write(self, path: Path, entry: LogEntry) -> None:
        if self._file is None:
            self._file = path.open("a", encoding="utf-8")
        self._file.write(_line(entry))
        self._file.flush()


def _line(entry: LogEntry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"
