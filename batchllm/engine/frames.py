"""Exceptions of finished items: where they came from, without what their frames and fields held.

The frames of an exception hold prompts, requests and clients, a hundred kilobytes an item.
``openai.BadRequestError`` holds its response, which holds its request, which holds the prompt:
60 kB a failed item where the prompt has 50. A result that is kept has room for none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

import anyio
from attrs import evolve

from batchllm.core import LLMResponse

__all__ = ["drop_locals", "shorten"]

_OURS: Final = str(Path(__file__).resolve().parents[1])
_THREADS: Final = (str(Path(anyio.__file__).resolve().parent),)
"""The way into a worker thread, which comes before the frames of a function that blocks."""
_MOST_FRAMES: Final = 16
"""Frames that are kept, the ones nearest to the error: 64 bytes each."""
_MOST_EXCEPTIONS: Final = 64
"""Exceptions of one chain that are stripped: some chains are made anew without end."""
_LINE_ONLY: Final = 0xEF
"""Begins an entry in a code object's table of positions: eight steps that stand on one line."""
_STEPS: Final = 8

_HTTPX: Final = ("httpx", "httpx2")
_OTHERS: Final = ("aiohttp", "requests")
_HELD: Final = ("Request", "Response", "PreparedRequest", "ClientResponse")


def drop_locals(error: BaseException) -> None:
    """Replace the frames of *error*, and of what it came from, by ones that hold nothing.

    Requests and replies among its fields go, too.

    Those of this package are left out: they are the same for every error. The others are not
    cleared in place, since one of them may be a task's that still runs.
    """
    with suppress(Exception):  # others' exceptions may raise anything, wherever one looks
        for each in _with_causes(error):
            each.__traceback__ = _bare(each.__traceback__)
            _drop_replies(each)


def shorten(error: BaseException) -> None:
    """Leave our own frames out of what is shown of *error*, which the run ends with.

    Its message says what happened, and its cause where. Notebooks show each frame with ten lines of
    its source. Other frames stay with what they hold, for a debugger.
    """
    with suppress(Exception):
        for each in _with_causes(error):
            each.__traceback__ = _of_others(each.__traceback__)


def _of_others(trace: TracebackType | None) -> TracebackType | None:
    others: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_OURS):
            others.append(trace)
        trace = trace.tb_next
    for inner, outer in pairwise(reversed(others)):
        outer.tb_next = inner
    return others[0] if others else None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen[id(each)] = each
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _bare(trace: TracebackType | None) -> TracebackType | None:
    places: list[tuple[CodeType, str, int]] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        between = () if places else _THREADS
        if not code.co_filename.startswith((_OURS, *between)):
            module = str(trace.tb_frame.f_globals.get("__name__", ""))
            places.append((code, module, trace.tb_lineno))
        trace = trace.tb_next
    bare: TracebackType | None = None
    for code, module, line in reversed(places[-_MOST_FRAMES:]):
        name = getattr(code, "co_qualname", code.co_name)
        frame = _empty_frame(
            code.co_filename, code.co_name, name, module, code.co_firstlineno, line
        )
        bare = TracebackType(bare, frame, 0, line)
    return bare


@lru_cache(maxsize=1024)
def _empty_frame(
    file: str, name: str, qualname: str, module: str, first: int, line: int
) -> FrameType:
    """Return a finished frame that stands for a function, and has no local variables.

    It says in all ways in which it can be asked that it is on *line*. IPython asks the frame,
    Python the step of the traceback; for a step that is not there IPython looks without end.
    """
    code = compile("raise KeyError", file, "exec")
    rest = len(code.co_code) // 2 // _STEPS
    table = _on_line(line - first) + _on_line(0) * rest
    code = code.replace(
        co_name=name, co_qualname=qualname, co_firstlineno=first, co_linetable=table
    )
    names = {"__name__": module, "__file__": file, "__builtins__": {"KeyError": KeyError}}
    trace: TracebackType | None = None
    try:
        exec(code, names)
    except KeyError as error:
        trace = error.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    return trace.tb_next.tb_frame


def _drop_replies(error: BaseException) -> None:
    """Put small stand-ins in place of the requests and replies among the fields of *error*.

    One of httpx keeps its method, address and status, since code that looks at an exception
    expects one there; of other libraries' nothing is left. An ``LLMResponse`` loses the
    provider's own reply; its metadata say the same.
    """
    fields = getattr(error, "__dict__", {})
    for name, value in list(fields.items()):
        if isinstance(value, LLMResponse):
            if value.raw is not None:
                fields[name] = evolve(value, raw=None)
        elif type(value).__name__ in _HELD:
            fields[name] = _stand_in(value)


def _stand_in(held: Any) -> Any:
    kind: Any = type(held)
    library = kind.__module__.partition(".")[0]
    if library in _OTHERS:
        return None
    if library not in _HTTPX:
        return held
    with suppress(Exception):  # a response may have no request
        request: Any = held if kind.__name__ == "Request" else held.request
        of: Any = type(request)
        bare = _bare_request(of, request.method, str(request.url))
        return bare if request is held else _bare_response(kind, held.status_code, bare)
    return None


# One for all items: a Request is a kilobyte.


@lru_cache(maxsize=256)
def _bare_request(kind: Any, method: str, url: str) -> Any:
    return kind(method, url)


@lru_cache(maxsize=256)
def _bare_response(kind: Any, status: int, request: Any) -> Any:
    return kind(status, request=request)


def _on_line(lines_on: int) -> bytes:
    """Return an entry for steps so many lines behind those before them, by Python's own format."""
    left = lines_on << 1 if lines_on >= 0 else (-lines_on << 1) | 1
    entry = [_LINE_ONLY]
    while left >= 0x40:
        entry.append(0x40 | left & 0x3F)
        left >>= 6
    return bytes([*entry, left])
