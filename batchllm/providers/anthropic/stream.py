"""A streamed answer of Messages, put together from its events. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.core import TokenUsage, normalize_usage
from batchllm.policy import JsonError, read_json
from batchllm.providers.wire import (
    DONE,
    JsonObject,
    Peer,
    as_list,
    cut_off,
    decode_event,
    error_within,
    mapping_of,
)

__all__ = ["AnthropicStream"]

# What a delta adds, and to which field of its block.
_GROWS: Final = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "input_json_delta": ("partial_json", "partial_json"),
    "signature_delta": ("signature", "signature"),
}

_BY_FIELD: Final = {"message": "message_start", "content_block": "content_block_start"}
_OF_BLOCKS: Final = ("thinking", "text")


class AnthropicStream:
    """Collects events, and gives the message that the server would have sent without a stream.

    Args:
        client: Named in messages, which do not show its keys.
    """

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._message: JsonObject = {}
        self._usage: JsonObject = {}
        self._blocks: dict[int, JsonObject] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}
        self._current = 0
        self._events = 0
        self._has_ended = False
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        return normalize_usage(self._usage) if self._usage else None

    @property
    def has_begun(self) -> bool:
        """Return whether part of the answer has come."""
        return bool(self._message)

    def add(self, data: str) -> None:
        """Take the data of one event; those of a kind that is not known are left out.

        Raises:
            MalformedResponseError: It is no event.
        """
        if not data.strip() or data.strip() == DONE:
            return
        event = decode_event(data, self._client)
        self._events += 1
        match _kind_of(event):
            case "message_start":
                self._message.update(mapping_of(event.get("message")))
                self._count(self._message.pop("usage", None))
            case "content_block_start":
                self._current = self._place(event, len(self._blocks))
                self._blocks[self._current] = dict(mapping_of(event.get("content_block")))
            case "content_block_delta":
                self._current = self._place(event, self._current)
                self._grow(self._current, mapping_of(event.get("delta")))
            case "message_delta":
                self._message.update(mapping_of(event.get("delta")))
                self._count(event.get("usage"))
            case "message_stop":
                self._has_ended = True
            case "error":
                self.error = event
            case _:
                self.error = error_within(event, answered=False)

    def _place(self, event: Mapping[str, Any], otherwise: int) -> int:
        """Return which block *event* is about; *otherwise* if its number cannot be read."""
        index = event.get("index")
        if isinstance(index, str) and index.isascii() and index.isdigit():
            return int(index[:9])
        return index if isinstance(index, int) and index is not True else otherwise

    def _count(self, usage: object) -> None:
        """Later counts are totals that replace earlier ones; zeros do not replace counts."""
        counts = mapping_of(usage).items()
        self._usage.update(
            {k: v for k, v in counts if v or (v is not None and k not in self._usage)}
        )

    def _grow(self, index: int, delta: Mapping[str, Any]) -> None:
        kind = delta.get("type")
        if not isinstance(kind, str):
            kind = next((one for one, (name, _) in _GROWS.items() if name in delta), "")
        if kind == "citations_delta":
            block = self._blocks.setdefault(index, {"type": "text"})
            block["citations"] = [*as_list(block.get("citations")), delta.get("citation")]
            return
        source, target = _GROWS.get(kind, ("", ""))
        piece = delta.get(source)
        if isinstance(piece, str):
            self._pieces.setdefault(index, {}).setdefault(target, []).append(piece)

    def reply(self) -> JsonObject:
        """The whole message.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._message.get("stop_reason") is None and not self._has_ended:
            lacks = "with no stop reason"
            raise cut_off(self._client, "events", self._events, lacks, self.usage)
        places = sorted(self._blocks.keys() | self._pieces)
        content = [block for index in places for block in self._content_at(index)]
        usage = {"usage": self._usage} if self._usage else {}
        return {**self._message, "content": content, **usage}

    def _content_at(self, index: int) -> list[JsonObject]:
        block = self._block(index)
        if block["type"] != "text" and "text" in self._pieces.get(index, {}):
            # What came as a text is one, whatever the event before it called the block.
            return [block, {"type": "text", "text": block["text"]}]
        return [block]

    def _block(self, index: int) -> JsonObject:
        pieces = {name: "".join(texts) for name, texts in self._pieces.get(index, {}).items()}
        block = self._blocks.get(index, {"type": "text"})
        given = pieces.pop("partial_json", None)
        grown = {name: _words(block.get(name)) + text for name, text in pieces.items()}
        whole = {**block, **grown, **({"input": _parsed(given)} if given else {})}
        if not isinstance(whole.get("type"), str):
            whole["type"] = next((kind for kind in _OF_BLOCKS if kind in whole), "")
        return whole


def _kind_of(event: Mapping[str, Any]) -> str:
    """Return the type of *event*; one without a type is what its fields make it."""
    kind = event.get("type")
    if isinstance(kind, str):
        return kind
    for name, kind in _BY_FIELD.items():
        if mapping_of(event.get(name)):
            return kind
    delta = mapping_of(event.get("delta"))
    if delta:
        return "message_delta" if "stop_reason" in delta else "content_block_delta"
    return ""


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _parsed(text: str) -> Any:
    try:
        return read_json(text, keep_halves=True)
    except JsonError:  # cut off by max_tokens; the stop reason says so
        return text
