"""``--mode batch``: its options, and what does not go together with it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from batchllm.cli.configuring import seconds_of
from batchllm.cli.exits import UsageError
from batchllm.cli.settings import RunSettings
from batchllm.core import ConfigError, LLMCallStrategy, ProcessorConfig
from batchllm.policy import PriceBook

__all__ = ["batch_options", "check_batch_mode"]


def batch_options(settings: RunSettings) -> dict[str, Any]:
    """Return the arguments of the mode, as a batch takes them.

    Raises:
        UsageError: They do not go together.
    """
    if settings.mode == "online":
        if settings.detach:
            msg = "--detach belongs to batches of the provider; give --mode batch too"
            raise UsageError(msg)
        return {}
    deadline = None if settings.deadline is None else seconds_of(settings.deadline)
    return {
        "mode": "batch",
        "deadline": deadline,
        "on_late": settings.on_late,
        "batch_rounds": settings.batch_rounds,
        "chunk_size": settings.chunk_size,
        "on_ambiguous": settings.on_ambiguous,
        "on_foreign_cancel": settings.on_foreign_cancel,
        "on_cancel": settings.on_cancel,
        "on_lost": settings.on_lost,
        "hedge_budget": settings.hedge_budget,
        "verify_echo": settings.verify_echo,
        "detach": settings.detach,
    }


def check_batch_mode(
    settings: RunSettings,
    config: ProcessorConfig,
    strategy: LLMCallStrategy[Any],
    *,
    single: bool,
    has_journal: bool,
) -> None:
    """Pass if the provider's batches can take what is to be done, before any file is touched.

    Args:
        settings: The options.
        config: The settings of the batch.
        strategy: For ``--model``.
        single: Whether there is one prompt, and no file of them.
        has_journal: Whether the run keeps a journal.

    Raises:
        UsageError: They cannot.
    """
    options = batch_options(settings)
    if settings.mode == "online":
        return
    if single:
        msg = "--mode batch takes a file of prompts; leave it out for a single one"
        raise UsageError(msg)
    if not has_journal:
        msg = (
            "--mode batch needs a journal, since its batches outlive this process; give -o FILE, "
            "or --journal PATH"
        )
        raise UsageError(msg)
    # Imported here: few runs are made in batches, and it is a tenth of what a run loads.
    from batchllm.provider_batch import check_echo, check_hedge_budget, read_mode, wire_of

    try:
        wire_of(strategy)
        mode = read_mode(options.pop("mode"), options, "batchllm run")
        if mode is not None:
            check_hedge_budget(mode, PriceBook(config.prices), strategy)
            check_echo(mode, strategy)
    except ConfigError as error:
        text = str(error)
        for name in options:
            option = f"--{name.replace('_', '-')}"
            pattern = rf"\b{name}\b(?:='(\w+)'|=)?"
            text = re.sub(pattern, partial(_as_option, option), text)
        raise UsageError(text) from error


def _as_option(option: str, found: re.Match[str]) -> str:
    """Return what stands for an argument, with its value if that was given with it."""
    return f"{option} {found[1]}" if found[1] else option
