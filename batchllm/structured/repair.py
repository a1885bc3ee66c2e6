"""The adapter to json-repair, which guesses what broken JSON was meant to be."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["repaired"]


def repaired(text: str) -> Any:
    """The value that *text* was probably meant to have; ``None`` where there is no guess.

    Raises:
        ImportError: json-repair is not installed.
    """
    try:
        module: Any = import_module("json_repair")
    except ImportError as error:
        msg = 'repair=True needs json-repair: pip install "batchllm[json]"'
        raise ImportError(msg) from error
    try:
        value = module.loads(text)
    except (ValueError, RecursionError):
        return None
    # For a text without any JSON it gives an empty text.
    return None if isinstance(value, str) else value
