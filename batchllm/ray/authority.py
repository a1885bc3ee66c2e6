"""The authority of one quota as an actor of Ray, and what asks it.

A call to an actor takes one or two milliseconds and is made once for a dozen calls of a model. Ray
may start the actor anew if its process dies; it gives no slot then until those that it gave before
are over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import anyio.to_thread
from attrs import define, field

from batchllm.core import BatchError, ConfigError, kind_of
from batchllm.policy import Lease, LeaseRequest
from batchllm.ray.libraries import load_ray
from batchllm.shared import GateUnreachableError, MemoryLeases

__all__ = ["NAMESPACE", "Authority", "RayLeases", "StaleWorkerError", "start_authority"]

NAMESPACE: Final = "batchllm"
"""The namespace of our actors, so that all jobs of a cluster find them."""
_TIMEOUT: Final = 5.0
"""Seconds for one answer, after which it is asked again."""


class StaleWorkerError(BatchError):
    """A worker was taken for dead and lives: its blocks are worked on by others, so it ends."""


@define(eq=False)
class Authority:
    """Gives leases to the workers of any number of runs. Its methods are called by Ray.

    Args:
        lost: Whether there may have been one before, whose slots may still be good.
    """

    lost: bool = False
    _leases: MemoryLeases = field(init=False)
    _retired: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._leases = MemoryLeases(lost=self.lost)

    async def lease(self, request: LeaseRequest, worker: str) -> tuple[Lease | None, str]:
        """Return a lease; ``None`` and what is wrong, if anything is.

        Args:
            request: As for a ``LeaseStore``.
            worker: The name under which the worker may be retired; empty for others.
        """
        if worker in self._retired:
            return None, ""
        try:
            return await self._leases.lease(request), ""
        except ConfigError as error:
            return None, str(error)

    async def retire(self, worker: str) -> None:
        """Give no more leases to a worker that is taken for dead."""
        self._retired.add(worker)

    async def ready(self) -> bool:
        """Answer, once it runs."""
        return True


def start_authority(name: str, *, shared: bool, lost: bool, options: dict[str, Any]) -> Any:
    """Start the actor, or find the one that other jobs share.

    Args:
        name: Of the actor.
        shared: Whether it is one for several jobs, which outlives them.
        lost: As for ``Authority``.
        options: Of Ray, such as the node that it is to run on.
    """
    ray = load_ray()
    lifetime = {"lifetime": "detached", "get_if_exists": True} if shared else {}
    actor = ray.remote(_Restartable).options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=0,
        **lifetime,
        **options,
    )
    return actor.remote(lost)


class _Restartable(Authority):
    """An authority that knows if Ray has started it anew."""

    def __init__(self, lost: bool) -> None:
        with warnings.catch_warnings(action="ignore"):  # of Ray, about itself
            again = load_ray().get_runtime_context().was_current_actor_reconstructed
        super().__init__(lost=lost or again)


class RayLeases:
    """A ``LeaseStore`` over an actor of Ray, for a ``SharedGate`` in any actor or task.

    Example::

        gate = SharedGate(RayLeases("openai"), requests_per_minute=3_000)

    All that name the same keep one quota, whatever job they belong to. The actor is started by the
    first of them and stays until ``ray.kill(ray.get_actor("openai", namespace="batchllm"))``, or
    until the cluster ends.

    Args:
        name: Of the quota, or the actor itself.

    Raises:
        ConfigError: *name* is no name.
        ImportError: Ray is not installed.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            msg = f"RayLeases(name=…) is {name!r}, {kind_of(name)}; give a name such as 'openai'"
            raise ConfigError(msg)
        load_ray()
        self._find: Callable[[], Any] = partial(
            start_authority, name, shared=True, lost=False, options={}
        )
        self._shown, self._worker = repr(name), ""
        self._actor: Any = None

    @classmethod
    def of_actor(cls, actor: Any, worker: str) -> RayLeases:
        """Return the store of a worker that may be retired under its name."""
        store = cls.__new__(cls)
        store._find, store._shown, store._worker = (lambda: actor), "…", worker
        store._actor = actor
        return store

    def __repr__(self) -> str:
        return f"RayLeases({self._shown})"

    async def lease(self, request: LeaseRequest) -> Lease:
        """Book slots for the calls of one worker; see ``LeaseStore``.

        Raises:
            StaleWorkerError: The worker is taken for dead.
        """
        ask = partial(self._ask, request)
        lease, problem = await anyio.to_thread.run_sync(ask, abandon_on_cancel=True)
        if lease is not None:
            return lease
        if problem:
            raise ConfigError(problem)
        msg = f"the worker {self._worker} was taken for dead, and others have its blocks; it ends"
        raise StaleWorkerError(msg)

    def _ask(self, request: LeaseRequest) -> tuple[Lease | None, str]:
        ray = load_ray()
        try:
            if self._actor is None:
                self._actor = self._find()
            # A future, and not ray.get, which warns of an event loop that would be blocked.
            answer = self._actor.lease.remote(request, self._worker).future()
            return cast("tuple[Lease | None, str]", answer.result(_TIMEOUT))
        except (ray.exceptions.RayActorError, TimeoutError) as error:
            msg = f"the authority of a shared gate, an actor of Ray, does not answer: {error}"
            raise GateUnreachableError(msg) from error
