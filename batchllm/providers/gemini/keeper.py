"""Keeps one context cache of Gemini alive: finds it, makes it, renews it, ends it.

Whatever the number of callers, one of them at a time does what is to be done, and the others
wait for it and share its outcome. When the cache ends is reckoned on the event loop's own clock
from the answer to the last request that made or renewed it; a server's clock is only ever
compared with itself.

Several event loops may share a keeper. The name of the cache is one for all, since a cache is
paid for; times and waiting callers belong to a loop. While one loop makes a cache, the others
wait for it.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import math
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
import msgspec
from attrs import define, field

from batchllm.core import check_sendable
from batchllm.transport import LoopTable, OneMaker, SharedLock, redact

__all__ = ["CacheKeeper", "fingerprint", "status_of"]

_log = logging.getLogger("batchllm")
_GONE: Final = frozenset({403, 404})
_NAMES_A_CACHE: Final = re.compile(r"cached[ _]?content", re.IGNORECASE)


def fingerprint(model: str, cached: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Return the display name by which a cache is found again, the only field that is ours.

    Args:
        model: The model that it is for.
        cached: Its content, as the wire has it.
        tags: The user's own marks; caches with different ones are different.
    """
    check_sendable({"cached_content": cached, "cache_tags": tags})
    named = [model.removeprefix("models/"), cached, sorted(tags.items())]
    digest = hashlib.sha256(msgspec.json.encode(named, order="deterministic")).hexdigest()
    return f"batchllm-{digest[:40]}"


@define(eq=False)
class _OnLoop:
    """The share of one event loop: its clock's times, and the callers that wait there."""

    ends: float = -math.inf
    renew_at: float = -math.inf
    lock: anyio.Lock = field(factory=anyio.Lock)
    failures: int = 0
    failure: Exception | None = None

    async def close(self) -> None:
        """Let go; nothing is open."""

    def abandon(self) -> None:
        """Let go; nothing is open."""


