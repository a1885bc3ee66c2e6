"""Batches over time: what is executed by when, whatever wire asks for it. No I/O.

Nothing runs by itself: a job catches up with the clock whenever it is looked at.
"""

import json
import math
import random
from collections.abc import Callable
from typing import Any

from attrs import define, field

from batchllm.simulator.batches.behaviour import BatchBehaviour
from batchllm.simulator.batches.execution import Executed

Execute = Callable[[str, bytes, str], Executed]


@define(eq=False, kw_only=True)
class Request:
    """One request of a batch."""

    custom_id: str
    path: str
    body: bytes
    executed: Executed | None = None


@define(eq=False, kw_only=True)
class Job:
    """One batch.

    Args:
        id: Its id.
        account: Whose.
        created: When, in seconds since 1970.
        behaviour: How it goes.
        requests: In the order of the file.
        problems: What validation says against it: code, message and line each.
        execute: Executes a request.
        tokens: Of the prompts, as the provider counts them.

    Attributes:
        cancelled: When it was asked to end.
    """

    id: str
    account: str
    created: float
    behaviour: BatchBehaviour
    requests: list[Request]
    problems: list[dict[str, Any]]
    execute: Execute
    tokens: float = 0.0
    cancelled: float | None = None
    details: dict[str, Any] = field(factory=dict)
    _done: int = field(default=0, init=False)

    @property
    def starts(self) -> float:
        """The instant when the first request begins."""
        return self.created + self.behaviour.queue

    @property
    def expires(self) -> float:
        """The instant when it expires."""
        return self.created + self.behaviour.window

    @property
    def executed_by(self) -> float:
        """The instant when the last request is done, if nothing comes between."""
        return self.starts + self.behaviour.run

    @property
    def completes(self) -> float:
        """The instant when its results are there, if nothing comes between."""
        return self.executed_by + self.behaviour.finalizing

    def status(self, now: float) -> str:
        """Return the status at a time, in OpenAI's words."""
        if self.problems:
            return "validating" if now < self.starts else "failed"
        if self.cancelled is not None:
            over = self.cancelled + self.behaviour.cancel
            if self.completes <= self.cancelled:
                pass  # too late
            elif self.behaviour.cancel_races and self.completes <= over:
                return "cancelling" if now < self.completes else "completed"
            else:
                return "cancelling" if now < over else "cancelled"
        if now >= self.expires and self.completes > self.expires:
            return "expired"
        if now >= self.completes:
            return "completed"
        if now >= self.executed_by:
            return "finalizing"
        return "validating" if now < self.starts else "in_progress"

    def has_ended(self, now: float) -> bool:
        """Return whether nothing of it will change any more."""
        return self.status(now) in ("completed", "failed", "expired", "cancelled")

    def catch_up(self, now: float) -> None:
        """Execute what is due."""
        due = self._due(now)
        while self._done < due:
            request = self.requests[self._done]
            self._done += 1
            request.executed = self.execute(
                request.path, request.body, f"{self.id}-{self._done}-{request.custom_id}"
            )
            if self._done % 2 == 0 and self._done <= 2 * self.behaviour.swapped:
                before = self.requests[self._done - 2]
                before.executed, request.executed = request.executed, before.executed
            request.body = b""  # a million of them would stay, and nothing asks for them again

    def _due(self, now: float) -> int:
        """Return how many requests are done at a time."""
        if self.problems:
            return 0
        until = min(now, self.expires)
        if self.cancelled is not None and not (
            self.behaviour.cancel_races and self.completes <= self.cancelled + self.behaviour.cancel
        ):
            until = min(until, self.cancelled)
        if until >= self.executed_by:
            return len(self.requests)
        if until <= self.starts or not self.behaviour.run:
            return 0
        return math.floor(len(self.requests) * (until - self.starts) / self.behaviour.run)

    @property
    def done(self) -> list[Request]:
        """The requests that were executed."""
        return self.requests[: self._done]

    @property
    def not_run(self) -> list[Request]:
        """The requests that were not."""
        return self.requests[self._done :]

    def in_order(self, rows: list[Any]) -> list[Any]:
        """Return rows of results in the order in which they come."""
        if self.behaviour.shuffled:
            random.Random(self.id).shuffle(rows)
        return rows


def read_requests(content: bytes, endpoint: str) -> tuple[list[Request], list[dict[str, Any]]]:
    """Read a file of requests on OpenAI's wire, and what validation says against it."""
    requests: list[Request] = []
    problems: list[dict[str, Any]] = []
    models: set[str] = set()
    seen: set[str] = set()

    def blame(code: str, message: str, line: int | None) -> None:
        problems.append({"code": code, "message": message, "line": line, "param": None})

    lines = [line for line in content.split(b"\n") if line.strip()]
    if not lines:
        blame("empty_file", "The input file is empty.", None)
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            name, body = row["custom_id"], row["body"]
            models.add(body["model"])
        except (ValueError, KeyError, TypeError):
            blame("invalid_json_line", "This line is not parseable as valid JSON.", number)
            continue
        if row.get("url") != endpoint:
            blame("invalid_url", f"The URL provided for this request is not {endpoint}.", number)
        if name in seen:
            blame("duplicate_custom_id", f"The custom_id {name!r} came before.", number)
        if b"[[batch:invalid]]" in line:
            blame("missing_required_parameter", "This line lacks a parameter.", number)
        seen.add(name)
        requests.append(Request(custom_id=name, path=endpoint, body=json.dumps(body).encode()))
    if len(models) > 1:
        blame("mismatched_model", "The lines ask different models.", None)
    return requests, problems[:100]
