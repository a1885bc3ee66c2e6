"""Request parameters: known names pass, others are refused with the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

from batchllm.core import ConfigError

__all__ = ["check_names"]

_OURS: Final = {
    "model": "it is part of the model's name",
    "messages": "they are the prompt",
    "stream": "say stream=True where the model is made",
    "stream_options": "they are set by stream=True",
    "n": "one call gives one answer; submit the item several times",
}


def check_names(names: Iterable[str], known: Collection[str], provider: str) -> None:
    """Pass if each of *names* is among *known*.

    Raises:
        ConfigError: One is not; it names it, the nearest known one, and ``extra``.
    """
    for name in names:
        if name in known:
            continue
        if name in _OURS:
            msg = f"parameter {name!r} cannot be set here: {_OURS[name]}"
            raise ConfigError(msg)
        near = difflib.get_close_matches(name, sorted(known), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ";"
        msg = (
            f"unknown parameter {name!r} for {provider}{meant} To send it all the same, give it "
            f"in extra={{{name!r}: …}}"
        )
        raise ConfigError(msg)
