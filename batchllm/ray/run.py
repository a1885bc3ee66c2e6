"""The entry point: a dataset of Ray in, the same rows with their results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Final

import batchllm
from batchllm.api import Concurrency
from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    ErrorClassifier,
    ProcessorConfig,
    explain_arguments,
)
from batchllm.journal import Identity, OnChanged
from batchllm.llm_strategies import StrategyLike, as_strategy
from batchllm.policy import Limit
from batchllm.ray.actors import Actors
from batchllm.ray.checks import (
    check_choices,
    check_counts,
    check_dataset,
    check_names,
    limits_of_all,
    options_of_worker,
)
from batchllm.ray.columns import with_results
from batchllm.ray.driver import Driver
from batchllm.ray.folder import read_folder
from batchllm.ray.job import Job
from batchllm.ray.libraries import load_arrow, load_parquet, load_ray
from batchllm.ray.output_types import Shape, output_type_of, shape_of
from batchllm.ray.summary import RunSummary

__all__ = ["run_dataset"]

_BLOCK_ROWS: Final = 500
"""Rows of a block. Each is two files; and what a worker has not read is what others wait for at
the end."""


@explain_arguments()
def run_dataset(
    ds: Any,
    strategy: StrategyLike[Any],
    *,
    journal: str | PathLike[str],
    id: str = "id",
    prompt: str = "prompt",
    workers: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    limits: Iterable[Limit] = (),
    share: str | None = None,
    concurrency: Concurrency = None,
    config: ProcessorConfig | None = None,
    middlewares: Sequence[BaseMiddleware] = (),
    observers: Sequence[BaseObserver] = (),
    error_classifier: ErrorClassifier | None = None,
    output: Any = None,
    retry_failed: bool = False,
    on_changed: OnChanged = "refuse",
    block_rows: int = _BLOCK_ROWS,
    actor_options: Mapping[str, Any] | None = None,
    progress: Callable[[RunSummary], object] | None = None,
) -> Any:
    """Ask about each row of a Ray Dataset, on all nodes of a cluster, under one quota.

    Example::

        ds = ray.data.read_parquet("s3://bucket/in/")
        out = run_dataset(
            ds, "openai:gpt-5-mini", requests_per_minute=30_000, journal="/mnt/shared/run-7"
        )
        out.write_parquet("s3://bucket/out/")

    The rows have the columns of the dataset and those of ``BatchResult.to_arrow``: ``success``,
    ``output``, ``error`` and more. The same call goes on where an earlier one ended, and calls
    for nothing that is finished. Neither input nor output is in memory as a whole.

    Args:
        ds: The dataset.
        strategy: An ``LLMCallStrategy``, a model, a callable or a text such as
            ``"openai:gpt-5-mini"``. Keys stay behind: each node has them in its environment.
        journal: A folder on a disk that all nodes have. Answers are there before anyone sees
            them, and the rows of each run.
        id: The column that names each row; no two rows may have the same.
        prompt: The column that is sent: texts, or lists of messages.
        workers: Actors that run the engine; by default one per node.
        requests_per_minute: The quota of all workers together.
        tokens_per_minute: A quota on input and output tokens together.
        limits: Quotas of any kind.
        share: A name for the quota, which other jobs of the cluster keep too if they give the
            same, as ``RayLeases`` does.
        concurrency: The cap on calls in flight of each worker; by default that of *config*, or
            ``"auto"`` without one.
        config: The settings of each worker's engine. A budget and limits per minute are refused,
            since each would have them, and a dry run, whose answers would be kept.
        middlewares: Steps round each item, as are *observers* and *error_classifier* those of
            ``run_batch``; each worker gets copies.
        observers: Watch events of their worker.
        error_classifier: Asked first what an exception means.
        output: The type of the outputs, for a strategy that does not say it: typed columns are
            made of it.
        retry_failed: Whether rows that failed in an earlier run are asked about again.
        on_changed: What to do if the journal has answers of another strategy: ``"refuse"``,
            ``"rerun"``, or ``"keep"`` them.
        block_rows: Rows that a worker is given at once.
        actor_options: Options of Ray for the workers, such as ``{"num_cpus": 1}`` or a
            ``runtime_env``.
        progress: Called with a ``RunSummary`` whenever a block is finished.

    Returns:
        A Ray Dataset over the rows, read when it is used.

    Raises:
        ConfigError: An argument is wrong.
        StrategyError: *strategy* is not a valid strategy.
        JournalError: The journal cannot be used.
        BatchError: The run ended before its time; the same call goes on from there.
        ImportError: Ray is not installed.
    """
    load_ray()
    check_dataset(ds)
    check_names(id=id, prompt=prompt)
    check_counts(workers=workers, block_rows=block_rows)
    check_choices(on_changed, progress)
    asked = as_strategy(strategy)
    identity = Identity.of(asked)
    declared = limits_of_all(requests_per_minute, tokens_per_minute, limits)
    options = options_of_worker(
        asked,
        config=config,
        concurrency=concurrency,
        middlewares=middlewares,
        observers=observers,
        error_classifier=error_classifier,
    )
    shape = _shape_of(asked, output)
    job = _new_job(journal, asked, identity, shape, (id, prompt), declared, options)
    cluster = Actors(
        job=job,
        dataset=ds,
        block_rows=block_rows,
        workers=workers,
        share=share,
        options=dict(actor_options or {}),
    )
    with cluster as actors:
        driver = Driver(
            actors=actors,
            identity=identity.text,
            retry_failed=retry_failed,
            on_changed=on_changed,
            progress=progress,
        )
        blocks = driver.run()
    return _rows_of(ds, job, blocks)


def _shape_of(strategy: Any, output: Any) -> Shape | None:
    kind = output_type_of(strategy, output)
    return None if kind is None else shape_of(kind)


def _new_job(
    journal: str | PathLike[str],
    strategy: Any,
    identity: Identity,
    shape: Shape | None,
    columns: tuple[str, str],
    limits: tuple[Limit, ...],
    options: Mapping[str, Any],
) -> Job:
    """Begin a run of the journal, now that no argument is wrong: it takes a number of its own."""
    folder = read_folder(journal, make=True)
    return Job(
        folder=folder,
        run=folder.new_run(),
        version=batchllm.__version__,
        strategy=strategy,
        digest=identity.digest.hex(),
        shape=shape,
        id_column=columns[0],
        prompt_column=columns[1],
        limits=limits,
        options=options,
    )


def _rows_of(ds: Any, job: Job, blocks: int) -> Any:
    """Return the dataset of the rows; if there are none, one with the same columns."""
    files = [job.folder.rows(job.run, number) for number in range(max(1, blocks))]
    if not blocks:
        load_parquet().write_table(_no_rows(ds, job.shape), files[0])
    return load_ray().data.read_parquet([str(file) for file in files])


def _no_rows(ds: Any, shape: Shape | None) -> Any:
    arrow, schema = load_arrow(), ds.schema()
    base: Any = getattr(schema, "base_schema", None)
    known = isinstance(base, arrow.Schema)  # a dataset that never had a row has none
    return with_results((base if known else arrow.schema([])).empty_table(), [], shape)
