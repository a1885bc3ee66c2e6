"""The arguments that all entry points take, checked in one place."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from attrs import evolve

from batchllm.core import (
    BaseMiddleware,
    BaseObserver,
    Budget,
    ConfigError,
    ErrorClassifier,
    ProcessorConfig,
    WorkItemResult,
    kind_of,
)
from batchllm.engine import RunOptions
from batchllm.gate import Gate
from batchllm.journal import Journal, JournalLike, JournalWriter, OnResume, read_journal
from batchllm.llm_strategies import StrategyLike, as_strategy
from batchllm.observers import ProgressBar, ProgressObserver

__all__ = ["AUTO_CALLS", "Concurrency", "Progress", "build_options", "with_progress"]

Concurrency: TypeAlias = int | Literal["auto"] | None
"""The cap on calls in flight: an exact number, ``"auto"``, or ``None`` for the settings' own."""

Progress: TypeAlias = bool | ProgressBar | Callable[..., Any] | None
"""``True``, a function or class that makes a bar, such as ``tqdm``, or a bar."""

AUTO_CALLS: Final = 256
"""Calls in flight that ``"auto"`` never passes, the same as on the command line. The gate starts
with few, opens up with every clean round trip and keeps to the quota once it has met it."""

_STEPS = ("before_process", "after_process", "on_retry", "on_error")


def build_options(
    strategy: StrategyLike[Any] | None,
    *,
    config: ProcessorConfig | None = None,
    concurrency: Concurrency = None,
    middlewares: Sequence[BaseMiddleware] | None = None,
    observers: Sequence[BaseObserver] | None = None,
    post_processor: Callable[[WorkItemResult[Any, Any]], Any] | None = None,
    error_classifier: ErrorClassifier | None = None,
    progress_callback: Callable[..., Any] | None = None,
    gate: Gate | Sequence[Gate] | None = None,
    budget: Budget | None = None,
    journal: JournalLike | None = None,
    on_resume: OnResume | None = None,
) -> RunOptions:
    """Check the arguments of an entry point.

    Raises:
        StrategyError: *strategy* is not a valid strategy.
        ConfigError: Another argument is wrong; it is named, with what to give.
    """
    _check_hook("post_processor", post_processor)
    _check_hook("progress_callback", progress_callback)
    if error_classifier is not None:
        _check_object("error_classifier", error_classifier, ("classify",), "an ErrorClassifier")
    gates = (gate,) if isinstance(gate, Gate) else _several("gate", gate, "Gate")
    for one in gates:
        if not isinstance(one, Gate):
            raise _wrong("gate", one, "a Gate, or a list of them")
    return RunOptions(
        config=_settings(config, concurrency, progress_callback, budget),
        strategy=None if strategy is None else as_strategy(strategy),
        middlewares=_objects("middlewares", middlewares, _STEPS, "BaseMiddleware"),
        observers=_objects("observers", observers, ("on_event",), "BaseObserver"),
        post_processor=post_processor,
        error_classifier=error_classifier,
        gates=gates,
        journal=_journal(journal, on_resume),
    )


@contextmanager
def with_progress(options: RunOptions, progress: Progress) -> Generator[RunOptions]:
    """Add to *options* an observer that shows progress, and close its bar however the block ends.

    Raises:
        ConfigError: *progress* is not a bar, nor does it make one.
    """
    if progress is None or progress is False:
        yield options
        return
    observer = ProgressObserver(progress)
    try:
        yield evolve(options, observers=(*options.observers, observer))
    finally:
        observer.close()


def _journal(
    journal: JournalLike | None, on_resume: OnResume | None
) -> Journal | JournalWriter | None:
    settings = journal if isinstance(journal, JournalWriter) else read_journal(journal)
    if on_resume is None or isinstance(settings, JournalWriter):
        return settings
    if settings is None:
        msg = f"on_resume is {on_resume!r}, and there is no journal to go on from; give journal="
        raise ConfigError(msg)
    return evolve(settings, on_resume=on_resume)


def _settings(
    config: object,
    concurrency: object,
    progress_callback: Callable[..., Any] | None,
    budget: object,
) -> ProcessorConfig:
    settings = ProcessorConfig() if config is None else config
    if not isinstance(settings, ProcessorConfig):
        remedy = "a ProcessorConfig(…)"
        if isinstance(config, dict):
            remedy += "; config_from_dict() makes one of a dict"
        raise _wrong("config", config, remedy)
    changes: dict[str, Any] = {}
    if concurrency == "auto":
        changes["max_workers"] = AUTO_CALLS
    elif concurrency is not None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            msg = f"concurrency is {concurrency!r}; give a whole number of at least 1, or 'auto'"
            raise ConfigError(msg)
        changes["max_workers"] = concurrency
    if budget is not None:
        if not isinstance(budget, Budget):
            remedy = "a Budget, such as Budget(max_cost=5.0) in US dollars"
            raise _wrong("budget", budget, remedy)
        changes["budget"] = budget
    if progress_callback is not None:
        changes["progress_callback"] = progress_callback
    return evolve(settings, **changes) if changes else settings


def _objects(name: str, given: object, methods: Sequence[str], kind: str) -> tuple[Any, ...]:
    objects = _several(name, given, kind)
    for index, one in enumerate(objects):
        _check_object(f"{name}[{index}]", one, methods, f"a {kind}")
    return objects


def _several(name: str, given: object, kind: str) -> tuple[Any, ...]:
    if given is None:
        return ()
    if isinstance(given, str | bytes | type) or not isinstance(given, Iterable):
        raise _wrong(name, given, f"a list of {kind} instances")
    return tuple(given)


def _check_object(name: str, given: object, methods: Sequence[str], remedy: str) -> None:
    if isinstance(given, type):
        raise _wrong(name, given, remedy)
    missing = [method for method in methods if not callable(getattr(given, method, None))]
    if missing:
        raise _wrong(name, given, remedy, f", which has no {missing[0]}()")


def _check_hook(name: str, given: object) -> None:
    if given is not None and not callable(given):
        raise _wrong(name, given, "a function, sync or async")


def _wrong(name: str, given: object, remedy: str, flaw: str = "") -> ConfigError:
    if isinstance(given, type):
        remedy += ": an instance, not the class"
    return ConfigError(f"{name} is {kind_of(given)}{flaw}; give {remedy}")
