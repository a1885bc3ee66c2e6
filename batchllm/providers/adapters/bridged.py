"""The base of the adapters of libraries that are asyncio inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, TypeVar

from attrs import Attribute, define, field

from batchllm.core import LLMCallStrategy, StrategyError, refuse
from batchllm.providers.adapters.bridge import AsyncioBridge

__all__ = ["BridgedStrategy", "comes_from", "has_method"]

T = TypeVar("T")


def comes_from(value: object, package: str) -> bool:
    """Return whether the class of *value*, or one of its bases, is defined in *package*."""
    modules = (kind.__module__ for kind in type(value).__mro__)
    return any(module.partition(".")[0] == package for module in modules)


def has_method(name: str, what: str, remedy: str) -> Callable[[Any, Attribute[Any], Any], None]:
    """Make the validator of that which is called.

    Args:
        name: The method that it has to have.
        what: What it is called in messages.
        remedy: What to give.
    """

    def check(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not callable(getattr(value, name, None)):
            msg = f"the {what} is a {type(value).__name__}, which has no {name}(); give {remedy}"
            raise StrategyError(msg)

    return check


def _is_bridge(instance: Any, attribute: Attribute[Any], bridge: object) -> None:
    if bridge is not None and not isinstance(bridge, bool | AsyncioBridge):
        refuse(instance, attribute, bridge, "True, False, None or an AsyncioBridge")


@define(eq=False, slots=False, init=False, repr=False)
class BridgedStrategy(LLMCallStrategy[T], Generic[T]):
    """Calls something that may need asyncio, by a bridge on every other event loop.

    Attributes:
        bridge: If a bridge is needed, or the bridge itself, to be shared with other runs. By
            default what comes from ``_package`` has one of its own.
    """

    per_loop = True

    _package: ClassVar[str]
    bridge: bool | AsyncioBridge | None = field(init=False, validator=_is_bridge)
    _bridge: AsyncioBridge | None = field(init=False)

    def _cross(self, called: object, bridge: bool | AsyncioBridge | None) -> None:
        """Keep the bridge by which *called* is called, if it needs one."""
        self.bridge = bridge
        needed = comes_from(called, self._package) if bridge is None else bool(bridge)
        own = bridge if isinstance(bridge, AsyncioBridge) else AsyncioBridge()
        self._bridge = own if needed else None

    async def prepare(self) -> None:
        """Keep the bridge, if there is one, until the matching ``cleanup``."""
        if self._bridge is not None:
            self._bridge.hold()

    async def cleanup(self) -> None:
        """Let go of the bridge."""
        if self._bridge is not None:
            await self._bridge.release()

    async def _call(
        self, function: Callable[..., Awaitable[Any]], /, *args: Any, **more: Any
    ) -> Any:
        if self._bridge is None:
            return await function(*args, **more)
        return await self._bridge.call(function, *args, **more)
