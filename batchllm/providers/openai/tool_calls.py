"""Calls of tools in a streamed Chat Completions answer, put together from their fragments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

__all__ = ["ToolCalls"]


class ToolCalls:
    """Collects fragments, in the order in which their calls began.

    The wire numbers the calls, and the fragments of one have its number. Some servers give every
    call the number 0, or none at all; then a new id begins a call, or a name where there are no
    ids.
    """

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def add(self, fragment: Mapping[str, Any]) -> None:
        """Take one fragment."""
        position = fragment.get("index")
        given: Any = fragment.get("function")
        function = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        index = position if isinstance(position, int) else None
        call = self._find(index, fragment.get("id"), function.get("name"))
        if index is not None:
            self._by_index[index] = call
        call.update({key: fragment[key] for key in ("id", "type") if fragment.get(key)})
        for key, value in function.items():
            _grow(call["function"], key, value)

    def whole(self) -> list[dict[str, Any]] | None:
        """Return the calls; ``None`` if there are none."""
        numbers = {id(call): index for index, call in self._by_index.items()}
        if len(numbers) == len(self._calls):  # numbered as the wire has it
            return sorted(self._calls, key=lambda call: numbers[id(call)]) or None
        return self._calls or None

    def _find(self, index: int | None, call_id: object, name: object) -> dict[str, Any]:
        if index is not None:
            call = self._by_index.get(index)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or self._is_another(call, index, call_id, name):
            call = {"function": {"name": "", "arguments": ""}}
            self._calls.append(call)
        return call

    @staticmethod
    def _is_another(call: dict[str, Any], index: int | None, call_id: object, name: object) -> bool:
        known = call.get("id")
        if known and call_id and known != call_id:
            return bool(name)
        if index is not None or known or not name:
            return False
        # Neither numbers nor ids: a name begins a call, unless the server repeats it meanwhile.
        return call["function"]["name"] != name or _is_json(call["function"]["arguments"])


def _grow(function: dict[str, Any], key: str, value: Any) -> None:
    """Add a fragment's *value*; a name comes whole, and is repeated by some servers."""
    held = function.get(key, "")
    if isinstance(value, (dict, list)):
        function[key] = msgspec.json.encode(value).decode()
    elif isinstance(value, str) and not (key == "name" and held == value):
        function[key] = held + value


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
