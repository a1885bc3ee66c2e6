"""A streamed answer of Gemini, put together from its chunks. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from batchllm.core import TokenUsage
from batchllm.providers.gemini.reply import read_usage
from batchllm.providers.wire import (
    DONE,
    JsonObject,
    Peer,
    cut_off,
    decode_event,
    error_within,
    is_first,
    mapping_of,
    mappings_of,
)

__all__ = ["GeminiStream"]


_OF_A_TEXT: Final = frozenset({"text", "thought"})
_OF_AN_ANSWER: Final = frozenset({"candidates", "promptFeedback", "usageMetadata"})


class GeminiStream:
    """Collects chunks, and gives the reply that the server would have sent without a stream.

    An answer is whole when its finish reason, or the reason for blocking it, has arrived: the
    wire has no other closing mark.

    Args:
        client: Named in messages, which do not show its keys.
    """

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._reply: JsonObject = {}
        self._candidate: JsonObject = {}
        self._parts: list[dict[str, Any]] = []
        self._logprobs: dict[str, list[Any]] = {}
        self._chunks = 0
        self._is_done = False
        self.error: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """The token counts, as far as they have arrived; the last ones are the total."""
        return read_usage(self._reply)

    @property
    def has_begun(self) -> bool:
        """Return whether part of the answer has come."""
        return bool(self._candidate)

    def add(self, data: str) -> None:
        """Take the data of one event.

        Raises:
            MalformedResponseError: It is no chunk.
        """
        if not data.strip():
            return
        if data.strip() == DONE:  # by gateways in front of it
            self._is_done = True
            return
        chunk = decode_event(data, self._client)
        self._chunks += 1
        self.error = error_within(chunk, answered=not chunk.keys().isdisjoint(_OF_AN_ANSWER))
        if self.error:
            return
        candidates = mappings_of(chunk.pop("candidates", None))
        counts = mapping_of(chunk.pop("usageMetadata", None))
        if counts:
            # Some gateways send zeros behind the real counts.
            known = mapping_of(self._reply.get("usageMetadata"))
            real = {name: value for name, value in counts.items() if value or name not in known}
            self._reply["usageMetadata"] = {**known, **real}
        self._reply.update(chunk)
        for candidate in candidates:
            if is_first(candidate.get("index")):
                self._add_logprobs(mapping_of(candidate.get("logprobsResult")))
                self._candidate.update(candidate)
                for part in mappings_of(mapping_of(candidate.get("content")).get("parts")):
                    self._add_part(dict(part))

    def _add_logprobs(self, result: Mapping[str, Any]) -> None:
        for name in ("chosenCandidates", "topCandidates"):
            self._logprobs.setdefault(name, []).extend(mappings_of(result.get(name)))

    def _add_part(self, part: dict[str, Any]) -> None:
        last = self._parts[-1] if self._parts else {}
        texts = last.get("text"), part.get("text")
        # Nothing but text, and both of the answer or both of the thoughts before it.
        is_alike = {**last, "text": ""} == {**part, "text": ""} and part.keys() <= _OF_A_TEXT
        if is_alike and isinstance(texts[0], str) and isinstance(texts[1], str):
            last["text"] = texts[0] + texts[1]
        else:
            self._parts.append(part)

    def reply(self) -> JsonObject:
        """The whole reply.

        Raises:
            MalformedResponseError: The stream ended before the answer did.
        """
        blocked = mapping_of(self._reply.get("promptFeedback")).get("blockReason")
        if blocked and not self._candidate:
            return self._reply
        if not self._candidate.get("finishReason") and not (self._is_done and self._candidate):
            lacks = "with no finish reason"
            raise cut_off(self._client, "chunks", self._chunks, lacks, self.usage)
        content = {"role": "model", "parts": self._parts}
        whole = {**self._candidate, "content": content, "logprobsResult": self._logprobs}
        return {**self._reply, "candidates": [whole]}
