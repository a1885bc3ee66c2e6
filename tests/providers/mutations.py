"""Makes odd replies of valid ones: what servers, gateways and broken lines do to them."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from tests.providers.valid_replies import PIECES, TEXT, Reply

Path = tuple[str | int, ...]

DROP, ADD = "drop", "add"
# Written by ``dump`` in their place, since Python's encoder has no way to write them.
_ENDS = ("finish_reason", "stop_reason", "finishReason")
_TOO_DEEP, _DEEP, _TOO_BIG = "<too deep>", "<deep>", "<too big>"
DEEP = (_TOO_DEEP, _DEEP)
"""No reader goes down to the first; the second is at what most stacks allow."""
JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    10**30,
    float("nan"),
    float("-inf"),
    "",
    "0",
    "junk",
    "half \ud83d pair",
    [],
    {},
    ["junk"],
    [None],
    [[]],
    {"junk": 1},
    {"text": "junk", "type": "junk"},
    _TOO_DEEP,
    _DEEP,
    _TOO_BIG,
]


@frozen
class Change:
    """A change of one place in a JSON value: ``DROP``, ``ADD`` (a field), or a new value."""

    path: Path
    to: Any

    def apply(self, value: Any) -> None:
        """Change *value* in place; a place that an earlier change took away is left."""
        is_new = isinstance(self.to, str) and self.to == ADD
        *way, last = (*self.path, "unknown_field") if is_new else self.path
        for step in way:
            value = _step(value, step)
        if isinstance(value, dict) and isinstance(last, str):
            if self.to == DROP:
                value.pop(last, None)
            else:
                value[last] = {"text": "junk"} if is_new else copy.deepcopy(self.to)
        elif isinstance(value, list) and isinstance(last, int) and last < len(value):
            if self.to == DROP:
                del value[last]
            else:
                value[last] = copy.deepcopy(self.to)


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give every place in *value*, with what stands there."""
    if path:
        yield path, value
    if isinstance(value, (dict, list)):
        members: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in members:
            yield from places(inner, (*path, step))


def ends(value: Any) -> bool:
    """Return whether the reason why an answer ended stands in *value*."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    named = isinstance(value, dict) and any(value.get(name) for name in _ENDS)
    return named or any(ends(one) for one in inner)


def carries_text(value: Any) -> bool:
    """Return whether a part of the answer stands in *value*."""
    if isinstance(value, str):
        return (
            value == TEXT or value in PIECES or value in ("".join(PIECES[:2]), "".join(PIECES[2:]))
        )
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(carries_text(one) for one in inner)


def changes_of(value: Any, allowed: Callable[[Path, Any, Any], bool]) -> list[Change]:
    """Return every change of *value*.

    Args:
        value: A JSON value.
        allowed: Gets a path, what stands there and what is to be there.
    """
    found = list(places(value))
    every = [
        Change(path, to) for path, here in found for to in (DROP, *JUNK) if allowed(path, here, to)
    ]
    every += [Change(path, ADD) for path, here in found if isinstance(here, dict)]
    return every


def dump(value: Any) -> str:
    """Write *value* as JSON, as Python's servers do: with NaN, and halves of pairs escaped."""
    text = json.dumps(value)
    for mark, depth in ((_TOO_DEEP, 5_000), (_DEEP, 700)):
        text = text.replace(f'"{mark}"', "[" * depth + "]" * depth)
    return text.replace(f'"{_TOO_BIG}"', "1e999")


@frozen
class Layout:
    """A way to write events: all that the standard leaves to the server."""

    line_end: str = "\n"
    after_colon: str = " "
    before: str = ""
    between: str = ""
    has_names: bool = False
    has_done: bool = False
    has_last_blank: bool = True
    in_lines: bool = False

    def write(self, events: list[Any]) -> bytes:
        """Write a stream of *events*."""
        texts = [dump(event) for event in events]
        blocks = [
            self._named(event) + self._data(text) for event, text in zip(events, texts, strict=True)
        ]
        if self.has_done:
            blocks.append(["data:" + self.after_colon + "[DONE]"])
        lines = [line for block in blocks for line in (*block, "", *self._between())]
        while not self.has_last_blank and lines and not lines[-1]:
            lines.pop()
        return (self.before + "".join(line + self.line_end for line in lines)).encode()

    def _named(self, event: Any) -> list[str]:
        kind = event.get("type") if isinstance(event, dict) else None
        is_name = isinstance(kind, str) and kind.isascii() and kind.isprintable()
        return [f"event: {kind}"] if self.has_names and is_name else []

    def _data(self, text: str) -> list[str]:
        # A line may be broken wherever JSON allows for a blank.
        parts = text.replace(": ", ": \n", 1).split("\n") if self.in_lines else [text]
        return ["data:" + self.after_colon + part for part in parts]

    def _between(self) -> list[str]:
        return [self.between] if self.between else []


def layouts(reply: Reply) -> st.SearchStrategy[Layout]:
    """Draw a way to write the events of *reply*."""
    return st.builds(
        Layout,
        line_end=st.sampled_from(["\n", "\r\n", "\r"]),
        after_colon=st.sampled_from([" ", ""]),
        before=st.sampled_from(["", "\ufeff", ": hello\n\n", "\n\n", "retry: 10\n"]),
        between=st.sampled_from(["", ": keep-alive", ": OPENROUTER PROCESSING", "id: 7", ""]),
        has_names=st.just(reply.is_named) | st.booleans(),
        has_done=st.just(reply.has_done) | st.booleans(),
        has_last_blank=st.booleans(),
        in_lines=st.booleans(),
    )


CHARSETS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]
