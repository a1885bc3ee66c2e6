"""Spread calls over endpoints or keys."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, Generic

from attrs import Attribute, define, field
from typing_extensions import TypeVar

from batchllm.core import Category, ConfigError, ErrorInfo, Reply, RetryState, explain_arguments
from batchllm.llm_strategies.accept import StrategyLike
from batchllm.llm_strategies.composite import Composite, parts_of
from batchllm.llm_strategies.registry import llm
from batchllm.transport import Secret, SharedLock

__all__ = ["Balance", "KeyRotation"]

T = TypeVar("T", default=Any)

_OWN: Final = ("name", "api_keys", "weights")
# The endpoint is of no use at all, whatever the item.
_ENDPOINTS_OWN: Final = frozenset(
    {
        Category.AUTHENTICATION,
        Category.PERMISSION,
        Category.INSUFFICIENT_QUOTA,
        Category.MODEL_NOT_FOUND,
        Category.PARKED,
    }
)


def _check_weights(instance: Any, attribute: Attribute[Any], weights: tuple[Any, ...]) -> None:
    parts = len(instance.parts)
    if len(weights) != parts:
        msg = f"weights has {len(weights)} entries for {parts} strategies; give one for each"
        raise ConfigError(msg)
    for weight in weights:
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight < math.inf:
            msg = f"weights holds {weight!r}; give numbers above 0"
            raise ConfigError(msg)


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class Balance(Composite[T], Generic[T]):
    """Gives each call to the strategy that has the fewest, and keeps away from closed ones.

    A strategy is closed while its quota scope cools down after a rate limit or is parked; its
    share goes to the others. An endpoint that refuses its account, key or model is left for the
    next one at once; after any other failure the item's next attempt goes elsewhere if it can.

    Example::

        Balance(["vllm:qwen3", llm("vllm:qwen3", base_url="http://other:8000/v1")])

    Args:
        strategies: Each with a quota scope of its own, such as models at several addresses.
        weights: How much each can take, in proportion; by default all the same.

    Raises:
        StrategyError: *strategies* is empty or holds something else.
        ConfigError: *weights* are not as many, or one is no number above 0.
    """

    weights: tuple[float, ...] = field(init=False, validator=_check_weights)

    def __init__(
        self, strategies: Sequence[StrategyLike[T]], weights: Sequence[float] | None = None
    ) -> None:
        self.parts = parts_of(type(self).__name__, strategies)
        self.weights = (1.0,) * len(self.parts) if weights is None else tuple(weights)
        self._busy = [0] * len(self.parts)
        self._turn = 0
        # Invariant: calls are counted, and chosen by their counts, under the lock: several event
        # loops may share an instance, and a lost count would stay lost.
        self._lock = SharedLock()

    def __getstate__(self) -> dict[str, Any]:
        # Calls under way belong to the original, which counts their ends.
        return {**self.__dict__, "_busy": [0] * len(self.parts)}

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Call the strategy that is due.

        Raises:
            Exception: What it raised; what the last one raised where several are of no use.
        """
        tried: set[int] = set()
        while True:
            due = self._choose(memory, tried)
            tried.add(due)
            try:
                return await memory.call(self.parts[due], prompt, attempt, timeout)
            except Exception as error:
                self.keep(memory, due)
                info = self.meaning(error, self.parts[due], memory)
                if len(tried) == len(self.parts) or not _is_the_endpoints_own(info):
                    raise
            finally:
                with self._lock:
                    self._busy[due] -= 1

    def identity(self) -> Mapping[str, Any]:
        """Name the parts; which of them answers makes no difference."""
        return {**super().identity(), "weights": list(self.weights)}

    def _choose(self, memory: RetryState, tried: Collection[int]) -> int:
        left = [index for index in range(len(self.parts)) if index not in tried]
        left = [i for i in left if not memory.is_closed(self.parts[i])] or left
        left = [i for i in left if i != self.recall(memory)] or left
        count, busy = len(self.parts), self._busy
        with self._lock:
            turn = self._turn
            due = min(left, key=lambda i: ((busy[i] + 1) / self.weights[i], (i - turn) % count))
            self._turn = (due + 1) % count
            busy[due] += 1
        return due


@define(eq=False, slots=False, init=False, repr=False)
class KeyRotation(Balance[str]):
    """One model with several API keys: a ``Balance`` over them.

    Example::

        KeyRotation("openai:gpt-5-mini", [first_key, second_key])

    Args:
        name: The model, as for ``llm``.
        api_keys: The keys; each has a quota of its own.
        weights: How much each can take, in proportion; by default all the same.
        settings: More of the arguments of ``llm``.

    Raises:
        ConfigError: The name cannot be followed, or *weights* are wrong.
        StrategyError: *api_keys* is empty.
    """

    def __init__(
        self,
        name: str,
        api_keys: Sequence[str | Secret],
        weights: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        # Masked before anything can fail: a traceback shows what local variables hold.
        api_keys = [Secret(key) for key in api_keys]
        try:
            parts = [llm(name, api_key=key, **settings) for key in api_keys]
        except ConfigError as error:  # the class that was written is this one
            own = [near for one in settings for near in get_close_matches(one, _OWN, cutoff=0.8)]
            meant = f"; did you mean {own[0]}=…?" if own else ""
            raise type(error)(f"{type(self).__name__}: {error}{meant}") from error
        super().__init__(parts, weights)


def _is_the_endpoints_own(info: ErrorInfo) -> bool:
    return info.error_category in _ENDPOINTS_OWN
