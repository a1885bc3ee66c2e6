"""Gemini's context caches as resources, and the pages on which they are listed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Self

from attrs import define, field, frozen

from batchllm.core import MalformedResponseError
from batchllm.providers.wire import JsonObject, mappings_of

__all__ = ["CachePager", "CachedContent", "read_cache"]


@frozen(kw_only=True)
class CachedContent:
    """A context cache; its contents are never shown.

    Attributes:
        name: Names it in requests: ``cachedContents/…``.
        model: The model that it is for: ``models/…``.
        display_name: The name that its maker gave it.
        create_time: When it was made, by the server's clock.
        update_time: When it was last renewed.
        expire_time: When it ends.
        usage_metadata: How many tokens it holds.
    """

    name: str
    model: str | None = None
    display_name: str | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    expire_time: datetime | None = None
    usage_metadata: Any = None


def read_cache(resource: JsonObject) -> CachedContent:
    """Read the resource as the wire has it.

    Raises:
        MalformedResponseError: It has no name.
    """
    name = resource.get("name")
    if not isinstance(name, str) or not name:
        msg = "gemini answered with a cache that has no name"
        raise MalformedResponseError(msg, status=200)
    return CachedContent(
        name=name,
        model=resource.get("model"),
        display_name=resource.get("displayName"),
        create_time=_time(resource.get("createTime")),
        update_time=_time(resource.get("updateTime")),
        expire_time=_time(resource.get("expireTime")),
        usage_metadata=resource.get("usageMetadata"),
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


@define(eq=False)
class CachePager:
    """Goes through a list of caches, fetching the next page when one is at its end."""

    _fetch: Callable[[str], Awaitable[JsonObject]]
    _page: JsonObject
    _rows: list[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rows = mappings_of(self._page.get("cachedContents"))[::-1]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CachedContent:
        while not self._rows:
            token = self._page.get("nextPageToken")
            if not token:
                raise StopAsyncIteration
            self._page = await self._fetch(token)
            self._rows = mappings_of(self._page.get("cachedContents"))[::-1]
        return read_cache(self._rows.pop())
