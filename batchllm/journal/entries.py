"""An item as its journal sees it, and the result that is written for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any, Final

import msgspec
from attrs import define, field, frozen

from batchllm.core import Category, ConfigError, InvalidItemError, LLMCallStrategy, WorkItemResult
from batchllm.journal.groups import Committed
from batchllm.journal.identity import (
    ItemKey,
    Occurrences,
    canonical_identity,
    changing,
    digest_of,
    key_of_id,
    nameless,
    without,
)
from batchllm.journal.ledger import Known, State
from batchllm.journal.payload import encode_result

_OUTSIDE: Final = frozenset(
    {
        Category.AUTHENTICATION,
        Category.INSUFFICIENT_QUOTA,
        Category.MODEL_NOT_FOUND,
        Category.PERMISSION,
    }
)
"""Failures whose reason lies outside of the item, so that the next run tries it again unasked."""

_FEW: Final = 16
"""Strategies whose identity is remembered: items share few, or have each its own."""

__all__ = ["Entry", "Identity", "Registrar", "committed", "state_of", "usage_as_json"]


@frozen
class Identity:
    """The name of a strategy: the canonical JSON of its ``identity()``, and its digest."""

    digest: bytes
    text: str

    @classmethod
    def of(cls, strategy: LLMCallStrategy[Any] | None, volatile: Collection[str] = ()) -> Identity:
        """Read a strategy's identity, but for fields that are known to be state.

        Raises:
            ConfigError: It calls a function that has no name to know it by.
        """
        identity = {} if strategy is None else strategy.identity()
        function = nameless(identity)
        if function is not None:
            msg = (
                f"a journal could not know the function {function} again, which has no name of "
                'its own; give from_callable(function, version="1"), another version whenever it '
                "gives other answers, or a function of a module"
            )
            raise ConfigError(msg)
        text = canonical_identity(identity)
        return cls.read(text, volatile)

    @classmethod
    def read(cls, text: str, volatile: Collection[str] = ()) -> Identity:
        """Read a canonical identity that was written before."""
        if volatile:
            text = canonical_identity(without(json.loads(text), volatile))
        return cls(hashlib.blake2b(text.encode(), digest_size=16).digest(), text)


@define(eq=False)
class Entry:
    """One item in one run.

    Attributes:
        key: Finds it again.
        prompt: The digest of its prompt.
        identity: Of its strategy.
        own: Whether that is the item's own and not the run's.
        position: Its position in the input.
        text: Its prompt, to be kept.
        started: When its first call began, in seconds since 1970; 0 before.
        calls: The numbers of its calls under way, or answered and not yet written.
        known: What the journal has of it, once it was looked up.
    """

    key: ItemKey
    prompt: bytes | None
    identity: Identity
    own: bool
    position: int
    text: Any = None
    started: float = 0.0
    calls: list[int] = field(factory=list)
    known: Known | None = None


@define(eq=False)
class Registrar:
    """Makes the entries of one run, in the order of the input.

    Args:
        salt: The key of the journal's digests.
        strategy: The run's own.
        volatile: Fields of strategies that runs have changed, and so are state.
        source: The name of the input; ``""`` if there is only one.
    """

    salt: bytes
    strategy: LLMCallStrategy[Any] | None
    volatile: frozenset[str] = frozenset()
    source: str = ""
    identity: Identity = field(init=False)
    _occurrences: Occurrences = field(factory=Occurrences, init=False)
    _seen: list[tuple[LLMCallStrategy[Any], Identity]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.identity = Identity.of(self.strategy, self.volatile)
        if self.strategy is not None:
            self._seen.append((self.strategy, self.identity))

    def enter(
        self,
        item_id: str | None,
        prompt: Any,
        position: int,
        strategy: LLMCallStrategy[Any] | None = None,
    ) -> Entry:
        """Make the entry of the next item.

        Args:
            item_id: Its own id, ``None`` if it has none.
            prompt: Its prompt, as it was submitted.
            position: From 0.
            strategy: Its own, ``None`` for the run's.

        Raises:
            InvalidItemError: It can be found again neither by an id nor by its prompt.
        """
        digest = digest_of(prompt, self.salt)
        if item_id is not None:
            key = key_of_id(self.source, item_id)
        elif digest is not None:
            key = self._occurrences.key(self.source, digest)
        else:
            msg = (
                f"item {position}: its prompt has no canonical form, so a journal could not find "
                "it again; give the item an id"
            )
            raise InvalidItemError(msg)
        if strategy is None:
            return Entry(key, digest, self.identity, False, position, prompt)
        return Entry(key, digest, self._identity_of(strategy), True, position, prompt)

    def glance(self, item_id: str, prompt: str) -> tuple[ItemKey, bytes | None]:
        """Return key and digest of an item with an id and a text, without entering it."""
        return key_of_id(self.source, item_id), digest_of(prompt, self.salt)

    def _identity_of(self, strategy: LLMCallStrategy[Any]) -> Identity:
        for seen, identity in self._seen:
            if seen is strategy:
                return identity
        identity = Identity.of(strategy, self.volatile)
        if len(self._seen) < _FEW:
            self._seen.append((strategy, identity))
        return identity

    def changed_by_the_run(self) -> frozenset[str]:
        """Return the fields of strategies that have other values now than at the beginning."""
        found: set[str] = set()
        for strategy, before in self._seen:
            now = canonical_identity(strategy.identity())
            found |= changing(json.loads(before.text), json.loads(now))
        return frozenset(found)


def committed(
    entry: Entry,
    result: WorkItemResult[Any, Any],
    *,
    now: float,
    pending: bool,
    keep_inputs: bool,
    row_end: int | None,
) -> Committed:
    """Make the row of a result.

    Args:
        entry: Its item.
        result: What became of it.
        now: Seconds since 1970.
        pending: Whether a post-processor is still to be called.
        keep_inputs: Whether prompt and context are kept.
        row_end: 0 if an output file is to get a row for it, else ``None``.

    Raises:
        JournalError: Its output has no form in JSON.
    """
    usage = result.token_usage
    return Committed(
        entry.key,
        entry.prompt,
        entry.identity.digest,
        entry.own,
        state_of(result),
        pending,
        entry.position,
        entry.started or now,
        now,
        result.cost,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        row_end,
        encode_result(result, prompt=entry.text, keep_inputs=keep_inputs),
    )


def state_of(result: WorkItemResult[Any, Any]) -> State:
    """Return how an item ended, as a journal keeps it."""
    if result.success:
        return State.DONE
    return State.BLOCKED if result.error_category in _OUTSIDE else State.FAILED


def usage_as_json(usage: Any) -> str | None:
    """Write the tokens of a call."""
    return msgspec.json.encode(usage).decode() if usage else None
