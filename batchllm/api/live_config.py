"""A processor's settings while it lives: readable as ever, the limits assignable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchllm.core import ConfigError, ProcessorConfig

__all__ = ["LiveConfig"]

_ASSIGNABLE = ("max_workers", "max_requests_per_minute", "max_tokens_per_minute")


class LiveConfig:
    """A view of a ``ProcessorConfig``.

    Every setting can be read. ``max_workers``, ``max_requests_per_minute`` and
    ``max_tokens_per_minute`` can be assigned at any time, are checked, and take effect at once.
    """

    __slots__ = ("_current", "_on_change")

    _current: ProcessorConfig
    _on_change: Callable[[ProcessorConfig], None]

    def __init__(
        self, config: ProcessorConfig, on_change: Callable[[ProcessorConfig], None]
    ) -> None:
        object.__setattr__(self, "_current", config)
        object.__setattr__(self, "_on_change", on_change)

    @property
    def current(self) -> ProcessorConfig:
        """The settings in force, as a value."""
        return self._current

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _ASSIGNABLE:
            msg = (
                f"{name} cannot be assigned while a processor lives; only {', '.join(_ASSIGNABLE)} "
                f"can. Make a new processor with ProcessorConfig({name}=…)"
            )
            raise ConfigError(msg)
        changed = self._current.with_changes(**{name: value})
        object.__setattr__(self, "_current", changed)
        self._on_change(changed)

    def __repr__(self) -> str:
        return f"<live {self._current!r}>"
