"""The parts that the wires of all providers share: their account, and how replies are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import define

from batchllm.core import MalformedResponseError
from batchllm.policy import JsonError, read_json
from batchllm.provider_batch.verdicts import LineKind, LineOutcome
from batchllm.provider_batch.wires.base import Page, RemoteBatch
from batchllm.provider_batch.wires.control import Control
from batchllm.transport import HttpClient

__all__ = ["ControlledWire", "objects_in", "page_of", "text_in", "time_of"]


@define(eq=False)
class ControlledWire:
    """A wire whose account is what its calls have shown.

    Args:
        control: Calls the account.
    """

    control: Control

    @property
    def provider(self) -> str:
        """Return the provider's name."""
        return self.control.provider

    @property
    def http(self) -> HttpClient:
        """Return the client whose connections are used."""
        return self.control.http

    @property
    def account(self) -> str:
        """Return what distinguishes the account."""
        return self.control.account

    @property
    def hint(self) -> float | None:
        """Return the seconds that the last answer asks to wait."""
        return self.control.hint

    @property
    def clock_offset(self) -> float | None:
        """Return what to add to the loop's clock for the provider's."""
        return self.control.clock_offset

    def read_line(self, line: bytes) -> LineOutcome:
        """Read a line of a result file, whatever it is."""
        try:
            value = read_json(line)
        except JsonError as error:
            return LineOutcome(custom_id=None, kind=LineKind.UNKNOWN, text=str(error))
        row: dict[str, Any] = value if isinstance(value, dict) else {}
        given = self._name_of(row)
        return self._read_row(given if isinstance(given, str) else None, row)

    def _name_of(self, row: Mapping[str, Any]) -> Any:
        """Return what stands for the name of the request that a row answers."""
        return row.get("custom_id")

    def _read_row(self, name: str | None, row: Mapping[str, Any]) -> LineOutcome:
        raise NotImplementedError


def page_of(reply: Mapping[str, Any], read: Callable[[Mapping[str, Any]], RemoteBatch]) -> Page:
    """Read a page of a list of batches, each by *read*.

    Raises:
        MalformedResponseError: One of them has no id.
    """
    found = objects_in(reply.get("data"))
    last = reply.get("last_id") or (found[-1].get("id") if found else None)
    more = bool(reply.get("has_more")) and last is not None
    return Page([read(one) for one in found], str(last) if more else None)


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; none of what is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text_in(given: Mapping[str, Any], name: str, what: str) -> str:
    """Return a text that the description of *what* must have.

    Raises:
        MalformedResponseError: It has none.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value:
        msg = f"the description of {what} has no {name}; its fields are {sorted(map(str, given))}"
        raise MalformedResponseError(msg, status=200)
    return value


def time_of(value: Any) -> float | None:
    """Return a time of RFC 3339 in seconds since 1970; ``None`` for anything else."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        return None
