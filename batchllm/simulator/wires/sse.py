"""Server-sent events as bytes, in every framing that the format allows."""

import json

from attrs import frozen

from batchllm.simulator.wires.exchange import StreamEvent

EVENT_STREAM = "text/event-stream; charset=utf-8"


@frozen(kw_only=True)
class Framing:
    """The form in which events are written; the defaults are what providers send."""

    newline: str = "\n"
    multi_line: bool = False


def frame(event: StreamEvent, framing: Framing) -> bytes:
    """One event with its closing blank line."""
    if event.bare:
        return event.data.encode()
    lines = [f"event: {event.event}"] if event.event else []
    lines += [f"data: {line}" for line in _data_lines(event.data, framing)]
    return (framing.newline.join(lines) + framing.newline * 2).encode()


def comment(text: str, framing: Framing) -> bytes:
    """A comment that a client has to skip."""
    return f": {text}{framing.newline * 2}".encode()


def _data_lines(data: str, framing: Framing) -> list[str]:
    if not framing.multi_line or not data.startswith("{"):
        return [data]
    return json.dumps(json.loads(data), indent=0, ensure_ascii=False).split("\n")