@define(eq=False, kw_only=True)
class CacheKeeper:
    """Keeps the cache of one model with certain contents.

    Args:
        caches: A client's ``aio.caches``.
        model: The model that the cache is for.
        config: ``contents``, ``system_instruction``, ``display_name``: its content.
        ttl: Seconds that it lives after it was made or renewed.
        buffer: Seconds before its end in which it is renewed.
        renews: If it is renewed at all, or made anew when it is gone.

    Attributes:
        name: The cache's name; ``None`` before it is made and after it was deleted.
    """

    caches: Any
    model: str
    config: Mapping[str, Any]
    ttl: float
    buffer: float
    renews: bool
    name: str | None = field(default=None, init=False)
    _loops: LoopTable[_OnLoop] = field(factory=lambda: LoopTable(_OnLoop), init=False)
    _maker: OneMaker = field(factory=lambda: OneMaker(), init=False)
    # Invariant: of several loops that delete the cache one takes its name out, under the lock.
    _taking: SharedLock = field(factory=SharedLock, init=False)

    async def ensure(self) -> str:
        """Return the name of a cache that is alive, found, made or renewed if that is needed.

        Raises:
            Exception: What the client raised; a ``RuntimeError`` caused by it for callers that
                waited for the one whose request failed.
        """
        if self._due():
            async with self._alone():
                if self._due():
                    await self._refresh()
        assert self.name is not None
        return self.name

    async def replace(self, gone: str) -> str:
        """Return the name of a cache in place of one that is *gone*, made once for all callers."""
        if self.name == gone:
            async with self._alone():
                if self.name == gone:
                    self._forget()
                    await self._refresh()
        return await self.ensure()

    async def is_gone(self, name: str, error: Exception) -> bool:
        """Return whether a call failed with *error* because its cache is no longer there."""
        if status_of(error) not in _GONE:
            return False
        if _NAMES_A_CACHE.search(str(error)):
            return True
        try:
            await self.caches.get(name=name)
        except Exception as missing:  # of whichever client
            return status_of(missing) in _GONE
        return False

    async def delete(self) -> None:
        """End the cache, with one request however many ask for it; a failure is logged."""
        async with self._loops.of_this_loop().lock:
            with self._taking:
                name, self.name = self.name, None
            self._forget()
            if name is None:
                return
            try:
                await self.caches.delete(name=name)
            except Exception as error:  # of whichever client; the cache ends by itself anyway
                _log.warning(
                    "could not delete the Gemini cache %s (%s); it ends by itself within %g s",
                    name,
                    redact(str(error)),
                    self.ttl,
                )
            else:
                _log.info("deleted the Gemini cache %s", name)

    async def rest(self) -> None:
        """Keep the name only: the next user may come on another event loop, with its own clock."""
        await self._loops.close()

    def _forget(self) -> None:
        self.name = None
        here = self._loops.of_this_loop()
        here.ends = here.renew_at = -math.inf

    def _due(self) -> bool:
        here = self._loops.of_this_loop()
        if self.name is None or here.ends == -math.inf:
            return True
        return self.renews and anyio.current_time() >= here.renew_at

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None, None]:
        here = self._loops.of_this_loop()
        seen = here.failures
        async with here.lock:
            if here.failures != seen:
                msg = f"the context cache of {self.model} could not be made ready: {here.failure}"
                raise RuntimeError(msg) from here.failure
            try:
                yield
            except Exception as error:
                here.failures += 1
                here.failure = error
                raise
            here.failure = None

    async def _refresh(self) -> None:
        async with self._maker.alone():
            await self._find_or_make()

    async def _find_or_make(self) -> None:
        if self.name is not None:
            ends = self._loops.of_this_loop().ends
            if await self._renew(self.name, until=ends):
                return
        self._forget()
        found = await self._find()
        if found is not None and await self._renew(found):
            _log.info("using the Gemini cache %s, which was there already", found)
            return
        start = anyio.current_time()
        config = {**self.config, "ttl": f"{self.ttl:g}s"}
        cache = await self.caches.create(model=self.model, config=config)
        self._take(cache, start)
        _log.info("made the Gemini cache %s for %g s", self.name, self.ttl)

    async def _renew(self, name: str, *, until: float = -math.inf) -> bool:
        """Renew a cache that is alive *until* then, as far as is known; ``False``: it is gone."""
        start = anyio.current_time()
        try:
            cache = await self.caches.update(name=name, config={"ttl": f"{self.ttl:g}s"})
        except Exception as error:  # of whichever client
            if status_of(error) in _GONE:
                return False
            now = anyio.current_time()
            if now >= until:
                raise
            # It still serves: no call has to fail for this, and the next try is not the next call.
            self._loops.of_this_loop().renew_at = min(now + self.buffer / 4, until)
            said = redact(str(error))
            _log.warning("could not renew the Gemini cache %s (%s); trying again", name, said)
            return True
        self._take(cache, start)
        return True

    def _take(self, cache: Any, start: float) -> None:
        lifetime = _lifetime(cache) or self.ttl
        self.name = str(cache.name)
        here = self._loops.of_this_loop()
        here.ends = start + lifetime
        here.renew_at = here.ends - min(self.buffer, lifetime / 2)

    async def _find(self) -> str | None:
        """Find a cache with the same model, contents and tags: the one that ends last."""
        wanted, model = self.config["display_name"], self.model.removeprefix("models/")
        found: dict[str, datetime | None] = {}
        pages = self.caches.list()
        async for cache in await pages if inspect.isawaitable(pages) else pages:
            theirs = str(getattr(cache, "model", None) or model)
            if getattr(cache, "display_name", None) == wanted and theirs.endswith(model):
                found[str(cache.name)] = getattr(cache, "expire_time", None)
        return max(found, key=lambda name: _stamp(found[name]), default=None)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an exception of any client stands for."""
    values = (getattr(error, name, None) for name in ("status_code", "code", "status"))
    return next((value for value in values if isinstance(value, int)), None)


def _lifetime(cache: Any) -> float | None:
    start = getattr(cache, "update_time", None) or getattr(cache, "create_time", None)
    end = getattr(cache, "expire_time", None)
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return None
    seconds = (end - start) / timedelta(seconds=1)
    return seconds if seconds > 0 else None


def _stamp(time: object) -> float:
    return time.timestamp() if isinstance(time, datetime) else -math.inf
