"""The provider's memory of prompt prefixes, which makes their repetition cheap."""

from attrs import define, evolve, field

from batchllm.simulator.wires import Answer, Prefix


@define(eq=False)
class PromptCache:
    """Prefixes by digest with the time at which each is forgotten."""

    _until: dict[str, float] = field(init=False, factory=dict)

    def apply(self, answer: Answer, prefix: Prefix, now: float) -> Answer:
        """The answer with the prefix counted as read, or as written where that is told apart."""
        known = self._until.get(prefix.digest, now) > now
        self._until[prefix.digest] = now + prefix.lifetime
        if known:
            return evolve(answer, cached_tokens=prefix.tokens)
        return evolve(answer, cache_write_tokens=prefix.tokens) if prefix.explicit else answer
