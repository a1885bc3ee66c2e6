"""The gate of a run that shares its quota with others: ``--share``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from batchllm.cli.exits import UsageError
from batchllm.core import ConfigError, ProcessorConfig

if TYPE_CHECKING:
    from batchllm.shared import SharedGate

__all__ = ["shared_gate"]


def shared_gate(
    share: str | None, hold: float | None, config: ProcessorConfig
) -> tuple[SharedGate | None, ProcessorConfig]:
    """Return the gate, and the settings without the limits that it keeps.

    Args:
        share: A file, or the address of ``batchllm serve-gate``; ``None`` if nothing is shared.
        hold: Seconds for which a slot is good; ``None`` for what suits the store.
        config: The settings of the run.

    Raises:
        UsageError: *share* cannot be used, or *hold* has nothing to do with the run.
    """
    if share is None:
        if hold is not None:
            msg = "--hold is for runs that share a quota; give --share, too, or leave it out"
            raise UsageError(msg)
        return None, config
    from batchllm.shared import SharedGate  # loaded by the few runs that share

    store = share if share.startswith(("http://", "https://", "sqlite:")) else f"sqlite:{share}"
    try:
        gate = SharedGate(
            store,
            requests_per_minute=config.max_requests_per_minute,
            tokens_per_minute=config.max_tokens_per_minute,
            rate_limit=config.rate_limit,
            park_after=config.park_after,
            outage_after=config.outage_after,
            seed=config.seed,
            hold=hold,
        )
    except ConfigError as error:
        msg = f"--share: {error}"
        raise UsageError(msg) from None
    return gate, evolve(config, max_requests_per_minute=None, max_tokens_per_minute=None)
