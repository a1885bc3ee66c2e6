"""Asyncio-only functions called from every event loop, in real time."""

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from batchllm.core import TransportError
from batchllm.providers.adapters.bridge import AsyncioBridge
from batchllm.providers.adapters.bridged import comes_from
from tests.e2e.patience import PATIENCE, until

pytestmark = pytest.mark.anyio

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def bridge_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "batchllm asyncio"]


@pytest.fixture
def on_asyncio(anyio_backend_name: str) -> bool:
    """Tell whether the test itself runs on asyncio."""
    return anyio_backend_name == "asyncio"


async def double(number: int, *, delay: float = 0.0) -> int:
    """Do what only asyncio can."""
    await asyncio.get_running_loop().create_task(asyncio.sleep(delay))
    return 2 * number


async def test_a_call_returns_what_the_function_returns() -> None:
    """Arguments go over and the value comes back; nothing is left running behind."""
    bridge = AsyncioBridge()
    assert await bridge.call(double, 21, delay=0.001) == 42
    assert not bridge_threads()


async def test_a_holder_keeps_one_loop_for_all_calls(on_asyncio: bool) -> None:
    """However many calls there are at once, one loop serves them until it is let go."""
    bridge, loops = AsyncioBridge(), set[int]()

    async def see() -> None:
        await asyncio.sleep(0.001)
        loops.add(id(asyncio.get_running_loop()))

    bridge.hold()
    bridge.hold()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(bridge.call, see)
    await bridge.release()
    await bridge.call(see)
    assert len(loops) == 1
    assert len(bridge_threads()) == (0 if on_asyncio else 1)
    await bridge.release()
    assert not bridge_threads()
    assert await bridge.call(double, 2) == 4


async def test_an_error_is_raised_where_the_call_was_made() -> None:
    """The exception itself arrives."""
    error = KeyError("over there")

    async def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await AsyncioBridge().call(fail)
    assert caught.value is error


async def test_a_cancelled_call_has_ended_over_there() -> None:
    """The function sees its cancellation, and the caller goes on only afterwards."""
    trace: list[str] = []

    async def hang() -> None:
        trace.append("began")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            trace.append("cancelled")
            raise
        finally:
            trace.append("ended")

    async with anyio.create_task_group() as group:
        group.start_soon(AsyncioBridge().call, hang)
        await until(lambda: trace == ["began"])
        group.cancel_scope.cancel()
    assert trace == ["began", "cancelled", "ended"]


async def call_in_a_scope(
    bridge: AsyncioBridge, function: Any, *, task_status: TaskStatus[anyio.CancelScope]
) -> None:
    """Make a call that can be cancelled by itself."""
    with anyio.CancelScope() as scope:
        task_status.started(scope)
        await bridge.call(function)


async def test_a_call_that_is_cancelled_before_it_began_never_begins(on_asyncio: bool) -> None:
    """The other loop is busy, the caller leaves, and the function is cancelled at its start."""
    if on_asyncio:
        pytest.skip("called directly")
    began: list[bool] = []
    blocked, release = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        release.wait(PATIENCE)

    async def begin() -> None:
        await asyncio.sleep(0)
        began.append(True)

    async with AsyncioBridge() as bridge:
        await bridge.call(double, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(bridge.call, block)
            await until(blocked.is_set)
            scope = await group.start(call_in_a_scope, bridge, begin)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            release.set()
    assert scope.cancelled_caught
    assert not began


async def test_one_that_is_cancelled_hurts_no_other() -> None:
    """Calls that share the other loop end each in their own way."""
    bridge, values = AsyncioBridge(), list[int]()

    async def impatient() -> None:
        with anyio.move_on_after(0.02):
            await bridge.call(double, 1, delay=3600)

    async def patient() -> None:
        values.append(await bridge.call(double, 4, delay=0.1))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(impatient)
            group.start_soon(patient)
    assert values == [8]


async def test_a_library_that_cancels_itself_fails_its_own_call_only(on_asyncio: bool) -> None:
    """A cancellation that was not asked for is an error of that call."""
    if on_asyncio:
        pytest.skip("called directly; the engine judges foreign cancellations")
    bridge = AsyncioBridge()
    bridge.hold()

    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(TransportError, match="inside the library"):
        await bridge.call(cancel_itself)
    assert await bridge.call(double, 3) == 6
    await bridge.release()


async def test_context_variables_go_over() -> None:
    """The function sees the caller's context."""

    async def who() -> str:
        return WHO.get()

    WHO.set("the caller")
    assert await AsyncioBridge().call(who) == "the caller"


async def test_the_caller_stays_responsive_while_the_other_loop_is_busy(on_asyncio: bool) -> None:
    """A library that blocks its own loop does not block ours."""
    if on_asyncio:
        pytest.skip("there is one loop only")
    bridge, release, in_time = AsyncioBridge(), threading.Event(), list[bool]()
    bridge.hold()
    await bridge.call(double, 1)

    async def block() -> None:
        in_time.append(release.wait(PATIENCE))

    async with anyio.create_task_group() as group:
        group.start_soon(bridge.call, block)
        await anyio.sleep(0.02)
        group.start_soon(bridge.call, double, 1)
        await anyio.sleep(0.02)
        release.set()
    assert in_time == [True]
    await bridge.release()


def test_classes_are_told_by_their_package() -> None:
    """A subclass counts for the package of its base; a similar name does not."""

    class Mine(asyncio.Event):
        pass

    values: list[tuple[Any, str, bool]] = [
        (Mine(), "asyncio", True),
        (Mine(), "async", False),
        ("text", "asyncio", False),
    ]
    assert [comes_from(value, package) for value, package, _ in values] == [
        expected for *_, expected in values
    ]
