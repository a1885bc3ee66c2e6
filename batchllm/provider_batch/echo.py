"""Marks in prompts that come back in answers: a provider that mixed answers up is noticed by them.

A mark is a digest of the line's id, so that nothing has to be kept for it. It stands in the prompt
behind all else, and is taken out of the answer before anything reads that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from batchllm.core import ConfigError, LLMCallStrategy, kind_of
from batchllm.llm_strategies import ModelStrategy, OutputStrategy
from batchllm.provider_batch.choosing import leaf_of
from batchllm.provider_batch.options import ModeSettings
from batchllm.providers import OnlineOnlyError

__all__ = ["check_echo", "has_mark", "with_mark", "without_mark"]

_BYTES: Final = 4
"""32 bits: of a million answers that were mixed up not one is expected to have the right mark."""
_ASKS: Final = "Begin your answer with the mark [{mark}]."
_NO_ROOM: Final = "its prompt has no text at its end that verify_echo could put a mark behind"


def check_echo(settings: ModeSettings, strategy: LLMCallStrategy[Any]) -> None:
    """Pass if answers of *strategy* have room for a mark, or none is asked for.

    Raises:
        ConfigError: They have none; the message says what to do.
    """
    leaf = leaf_of(strategy)
    plain = isinstance(leaf, ModelStrategy) and not isinstance(leaf, OutputStrategy)
    if settings.verify_echo and not plain:
        msg = (
            f"verify_echo asks for a mark before each answer, and those of {kind_of(leaf)} are no "
            "plain text: leave it out, or put a field for a mark into the type, and compare it in "
            "middleware"
        )
        raise ConfigError(msg)


def _mark_of(custom_id: str) -> str:
    return hashlib.blake2b(custom_id.encode(), digest_size=_BYTES).hexdigest()


def with_mark(prompt: Any, custom_id: str) -> Any:
    """Return a prompt that asks for the mark of a line, too.

    Args:
        prompt: A text, chat messages, or content parts.
        custom_id: The line's.

    Raises:
        OnlineOnlyError: It has no place for a mark.
    """
    text = _ASKS.format(mark=_mark_of(custom_id))
    if isinstance(prompt, str):
        return f"{prompt}\n\n{text}"
    if not isinstance(prompt, Sequence) or not prompt:
        raise OnlineOnlyError(_NO_ROOM)
    parts: Sequence[Any] = prompt
    last = parts[-1]
    if not isinstance(last, Mapping):
        raise OnlineOnlyError(_NO_ROOM)
    part = {"type": "text", "text": text}
    if "role" not in last:
        return [*parts, part]
    content = last.get("content")
    if last["role"] != "user" or not isinstance(content, str | list | tuple):
        raise OnlineOnlyError(_NO_ROOM)
    content = f"{content}\n\n{text}" if isinstance(content, str) else [*content, part]
    return [*parts[:-1], {**last, "content": content}]


def has_mark(line: bytes, custom_id: str) -> bool:
    """Return whether a line of results has the mark of the request that it says it answers."""
    return _mark_of(custom_id).encode() in line


def without_mark(line: bytes, custom_id: str) -> bytes:
    """Return a line of results without the mark, and the blanks behind it, in JSON's way."""
    mark = _mark_of(custom_id).encode()
    return re.sub(rb"\[?%s\]?[.:,]?(?:\\[nrt]| )*" % mark, b"", line)
