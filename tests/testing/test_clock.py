import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from batchllm.testing import Backend, virtual_run, virtual_time

BACKENDS: list[Backend] = ["asyncio", "trio"]


@pytest.mark.anyio
async def test_a_year_passes_at_once() -> None:
    """A long sleep moves the clock by exactly its length; in real time this would not end."""
    started, year = anyio.current_time(), 365.0 * 24 * 3600
    await anyio.sleep(year)
    assert anyio.current_time() - started == year


@pytest.mark.anyio
async def test_timers_fire_in_the_order_of_their_times() -> None:
    """Sleepers wake by time, not by the order in which they started, each at its own instant."""
    started, woken = anyio.current_time(), list[float]()

    async def sleeper(delay: float) -> None:
        await anyio.sleep(delay)
        woken.append(anyio.current_time() - started)

    async with anyio.create_task_group() as group:
        for delay in (64.0, 0.5, 90_000.0, 8.0):
            group.start_soon(sleeper, delay)
    assert woken == [0.5, 8.0, 64.0, 90_000.0]


@pytest.mark.anyio
async def test_time_stands_still_while_tasks_can_run() -> None:
    """Checkpoints pass without the clock jumping to a timer that waits meanwhile."""
    started = anyio.current_time()
    with anyio.move_on_after(5) as scope:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert anyio.current_time() == started
    assert not scope.cancelled_caught


@pytest.mark.anyio
async def test_a_deadline_is_met_exactly() -> None:
    """A deadline cancels at its instant."""
    started = anyio.current_time()
    with anyio.move_on_after(0.1 + 0.2) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() == scope.deadline
    assert anyio.current_time() > started


@pytest.mark.anyio
async def test_a_thread_wakes_the_loop() -> None:
    """With no timer pending a thread is waited for, in real time."""
    woken = threading.Event()
    await anyio.to_thread.run_sync(woken.wait, 0.02)
    assert not woken.is_set()


@pytest.mark.parametrize("backend", BACKENDS)
def test_virtual_run_returns_the_value(backend: Backend) -> None:
    """virtual_run passes the arguments on, runs in virtual time and hands the value back."""

    async def main(delay: float) -> float:
        started = anyio.current_time()
        await anyio.sleep(delay)
        return anyio.current_time() - started

    assert virtual_run(main, 86_400.0 * 3, backend=backend) == 86_400 * 3


def test_each_run_has_a_clock_of_its_own() -> None:
    """Trio's clock serves one run only, so every call makes a new one."""
    assert virtual_time("trio")["clock"] is not virtual_time("trio")["clock"]


def test_an_unknown_backend_is_named() -> None:
    """A wrong backend is refused in words that say which ones there are."""
    with pytest.raises(ValueError, match="'asyncio' or 'trio', not 'curio'"):
        virtual_time("curio")  # type: ignore[arg-type]
