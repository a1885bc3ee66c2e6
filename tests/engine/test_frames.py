"""The frames that an exception of a finished item keeps: places, and nothing that they held."""

import gc
import traceback
import weakref
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import run_batch, run_batch_sync
from batchllm.core import ProcessorConfig, RetryConfig, SourceError
from batchllm.engine.frames import drop_locals
from batchllm.testing import ScriptedStrategy

pytestmark = pytest.mark.anyio


class Big:
    """Something large that a frame holds."""


def fail(depth: int, held: object) -> None:
    if depth:
        fail(depth - 1, held)
    msg = "no"
    raise LookupError(msg)


def caught(depth: int = 0, held: object = None) -> Exception:
    try:
        try:
            fail(depth, held)
        except LookupError as error:
            msg = "behind"
            raise ExceptionGroup(msg, [ValueError("inner")]) from error
    except ExceptionGroup as error:
        return error


def places(error: BaseException) -> list[Any]:
    found = traceback.extract_tb(error.__traceback__)
    return [(one.filename, one.lineno, one.name) for one in found]


def test_places_stay_and_locals_go() -> None:
    """File, line and function of the error and of its cause can still be read."""
    held = Big()
    watch = weakref.ref(held)
    error = caught(2, held)
    before = [
        (one.filename, one.lineno, one.name) for one in traceback.extract_tb(error.__traceback__)
    ]
    drop_locals(error)
    del held
    gc.collect()
    assert watch() is None
    after = [
        (one.filename, one.lineno, one.name) for one in traceback.extract_tb(error.__traceback__)
    ]
    assert after == before
    assert "raise LookupError(msg)" in "".join(traceback.format_exception(error))


def test_a_deep_recursion_keeps_its_end() -> None:
    """The frames nearest to the error are kept."""
    error = caught(200).__cause__
    assert error is not None
    drop_locals(error)
    names = [one.name for one in traceback.extract_tb(error.__traceback__)]
    assert names == ["fail"] * 16


def test_a_cycle_of_causes_has_an_end() -> None:
    """Exceptions may come from each other."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__context__ = second, first
    drop_locals(first)


async def test_a_task_that_still_runs_is_left_alone() -> None:
    """An exception that went through a coroutine which is suspended does not end it."""
    seen: list[Exception] = []

    async def worker(turns: list[str]) -> None:
        try:
            fail(0, None)
        except LookupError as error:
            seen.append(error)
        await anyio.sleep(1)
        turns.append("went on")

    turns: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(worker, turns)
        await anyio.sleep(0.5)
        drop_locals(seen[0])
    assert turns == ["went on"]


@pytest.mark.parametrize("raised", [LookupError, OSError])
async def test_a_failed_result_does_not_keep_its_prompt(raised: type[Exception]) -> None:
    """Neither what the strategy held nor what the engine did."""
    watched: list[weakref.ref[Big]] = []

    async def ask(prompt: Any) -> str:
        held = Big()
        watched.append(weakref.ref(held))
        msg = "no"
        raise raised(msg)

    config = ProcessorConfig(retry=RetryConfig(max_attempts=1))
    batch = await run_batch([("a", "x")], ask, config=config)
    gc.collect()
    assert [watch() for watch in watched] == [None]
    (result,) = batch.results
    assert result.exception is not None
    names = [one.name for one in traceback.extract_tb(result.exception.__traceback__)]
    assert names[-1] == "ask"


def shown(error: BaseException | None) -> list[str]:
    assert error is not None
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


async def test_what_ends_a_run_is_shown_without_our_frames() -> None:
    """The caller's frames and those of the cause, which still hold what they held."""

    def items() -> Any:
        yield "a"
        held = "still here"
        raise OSError(held)

    with pytest.raises(SourceError) as raised:
        await run_batch(items(), ScriptedStrategy())
    error = raised.value
    inside = shown(error)
    assert inside[0] == "test_what_ends_a_run_is_shown_without_our_frames"
    assert len(inside) <= 4
    cause = error.__cause__
    assert shown(cause) == ["items"]
    assert cause is not None
    assert cause.__traceback__ is not None
    assert cause.__traceback__.tb_frame.f_locals["held"] == "still here"


def test_a_blocking_run_is_shown_without_the_frames_of_its_thread() -> None:
    """Two frames: the caller's, and that of the function that was called."""

    def items() -> Any:
        yield "a"
        raise OSError

    with pytest.raises(SourceError) as raised:
        run_batch_sync(items(), ScriptedStrategy())
    assert shown(raised.value) == [
        "test_a_blocking_run_is_shown_without_the_frames_of_its_thread",
        "run_batch_sync",
    ]
    assert shown(raised.value.__cause__) == ["items"]


@given(first=st.integers(1, 10**6), line=st.integers(1, 10**6))
def test_a_kept_frame_is_on_its_line_in_every_way_to_ask(first: int, line: int) -> None:
    """The frame, the step of the traceback and Python's own words agree, as IPython needs it.

    A traceback whose step was not there made IPython look for it without end.
    """
    source = "\n" * (line - first if line > first else 0) + "raise KeyError"
    code = compile(source, "there.py", "exec").replace(co_name="f", co_firstlineno=first)
    with pytest.raises(KeyError) as raised:
        exec(code)
    error = raised.value
    drop_locals(error)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != "there.py":
        trace = trace.tb_next
    assert trace is not None
    expected = trace.tb_lineno
    assert trace.tb_frame.f_lineno == expected
    assert traceback.extract_tb(trace)[0].lineno == expected
    positions = next(trace.tb_frame.f_code.co_positions())
    assert positions == (expected, expected, None, None)
    assert trace.tb_lasti >= 0


def test_the_way_into_a_thread_is_not_shown() -> None:
    """Of a function that blocks its own frames are."""

    def block(prompt: str) -> str:
        raise ValueError(prompt)

    result = run_batch_sync(["a"], block)
    assert shown(result.results[0].exception) == ["block"]
