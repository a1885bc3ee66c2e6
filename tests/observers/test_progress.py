"""Progress bars: Rich's, tqdm's and any that is like it, moved by a run and closed with it."""

import io
import re
from typing import Any

import anyio
import pytest
from rich.console import Console

from batchllm import BatchRun, ConfigError, run_batch, stream_batch
from batchllm.observers import ProcessingEvent, ProgressObserver
from batchllm.observers.plain_bars import LineBar
from batchllm.observers.rich_bar import RichBar

pytestmark = pytest.mark.anyio


class Bar:
    """Like tqdm's, as far as it is used."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.n = 0
        self.updates = 0
        self.shown: dict[str, Any] = {}
        self.closed = False

    def update(self, n: int = 1) -> None:
        self.n += n
        self.updates += 1

    def set_postfix(self, refresh: bool = True, **shown: Any) -> None:
        self.shown = shown

    def close(self) -> None:
        self.closed = True


class Least:
    """A bar that has nothing but what is needed."""

    n = 0

    def update(self, n: int) -> None:
        self.n += n


async def answer(prompt: str) -> str:
    await anyio.sleep(1)
    if prompt == "bad":
        raise TypeError
    return prompt


async def test_a_class_makes_a_bar_that_is_closed_at_the_end() -> None:
    """It has the total, and every item is counted, failed ones too."""
    made: list[Bar] = []

    def make(total: int | None) -> Bar:
        made.append(Bar(total))
        return made[-1]

    await run_batch(["a", "bad", "c"], answer, progress=make, concurrency=1)
    (bar,) = made
    assert (bar.total, bar.n, bar.shown, bar.closed) == (3, 3, {"failed": 1}, True)


async def test_a_bar_that_is_given_stays_open() -> None:
    """It belongs to whoever made it, who may count further batches with it."""
    bar = Bar()
    for _ in range(2):
        await run_batch(["a", "b"], answer, progress=bar)
    assert (bar.total, bar.n, bar.closed) == (2, 4, False)


async def test_a_bar_needs_only_update() -> None:
    """Everything else is used if it is there."""
    bar = Least()
    await run_batch(["a", "bad"], answer, progress=bar)
    assert bar.n == 2


async def test_it_moves_four_times_a_second_at_most() -> None:
    """A hundred items within a second are four moves; the last ones are counted at the end."""
    bar = Bar()
    observer = ProgressObserver(bar)
    for hundredth in range(100):
        data = {"timestamp": 5000.0 + hundredth / 100}
        await observer.on_event(ProcessingEvent.ITEM_COMPLETED, data)
    assert bar.updates == 4
    await observer.on_event(ProcessingEvent.PROCESSING_COMPLETED, {"timestamp": 5001.0})
    assert (bar.n, bar.updates) == (100, 5)


async def test_a_stream_has_a_bar_until_its_block_is_left() -> None:
    """Leaving it early closes the bar."""
    made: list[Bar] = []

    def make(total: int | None) -> Bar:
        made.append(Bar(total))
        return made[-1]

    async with stream_batch(["a", "b", "c"], answer, progress=make, concurrency=1) as run:
        async for _ in run:
            break
    assert made[0].closed


async def test_items_that_were_not_run_have_not_failed() -> None:
    """The run ended before their turn."""
    bar, run = Bar(), BatchRun[str]()

    async def stop_it(prompt: str) -> str:
        run.stop()
        return prompt

    await run_batch(["a", "b", "c"], stop_it, progress=bar, into=run, concurrency=1)
    assert bar.shown == {}


@pytest.mark.parametrize("wrong", ["yes", 3, object()])
async def test_what_is_no_bar_is_refused(wrong: Any) -> None:
    """Before anything is called."""
    with pytest.raises(ConfigError, match=r"^progress is .*; give True, tqdm, or a bar"):
        await run_batch(["a"], answer, progress=wrong)


async def test_riches_bar_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is done, what has failed and the time; the cursor is shown again."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    monkeypatch.setattr("batchllm.observers.rich_bar.Console", lambda *_, **__: console)
    await run_batch(["a", "bad", "c"], answer, progress=True, concurrency=1)
    text = stream.getvalue()
    assert "3/3" in text
    assert "1 failed" in text
    assert text.count("\x1b[?25h") == 1


async def test_without_progress_there_is_no_observer() -> None:
    """Nothing is added to a run that does not ask for it."""
    for off in (False, None):
        assert (await run_batch(["a"], answer, progress=off)).succeeded == 1


async def test_without_a_terminal_a_line_comes_now_and_then(capsys: Any) -> None:
    """In a pipe or a log; here only the last, since a run takes no time."""
    await run_batch(["a", "bad", "c"], answer, progress=True, concurrency=1)
    assert re.fullmatch(r"3/3 done, 1 failed, \d+:\d\d\n", capsys.readouterr().err)


def test_lines_come_every_five_seconds() -> None:
    """With what is left, as far as it is known."""
    now, stream = [100.0], io.StringIO()
    bar, unsized = (LineBar(total, stream, lambda: now[0]) for total in (3_000, None))
    for _ in range(12):
        now[0] += 1.0
        bar.update(100)
    bar.set_postfix(failed=7)
    bar.close()
    unsized.close()
    assert stream.getvalue().splitlines() == [
        "500/3,000 done, 0 failed, 0:05, about 0:25 to go",
        "1,000/3,000 done, 0 failed, 0:10, about 0:20 to go",
        "1,200/3,000 done, 7 failed, 0:12, about 0:18 to go",
        "0 done, 0 failed, 0:12",
    ]


def test_a_bar_of_richs_needs_no_thread() -> None:
    """It is drawn when it is updated."""
    bar = RichBar(Console(file=io.StringIO()))
    assert bar._progress.live.auto_refresh is False
    bar.update(1)  # before the start nothing happens
    assert ProgressObserver() is not None
