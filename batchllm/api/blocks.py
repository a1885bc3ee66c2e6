"""Blocks that are entered by ``with``, and say so if they are used in another way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import NoReturn, ParamSpec, TypeVar, final

__all__ = ["entered_by", "entered_by_async"]

P = ParamSpec("P")
T = TypeVar("T")


class _Misuse:
    """Everything but entering a block raises a ``TypeError`` that shows how to enter it."""

    def __init__(self, usage: str) -> None:
        self._usage = usage

    def _refuse(self, *_: object) -> NoReturn:
        msg = f"this has to be entered before it can be used: {self._usage}"
        raise TypeError(msg)

    __iter__ = __next__ = __aiter__ = __anext__ = __await__ = _refuse


@final
class _Block(_Misuse, AbstractContextManager[T]):
    def __init__(self, block: AbstractContextManager[T], usage: str) -> None:
        super().__init__(usage)
        self._block = block

    def __enter__(self) -> T:
        return self._block.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._block.__exit__(exc_type, exc, traceback)

    __aenter__ = __aexit__ = _Misuse._refuse


@final
class _AsyncBlock(_Misuse, AbstractAsyncContextManager[T]):
    def __init__(self, block: AbstractAsyncContextManager[T], usage: str) -> None:
        super().__init__(usage)
        self._block = block

    async def __aenter__(self) -> T:
        return await self._block.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._block.__aexit__(exc_type, exc, traceback)

    __enter__ = __exit__ = _Misuse._refuse


def entered_by_async(
    usage: str,
) -> Callable[
    [Callable[P, AbstractAsyncContextManager[T]]], Callable[P, AbstractAsyncContextManager[T]]
]:
    """Make what a function returns show *usage* if it is used other than by ``async with``.

    It stands above ``@asynccontextmanager``, which the linters for async code look for.
    """

    def decorate(
        make: Callable[P, AbstractAsyncContextManager[T]],
    ) -> Callable[P, AbstractAsyncContextManager[T]]:
        @wraps(make)
        def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
            return _AsyncBlock(make(*args, **kwargs), usage)

        return enter

    return decorate


def entered_by(
    usage: str,
) -> Callable[[Callable[P, AbstractContextManager[T]]], Callable[P, AbstractContextManager[T]]]:
    """Make what a function returns show *usage* if it is used other than by ``with``."""

    def decorate(
        make: Callable[P, AbstractContextManager[T]],
    ) -> Callable[P, AbstractContextManager[T]]:
        @wraps(make)
        def enter(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
            return _Block(make(*args, **kwargs), usage)

        return enter

    return decorate
