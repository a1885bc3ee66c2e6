"""The lines that a run takes: a shard of them, a sample, the first so many."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from attrs import define, field, frozen

from batchllm.cli.exits import UsageError

__all__ = ["Choice", "Chooser", "Shard"]


@frozen
class Shard:
    """One of several runs that share an input.

    Attributes:
        number: Counted from 1.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``k/n``.

        Raises:
            UsageError: It is not two whole numbers, or the first is not one of them.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            msg = f"--shard is {text}; give k/n, such as 1/4 for the first of four"
            raise UsageError(msg)
        return cls(int(number), int(of))

    def has(self, item_id: Any) -> bool:
        """Return whether a line belongs to it: by a hash, so that a new line moves no other."""
        digest = hashlib.blake2b(str(item_id).encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(digest.digest(), "big") % self.of == self.number - 1


@frozen(kw_only=True)
class Choice:
    """The lines that are taken: a shard of the input first, then a sample, then the first.

    Attributes:
        limit: The most lines.
        sample: So many lines, by chance.
        seed: The same lines come each time.
        shard: One part of the input.
    """

    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    shard: Shard | None = None

    def __attrs_post_init__(self) -> None:
        for option, value in (("--limit", self.limit), ("--sample", self.sample)):
            if value is not None and value < 0:
                msg = f"{option} is {value}; give 0 or more"
                raise UsageError(msg)
        if self.sample is not None and self.shard is not None:
            msg = "--sample and --shard cannot be given together; take a sample by --limit"
            raise UsageError(msg)

    def most(self, lines: int) -> int:
        """Return how many of *lines* are taken at most."""
        for bound in (self.sample, self.limit):
            lines = lines if bound is None else min(lines, bound)
        return lines


@define(eq=False)
class Chooser:
    """Decides line by line.

    Args:
        choice: What the user wants.
        lines: How many there are; needed for a sample.
    """

    choice: Choice
    lines: int | None = None
    _seen: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _sample: frozenset[int] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.choice.sample is not None:
            among = self.lines or 0
            drawn = random.Random(self.choice.seed).sample(
                range(among), min(among, self.choice.sample)
            )
            self._sample = frozenset(drawn)

    @property
    def is_done(self) -> bool:
        """True once no further line will be taken."""
        limit = self.choice.limit
        return limit is not None and self._taken >= limit

    def takes(self, item_id: Any) -> bool:
        """Return whether the next line is taken."""
        place, shard = self._seen, self.choice.shard
        self._seen += 1
        if self.is_done or (shard is not None and not shard.has(item_id)):
            return False
        if self._sample is not None and place not in self._sample:
            return False
        self._taken += 1
        return True
