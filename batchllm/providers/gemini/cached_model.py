"""A Gemini model with a context that is cached once and shared by every call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
from attrs import Attribute, define, field

from batchllm.core import (
    CallCost,
    ConfigError,
    ErrorClassifier,
    LLMResponse,
    QuotaScope,
    explain_arguments,
    number,
    one_of,
    refuse,
    switch,
)
from batchllm.providers.gemini.keeper import CacheKeeper, fingerprint
from batchllm.providers.gemini.model import GeminiModel, second_instruction
from batchllm.providers.gemini.prompt import as_contents, as_instruction
from batchllm.providers.wire import Progress
from batchllm.transport import ConnectionStats, SharedLock, WithoutKeys

__all__ = ["GeminiCachedModel"]

_log = logging.getLogger("batchllm")

_CLOSE_SECONDS: Final = 5.0
"""Seconds to close connections after a ``prepare`` that failed: TLS ends in a round trip."""


def _check_texts(instance: Any, attribute: Attribute[Any], tags: Mapping[Any, Any]) -> None:
    if not isinstance(tags, Mapping) or not all(isinstance(one, str) for one in tags.values()):
        refuse(instance, attribute, tags, "a mapping of texts")


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class GeminiCachedModel:
    """One Gemini model and a context cache for it; a ``ManagedLLMModel``.

    Share one instance among all items: it keeps one cache, whatever the number of calls at
    once. A cache with the same model, contents and tags that is there already is used again.

    Args:
        model: Its name, such as ``"gemini-2.5-flash"``.
        client: A ``GeminiClient``, a ``google.genai.Client``, or anything that has the latter's
            ``aio.models.generate_content`` and ``aio.caches``.
        cached_content: The context, in any shape that a prompt may have. ``None`` if
            *system_instruction* is all there is.
        cache_ttl_seconds: Seconds that the cache lives after it was made or renewed.
        cache_renewal_buffer_seconds: Seconds before its end in which it is renewed.
        auto_renew: If it is renewed, and made anew when the provider no longer has it.
        cache_tags: Marks of your own, such as a customer's id: all have to match for a cache to
            be used again.
        safety_settings: For every request.
        delete_on_cleanup: If the last ``cleanup`` deletes the cache, too. Otherwise it
            stays for the next run, and ends by itself.
        system_instruction: Cached with the contents.
        parameters: See ``GeminiModel``.
        extra: See ``GeminiModel``.
        schema: See ``GeminiModel``.
        stream: See ``GeminiModel``.

    Raises:
        ConfigError: The buffer is not shorter than the TTL, or there is nothing to cache.

    Warns:
        UserWarning: The TTL (10 to 60 s) or the buffer (below 60 s) is so short that caching
            hardly pays, or calls may outlast it.
    """

    per_loop = True

    cache_ttl_seconds: float = field(init=False, validator=number(above=0))
    cache_renewal_buffer_seconds: float = field(
        init=False, validator=one_of((int, float), "a number of seconds")
    )
    auto_renew: bool = field(init=False, validator=switch)
    cache_tags: Mapping[str, str] = field(init=False, validator=_check_texts)
    delete_on_cleanup: bool = field(init=False, validator=switch)

    def __init__(
        self,
        model: str,
        client: Any,
        cached_content: Any,
        *,
        cache_ttl_seconds: float = 3600,
        cache_renewal_buffer_seconds: float = 300,
        auto_renew: bool = True,
        cache_tags: Mapping[str, str] | None = None,
        safety_settings: Sequence[Mapping[str, Any]] | None = None,
        delete_on_cleanup: bool = False,
        system_instruction: Any = None,
        parameters: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> None:
        self.cache_ttl_seconds = cache_ttl_seconds
        self.cache_renewal_buffer_seconds = cache_renewal_buffer_seconds
        self.auto_renew = auto_renew
        self.cache_tags = {} if cache_tags is None else cache_tags
        self.delete_on_cleanup = delete_on_cleanup
        _check_times(cache_ttl_seconds, cache_renewal_buffer_seconds)
        self._inner = GeminiModel(
            model,
            client,
            safety_settings=safety_settings,
            parameters=parameters,
            extra=extra,
            schema=schema,
            stream=stream,
        )
        cached = _as_cached(cached_content, system_instruction)
        display_name = fingerprint(model, cached, self.cache_tags)
        self._holders = 0
        self._failed = 0
        # Invariant: holders are counted under the lock, since several event loops may hold it.
        self._lock = SharedLock()
        self._keeper = CacheKeeper(
            caches=client.aio.caches,
            model=model,
            config={**cached, "display_name": display_name},
            ttl=cache_ttl_seconds,
            buffer=cache_renewal_buffer_seconds,
            renews=auto_renew,
        )

    def __repr__(self) -> str:
        client = type(self._inner.client).__name__
        return f"GeminiCachedModel({self.model!r}, {client}, cache={self.cache_name!r})"

    @property
    def model(self) -> str:
        """The model's name."""
        return self._inner.model

    @property
    def cache_name(self) -> str | None:
        """The name of the cache in use, ``None`` before it is made and after its deletion."""
        return self._keeper.name

    @property
    def quota_scope(self) -> QuotaScope:
        """The quota that calls count against."""
        return self._inner.quota_scope

    @property
    def error_classifier(self) -> ErrorClassifier:
        """Says what the provider's errors mean."""
        return self._inner.error_classifier

    async def prepare(self) -> None:
        """Find or make the cache. May be called by several runs.

        Raises:
            Exception: What the client raised; nothing is held then.
        """
        with self._lock:
            self._failed = 0  # of a user's own, who does not clean up after it
        await self._inner.prepare()
        try:
            await self._ensure()
        except BaseException:
            with self._lock:
                self._failed += 1
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await self._inner.cleanup()
            raise
        with self._lock:
            self._holders += 1

    async def cleanup(self) -> None:
        """Keep the cache for the next run, unless ``delete_on_cleanup`` was asked for.

        Only the last of several runs does anything.
        """
        with self._lock:
            if self._failed:
                # A run cleans up after a prepare that failed, too. It let go by itself, and what is
                # held now is held by others.
                self._failed -= 1
                return
            self._holders = max(0, self._holders - 1)
            is_last = not self._holders
        if is_last:
            if self.delete_on_cleanup:
                await self.delete_cache()
            elif self.cache_name is not None:
                _log.info("the Gemini cache %s stays, and ends by itself", self.cache_name)
            await self._keeper.rest()
        await self._inner.cleanup()

    def connection_stats(self) -> Mapping[int, ConnectionStats]:
        """Return what became of the connections on the running loop, by transport."""
        return self._inner.connection_stats()

    async def delete_cache(self) -> None:
        """Delete the cache now. However many call this, one request goes out.

        A failure is logged, since the cache ends by itself.
        """
        await self._keeper.delete()

    async def generate(
        self,
        prompt: Any,
        *,
        temperature: float | None = None,
        system_instruction: Any = None,
        config: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> LLMResponse:
        """Answer *prompt* with the cached context before it; see ``GeminiModel.generate``.

        The cache is renewed first when its end is near. If the provider no longer has it, it is
        made anew and the call repeated, once.

        Raises:
            ValueError: A *system_instruction* is given: it belongs to the cache.
            RuntimeError: There is no cache, and ``auto_renew`` is off: call ``prepare`` first.
        """
        if system_instruction is not None:
            raise second_instruction()
        settings = {"temperature": temperature, "progress": progress}
        name = await self._ensure() if self.auto_renew else self.cache_name
        if name is None:
            msg = "there is no cache yet; call prepare() first, or leave auto_renew on"
            raise RuntimeError(msg)
        try:
            return await self._ask(prompt, name, config, settings)
        except Exception as error:  # of whichever client
            if not self.auto_renew or not await self._keeper.is_gone(name, error):
                raise
            _log.info("the Gemini cache %s is gone; making it anew", name)
        with WithoutKeys(self._inner.client):
            name = await self._keeper.replace(name)
        return await self._ask(prompt, name, config, settings)

    def estimate(self, prompt: Any) -> CallCost | None:
        """Estimate the tokens of a call beside those that are cached."""
        return self._inner.estimate(prompt)

    def identity(self) -> Mapping[str, Any]:
        """Name what distinguishes this model's answers, the cached context included."""
        cached = self._keeper.config["display_name"]
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {**self._inner.identity(), "class": name, "cached_content": cached}

    async def _ensure(self) -> str:
        with WithoutKeys(self._inner.client):
            return await self._keeper.ensure()

    async def _ask(
        self,
        prompt: Any,
        name: str,
        config: Mapping[str, Any] | None,
        settings: Mapping[str, Any],
    ) -> LLMResponse:
        cached = {**(config or {}), "cached_content": name}
        return await self._inner.generate(prompt, config=cached, **settings)


def _as_cached(content: Any, instruction: Any) -> dict[str, Any]:
    """Return the content of the cache, as the wire has it."""
    parts = [] if instruction is None else as_instruction(instruction)["parts"]
    contents: list[dict[str, Any]] = []
    if content is not None and content != []:
        system, contents = as_contents(content)
        parts = [*parts, *system]
    if not parts and not contents:
        msg = "there is nothing to cache; give cached_content or system_instruction"
        raise ConfigError(msg)
    cached: dict[str, Any] = {"contents": contents} if contents else {}
    return {**cached, "system_instruction": {"parts": parts}} if parts else cached


def _check_times(ttl: float, buffer: float) -> None:
    # Warnings name the line that made the model: above __init__ and the check of its arguments.
    if not 0 <= buffer < ttl:
        msg = (
            f"cache_renewal_buffer_seconds is {buffer:g} and cache_ttl_seconds {ttl:g}; the "
            "buffer has to be shorter than the TTL, and not negative"
        )
        raise ConfigError(msg)
    if 10 <= ttl < 60:
        msg = (
            f"cache_ttl_seconds is {ttl:g}: a cache that ends within a minute costs more than it "
            "saves; give 300 or more"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    if buffer < 60:
        msg = (
            f"cache_renewal_buffer_seconds is {buffer:g}: a call that takes longer may find the "
            "cache gone; give 60 or more"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
