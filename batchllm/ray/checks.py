"""The checks of what ``run_dataset`` is given, made before a run has a number and a folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from batchllm.api import build_options
from batchllm.core import ConfigError, ProcessorConfig, kind_of
from batchllm.gate import check_gate
from batchllm.journal import OnChanged
from batchllm.policy import Limit

__all__ = [
    "check_choices",
    "check_counts",
    "check_dataset",
    "check_names",
    "limits_of_all",
    "options_of_worker",
]


def check_dataset(ds: Any) -> None:
    """Refuse what is no dataset of Ray."""
    if not callable(getattr(ds, "iter_batches", None)) or not hasattr(ds, "context"):
        msg = (
            f"ds is {kind_of(ds)}; give a Ray Dataset, such as ray.data.read_parquet(…) or "
            "ray.data.from_pandas(…)"
        )
        raise ConfigError(msg)


def check_names(**columns: object) -> None:
    """Refuse what is no name of a column."""
    for name, column in columns.items():
        if not isinstance(column, str) or not column:
            msg = f"{name} is {column!r}, {kind_of(column)}; give the name of a column"
            raise ConfigError(msg)


def check_counts(**counts: object) -> None:
    """Refuse what is no count; ``None`` is one of *workers* only."""
    for name, count in counts.items():
        if count is None and name == "workers":
            continue
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            msg = f"{name} is {count!r}; give a whole number of at least 1"
            raise ConfigError(msg)


def check_choices(on_changed: object, progress: object) -> None:
    """Refuse an unknown way on, and a progress that cannot be called."""
    if on_changed not in get_args(OnChanged):
        msg = f"on_changed is {on_changed!r}; give 'refuse', 'rerun' or 'keep'"
        raise ConfigError(msg)
    if progress is not None and not callable(progress):
        msg = (
            f"progress is {progress!r}, {kind_of(progress)}; give a function that takes a "
            "RunSummary, such as print, or None"
        )
        raise ConfigError(msg)


def limits_of_all(
    requests: float | None, tokens: float | None, limits: Iterable[Limit]
) -> tuple[Limit, ...]:
    """Return the limits of all workers together, checked as a gate's."""
    return check_gate(
        "run_dataset",
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        limits=limits,
        calls=None,
        settlement="refund",
        seed=None,
        park_after=None,
        outage_after=None,
    )


def options_of_worker(strategy: Any, **given: Any) -> dict[str, Any]:
    """Return what each worker's engine gets."""
    if given["concurrency"] is None and given["config"] is None:
        given["concurrency"] = "auto"
    _check_config(build_options(strategy, **given).config)
    return {name: value for name, value in given.items() if value is not None}


def _check_config(config: ProcessorConfig) -> None:
    """Refuse what would be wrong if each worker had it."""
    if config.budget is not None:
        msg = (
            "config.budget is set, and each worker would spend as much; leave it out, and set a "
            "limit on the account of the provider"
        )
        raise ConfigError(msg)
    for unit in ("requests", "tokens"):
        if getattr(config, f"max_{unit}_per_minute") is not None:
            msg = (
                f"config.max_{unit}_per_minute is set, and each worker would take as much; give "
                f"{unit}_per_minute to run_dataset, which all workers keep together"
            )
            raise ConfigError(msg)
    if config.dry_run:  # its answers would be kept, and no later run would ask
        msg = (
            "config.dry_run is set, and a run over a dataset keeps answers; leave it out, and try "
            "a few rows by run_batch"
        )
        raise ConfigError(msg)
