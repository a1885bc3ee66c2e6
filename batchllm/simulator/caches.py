"""A provider's memory of prompts: context caches made on demand, and prefixes seen before."""

from typing import Any

from attrs import define, evolve, field

from batchllm.simulator.wires import Answer, Call, Prefix, Problem, cache_resource

_DEFAULT_LIFETIME = 3600.0


@define(kw_only=True, eq=False)
class ContextCache:
    """One cache; times are seconds since 1970."""

    name: str
    model: str
    display_name: str | None
    tokens: int
    created: float
    updated: float
    expires: float

    def resource(self) -> dict[str, Any]:
        """Return the cache as Gemini shows it."""
        return cache_resource(
            name=self.name,
            model=self.model,
            display_name=self.display_name,
            created=self.created,
            updated=self.updated,
            expires=self.expires,
            tokens=self.tokens,
        )


@define(kw_only=True)
class CacheCounts:
    """Counts of caches: made, renewed, ended, alive now, and alive at once at most."""

    created: int = 0
    renewed: int = 0
    deleted: int = 0
    expired: int = 0
    alive: int = 0
    most_alive: int = 0


@define(eq=False)
class ContextCaches:
    """All caches by name. A cache that has expired is gone, as if it had never been."""

    shortest: int = 0
    counts: CacheCounts = field(init=False, factory=CacheCounts)
    _caches: dict[str, ContextCache] = field(init=False, factory=dict)

    def get(self, name: str, now: float) -> ContextCache | None:
        """Return the cache of that name, if it is alive."""
        self.forget_expired(now)
        return self._caches.get(name)

    def control(self, call: Call, now: float) -> dict[str, Any] | Problem:
        """Do what a control call asks for; return the resource to show, or the problem."""
        self.forget_expired(now)
        action, name = call.details["action"], call.details["name"]
        if action == "create":
            return self._create(call, now)
        if action == "list":
            return self._list(call)
        cache = self._caches.get(name)
        if cache is None:
            return missing_cache(name)
        match action:
            case "update":
                cache.expires = _expiry(call, now, default=cache.expires)
                cache.updated = now
                self.counts.renewed += 1
                return cache.resource()
            case "delete":
                del self._caches[name]
                self.counts.deleted += 1
                self.counts.alive -= 1
                return {}
            case _:
                return cache.resource()

    def forget_expired(self, now: float) -> None:
        """End the caches whose time is over."""
        for name in [name for name, cache in self._caches.items() if cache.expires <= now]:
            del self._caches[name]
            self.counts.expired += 1
            self.counts.alive -= 1

    def _create(self, call: Call, now: float) -> dict[str, Any] | Problem:
        if call.input_tokens < self.shortest:
            message = (
                f"Cached content is too small. total_token_count={call.input_tokens}, "
                f"min_total_token_count={self.shortest}"
            )
            return Problem(status=400, kind="invalid_request", message=message)
        counts = self.counts
        counts.created += 1
        counts.alive += 1
        counts.most_alive = max(counts.most_alive, counts.alive)
        cache = ContextCache(
            name=f"cachedContents/sim{counts.created:06d}",
            model=call.details["model"],
            display_name=call.details["display_name"],
            tokens=call.input_tokens,
            created=now,
            updated=now,
            expires=_expiry(call, now, default=now + _DEFAULT_LIFETIME),
        )
        self._caches[cache.name] = cache
        return cache.resource()

    def _list(self, call: Call) -> dict[str, Any]:
        start, size = call.details["page_token"], call.details["page_size"]
        caches = list(self._caches.values())
        page: dict[str, Any] = {}
        if shown := caches[start : start + size]:
            page["cachedContents"] = [cache.resource() for cache in shown]
        if start + size < len(caches):
            page["nextPageToken"] = str(start + size)
        return page


def missing_cache(name: str) -> Problem:
    """Return the answer to a call that names a cache which is not there."""
    message = f"CachedContent not found (or permission denied): {name}"
    return Problem(status=404, kind="not_found", message=message)


def _expiry(call: Call, now: float, *, default: float) -> float:
    if "ttl" in call.details:
        return float(now + call.details["ttl"])
    return float(call.details.get("expires", default))


@define(eq=False)
class PromptCache:
    """Prefixes by digest with the time at which each is forgotten."""

    _until: dict[str, float] = field(init=False, factory=dict)

    def apply(self, answer: Answer, prefix: Prefix, now: float) -> Answer:
        """Return the answer with the prefix counted as read, or as written if that is billed."""
        known = self._until.get(prefix.digest, now) > now
        self._until[prefix.digest] = now + prefix.lifetime
        if known:
            return evolve(answer, cached_tokens=prefix.tokens)
        return evolve(answer, cache_write_tokens=prefix.tokens) if prefix.explicit else answer
