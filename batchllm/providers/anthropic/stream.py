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
    decode_object,
    error_within,
    malformed,
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
        self._events = 0
        self._has_ended = False
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived."""
        return normalize_usage(self._usage) if self._usage else None

    def add(self, data: str) -> None:
        """Take the data of one event; those of a kind that is not known are left out.

        Raises:
            MalformedResponseError: It is no event.
        """
        if not data.strip() or data.strip() == DONE:
            return
        event = decode_object(data.encode("utf-8", "replace"), self._client)
        self._events += 1
        match event.get("type"):
            case "message_start":
                self._message.update(mapping_of(event.get("message")))
                self._count(self._message.pop("usage", None))
            case "content_block_start":
                block = dict(mapping_of(event.get("content_block")))
                self._blocks[_index(event)] = block
            case "content_block_delta":
                self._grow(_index(event), mapping_of(event.get("delta")))
            case "message_delta":
                self._message.update(mapping_of(event.get("delta")))
                self._count(event.get("usage"))
            case "message_stop":
                self._has_ended = True
            case "error":
                self.error = event
            case _:
                self.error = error_within(event, answered=False)

    def _count(self, usage: object) -> None:
        """Later counts are totals that replace earlier ones; zeros are none, beside real ones."""
        counts = mapping_of(usage).items()
        self._usage.update(
            {k: v for k, v in counts if v or (v is not None and k not in self._usage)}
        )

    def _grow(self, index: int, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "citations_delta":
            block = self._blocks.setdefault(index, {"type": "text"})
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
            return
        source, target = _GROWS.get(str(delta.get("type")), ("", ""))
        piece = delta.get(source)
        if isinstance(piece, str):
            self._pieces.setdefault(index, {}).setdefault(target, []).append(piece)

    def reply(self) -> JsonObject:
        """The whole message.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        if self._message.get("stop_reason") is None and not self._has_ended:
            got = f"after {self._events} events" if self._events else "before it began"
            msg = (
                f"the stream of {self._client.host} ended {got}, with no stop reason; its text "
                "is not whole, and the provider may bill it"
            )
            raise malformed(msg, self.usage)
        content = [self._block(index) for index in sorted(self._blocks.keys() | self._pieces)]
        usage = {"usage": self._usage} if self._usage else {}
        return {**self._message, "content": content, **usage}

    def _block(self, index: int) -> JsonObject:
        pieces = {name: "".join(texts) for name, texts in self._pieces.get(index, {}).items()}
        block = self._blocks.get(index, {"type": "text"})
        given = pieces.pop("partial_json", None)
        grown = {name: str(block.get(name) or "") + text for name, text in pieces.items()}
        return {**block, **grown, **({"input": _parsed(given)} if given else {})}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _parsed(text: str) -> Any:
    try:
        return read_json(text, keep_halves=True)
    except JsonError:  # cut off by max_tokens; the stop reason says so
        return text
