"""Middleware, post-processors, observers and progress: everybody's turn, and their mishaps."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from batchllm.api import run_batch
from batchllm.core import (
    SKIP,
    BaseMiddleware,
    BaseObserver,
    Category,
    LLMWorkItem,
    ProcessingEvent,
    ProcessorConfig,
    RetryConfig,
)
from batchllm.engine import PostProcessor
from batchllm.journal import Journal
from batchllm.testing import (
    Answer,
    Raise,
    RecordingObserver,
    ScriptedStrategy,
    open_inline_worker,
    run_inline,
)

pytestmark = pytest.mark.anyio

Event = ProcessingEvent


class Logging(BaseMiddleware):
    """Writes down its turns."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def before_process(self, work_item: Any) -> Any:
        self.log.append(f"{self.name} in")

    async def after_process(self, work_item: Any, result: Any) -> Any:
        self.log.append(f"{self.name} out")

    async def on_retry(self, work_item: Any, attempt: int, error: Exception) -> None:
        self.log.append(f"{self.name} retry {attempt}")

    async def on_error(self, work_item: Any, error: Exception) -> None:
        self.log.append(f"{self.name} error {type(error).__name__}")


class Doing(BaseMiddleware):
    """Does one thing with items going in and another with results coming out."""

    def __init__(self, before: Any = None, after: Any = None) -> None:
        self.before, self.after = before, after

    async def before_process(self, work_item: Any) -> Any:
        return await self._do(self.before, work_item)

    async def after_process(self, result: Any) -> Any:
        return await self._do(self.after, result)

    async def _do(self, what: Any, given: Any) -> Any:
        if what == "hang":
            await anyio.sleep_forever()
        if isinstance(what, BaseException):
            raise what
        return what(given) if callable(what) else what


async def one(*middlewares: BaseMiddleware, strategy: Any = None, **options: Any) -> Any:
    result = await run_batch(
        [("a", "p", "ctx")], strategy or ScriptedStrategy(), middlewares=middlewares, **options
    )
    return result.results[0]


async def test_order() -> None:
    """In going in, reversed coming out, and told of retries and of failures for good."""
    log: list[str] = []
    strategy = ScriptedStrategy([Raise(ConnectionError), Raise(TypeError)])
    await one(Logging("a", log), Logging("b", log), strategy=strategy)
    assert log == [
        *("a in", "b in", "a retry 1", "b retry 1"),
        *("b error TypeError", "b out", "a error TypeError", "a out"),
    ]


async def test_no_retry_is_told_that_does_not_come() -> None:
    """Where there is no time for another attempt, nobody is told of one."""
    log: list[str] = []
    config = ProcessorConfig(timeout_per_item=10.0, retry=RetryConfig(jitter=False))
    strategy = ScriptedStrategy(Raise(ConnectionError, after=9.5))
    await one(Logging("a", log), strategy=strategy, config=config)
    assert log == ["a in", "a error ConnectionError", "a out"]


async def test_changed_and_replaced_items() -> None:
    """An item may be changed in place or replaced; the next middleware sees it so."""

    def change(item: Any) -> None:
        item.prompt = "changed"
        item.context = "new"

    def replace(item: Any) -> Any:
        assert item.prompt == "changed"
        return LLMWorkItem(item.item_id, item.strategy, item.prompt + " and replaced", item.context)

    result = await one(Doing(change), Doing(replace))
    assert (result.output, result.context) == ("changed and replaced", "new")


async def test_strategy_by_middleware() -> None:
    """A middleware may choose the strategy."""
    chosen = ScriptedStrategy(Answer("chosen"))

    def choose(item: Any) -> None:
        item.strategy = chosen

    assert (await one(Doing(choose))).output == "chosen"


async def test_skip() -> None:
    """A skipped item is not called, and its result says who left it out."""
    strategy = ScriptedStrategy()
    result = await run_batch(["a"], strategy, middlewares=[Doing(SKIP)])
    assert (result.skipped, strategy.calls) == (1, [])
    assert result.results[0].error == "left out by Doing"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (ValueError("broken"), "ValueError: broken – in Doing.before_process"),
        ("hang", "Doing.before_process took longer than hook_timeout"),
        ("a text", "before_process returned a str; return the item, None or SKIP"),
        (lambda item: LLMWorkItem("other", None, "p"), "results are matched by id"),
    ],
)
async def test_going_in_goes_wrong(before: Any, words: str) -> None:
    """A broken middleware fails its item: a broken redactor must not let a prompt through."""
    strategy = ScriptedStrategy()
    result = await one(Doing(before), strategy=strategy, config=ProcessorConfig(hook_timeout=3.0))
    assert result.error_category == Category.MIDDLEWARE
    assert words in result.error
    assert strategy.calls == []


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (ValueError("broken"), "ValueError: broken – in Doing.after_process"),
        ("hang", "Doing.after_process took longer than hook_timeout"),
    ],
)
async def test_coming_out_goes_wrong(after: Any, words: str) -> None:
    """The item fails; its tokens are still counted."""
    usage = {"input_tokens": 3, "output_tokens": 1}
    strategy = ScriptedStrategy(Answer("x", usage=usage))
    config = ProcessorConfig(hook_timeout=3.0)
    result = await one(Doing(after=after), strategy=strategy, config=config)
    assert result.error_category == Category.MIDDLEWARE
    assert words in result.error
    assert result.token_usage["total_tokens"] == 4


async def test_on_error_that_raises_is_noted() -> None:
    """The item has failed anyway; its result tells of the hook, too."""

    class Broken(BaseMiddleware):
        async def on_error(self, work_item: Any, error: Exception) -> None:
            msg = "no pager"
            raise OSError(msg)

    result = await run_batch(["a"], ScriptedStrategy(Raise(TypeError("x"))), middlewares=[Broken()])
    assert (result.results[0].metadata or {})["notes"] == (
        "Broken.on_error raised OSError: no pager",
    )


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("success", 1, "success is an int (1); give True or False"),
        ("error", ValueError("x"), "error is a ValueError; give a sentence"),
        ("error_category", 5, "error_category is an int (5)"),
        ("exception", "boom", "exception is a str ('boom'); give an exception"),
        ("token_usage", None, "token_usage is None; give whole numbers"),
        ("token_usage", {"input_tokens": "3"}, "token_usage is a dict"),
        ("token_usage", {"input_tokens": 10**30}, "token_usage is a dict"),
        ("metadata", [1], "metadata is a list; give a mapping"),
        ("cost", "$1", "cost is a str ('$1'); give US dollars"),
        ("cost", math.nan, "cost is a float (nan)"),
        ("attempts", -1, "attempts is an int (-1)"),
        ("spans", ("a",), "spans is a tuple; leave them as they were"),
        ("attempt_failures", ("a",), "attempt_failures is a tuple; leave"),
    ],
)
async def test_a_result_with_a_wrong_field_fails_its_item_alone(
    field: str, value: Any, said: str, journaled: bool, tmp_path: Path
) -> None:
    """It would end the run where it is summed up or written down."""
    journal = Journal(tmp_path / "run.db", worker=open_inline_worker) if journaled else None

    def change(result: Any) -> Any:
        return evolve(result, **{field: value}) if result.item_id == "a" else None

    result = await run_batch(
        [("a", "p"), ("b", "p")],
        ScriptedStrategy(),
        middlewares=[Doing(after=change)],
        journal=journal,
    )
    wrong, right = result.in_input_order()
    assert (wrong.error_category, right.success) == (Category.MIDDLEWARE, True)
    start = "TypeError: it returned a WorkItemResult whose "
    assert str(wrong.error).startswith(start + said)
    assert str(wrong.error).endswith("– in Doing.after_process")
    assert result.summary()


async def test_after_process_that_returns_something_else_is_noted() -> None:
    """It replaces nothing, and the result says so."""
    result = await run_batch(["a"], ScriptedStrategy(), middlewares=[Doing(after=lambda _: 5)])
    assert (result.results[0].metadata or {})["notes"] == (
        "Doing.after_process returned a int; return a WorkItemResult or None",
    )


async def test_replaced_result() -> None:
    """A result may be replaced, but never given to another item."""

    def forge(result: Any) -> Any:
        return evolve(result, output="better", item_id="stolen", submission_index=99)

    result = await one(Doing(after=forge))
    assert (result.output, result.item_id, result.submission_index) == ("better", "a", 0)


@pytest.mark.parametrize("sync", [True, False])
async def test_post_processor(sync: bool) -> None:
    """It sees every result: good, failed, skipped and invalid."""
    seen: list[str | None] = []

    def plain(result: Any) -> None:
        seen.append(result.error_category)

    async def asynchronous(result: Any) -> None:
        await anyio.sleep(0.1)
        plain(result)

    class Choosy(BaseMiddleware):
        async def before_process(self, work_item: Any) -> Any:
            return SKIP if work_item.prompt == "skip" else None

    items: Any = ["good", "bad", "skip", 42]
    await run_batch(
        items,
        ScriptedStrategy({"bad": Raise(TypeError)}),
        middlewares=[Choosy()],
        post_processor=plain if sync else asynchronous,
    )
    assert sorted(map(str, seen)) == ["None", "invalid_item", "program_error", "skipped"]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_post_processor_that_goes_wrong(how: str) -> None:
    """It is noted in the result, which stays as good as it was."""

    async def broken(result: Any) -> None:
        if how == "raises":
            raise LookupError("no table")
        await anyio.sleep_forever()

    result = await one(post_processor=broken, config=ProcessorConfig(hook_timeout=3.0))
    assert result.success
    (note,) = result.metadata["notes"]
    expected = {"raises": "raised LookupError: no table", "hangs": "longer than hook_timeout"}
    assert expected[how] in note


@pytest.mark.parametrize("inline", [True, False])
async def test_a_post_processor_that_fails_is_in_the_summary(inline: bool) -> None:
    """Every item succeeds, so that nothing else of the run as a whole shows it."""

    def broken(result: Any) -> None:
        if result.item_id != "1":
            raise LookupError("no table")

    hook = PostProcessor(broken, inline=inline, run_sync=run_inline)
    result = await run_batch(["a", "b", "c"], ScriptedStrategy(), post_processor=hook)
    (warning,) = result.warnings
    assert warning.startswith("post_processor failed for 2 results; first: ")
    assert warning.endswith("raised LookupError: no table")
    assert warning in result.summary()
    assert (await run_batch(["a"], ScriptedStrategy(), post_processor=str)).warnings == ()


async def test_finished_is_sheltered() -> None:
    """A cancellation from outside waits until what was paid for has gone all its way."""
    from batchllm.api import BatchRun

    processed: list[str] = []

    async def slow(result: Any) -> None:
        await anyio.sleep(5.0)
        processed.append(result.item_id)

    run = BatchRun[Any]()
    with anyio.move_on_after(2.0):
        await run_batch(["a"], ScriptedStrategy(), post_processor=slow, into=run)
    assert processed == ["0"]
    assert run.result.succeeded == 1


async def test_without_hook_timeout_a_cancellation_still_ends_a_hook() -> None:
    """A hook that may take for ever has ``cleanup_timeout`` then; the result is there."""
    from batchllm.api import BatchRun

    async def endless(result: Any) -> None:
        await anyio.sleep_forever()

    run = BatchRun[Any]()
    config = ProcessorConfig(hook_timeout=None, progress_callback_timeout=None)
    with anyio.move_on_after(2.0):
        await run_batch(["a"], ScriptedStrategy(), post_processor=endless, config=config, into=run)
    assert anyio.current_time() == 2.0 + config.cleanup_timeout
    assert run.result.succeeded == 1
    (note,) = run.result.results[0].metadata["notes"]  # type: ignore[index]
    assert note == "post_processor was cut off 10 s after the batch was stopped or cancelled"


async def test_dry_run() -> None:
    """Only ``dry_run()`` is called: no prepare, no call."""
    strategy = ScriptedStrategy()
    result = await run_batch(["hello"], strategy, config=ProcessorConfig(dry_run=True))
    assert result.outputs == ["[DRY-RUN] Mock output for prompt: hello..."]
    assert result.results[0].token_usage["total_tokens"] == 150
    assert (strategy.prepared, strategy.calls) == (0, [])


async def test_dry_run_that_raises() -> None:
    """It fails its item."""

    class Broken(ScriptedStrategy):
        async def dry_run(self, prompt: Any) -> Any:
            raise ValueError("no")

    result = await run_batch(["hello"], Broken(), config=ProcessorConfig(dry_run=True))
    assert result.results[0].error == "ValueError: no – in dry_run()"


async def test_events_in_order() -> None:
    """From the start of the batch to its end, each item's own in order, all with a timestamp."""
    observer = RecordingObserver()
    strategy = ScriptedStrategy({"p0": [Raise(ConnectionError), Answer()], "p1": Raise(TypeError)})
    items: Any = [("a", "p0"), ("b", "p1"), 42]
    await run_batch(items, strategy, observers=[observer])
    assert observer.names[0] is Event.PROCESSING_STARTED
    assert observer.names[-1] is Event.PROCESSING_COMPLETED
    assert observer.of_item("a") == [Event.ITEM_STARTED, Event.ITEM_RETRY, Event.ITEM_COMPLETED]
    assert observer.of_item("b") == [Event.ITEM_STARTED, Event.ITEM_FAILED]
    assert len(observer.of(Event.ITEM_FAILED)) == 2
    assert all(data["timestamp"] > 1e9 for _, data in observer.events)
    end = observer.of(Event.PROCESSING_COMPLETED)[0]
    assert (end["total"], end["succeeded"], end["failed"]) == (3, 1, 2)


async def test_slow_observer() -> None:
    """It gets every event, in order, and slows the feed instead of filling the memory."""

    class Slow(RecordingObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await anyio.sleep(0.01)
            await super().on_event(event, data)

    slow, quick = Slow(), RecordingObserver()
    taken = 0

    def items() -> Any:
        nonlocal taken
        for i in range(1_000):
            taken += 1
            yield f"p{i}"

    async def look() -> None:
        await anyio.sleep(1.0)
        assert 400 < taken < 800

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        result = await run_batch(items(), ScriptedStrategy(), observers=[slow, quick])
    assert result.succeeded == 1_000
    assert len(slow.events) == len(quick.events) == 2_002
    assert slow.names == quick.names


async def test_observers_that_go_wrong() -> None:
    """They are warnings of the batch, with the first error of each."""

    class Broken(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            raise ValueError(f"at {event}")

    class Stuck(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await anyio.sleep_forever()

    result = await run_batch(["a"], ScriptedStrategy(), observers=[Broken(), Stuck()])
    first, second = result.warnings
    assert first == ("observer Broken raised 4 times; first: ValueError: at processing_started")
    assert "observer Stuck took longer than 5 s 4 times" in second


async def test_what_observers_have_left_after_the_end_is_bounded_as_a_whole() -> None:
    """A stuck one holds the result for one time limit, not for one per event; the rest is said."""

    class Stuck(RecordingObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            await anyio.sleep_forever()

    class Slow(RecordingObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await anyio.sleep(0.01)
            await super().on_event(event, data)

    stuck, slow, began = Stuck(), Slow(), anyio.current_time()
    items = [f"p{i}" for i in range(300)]
    strategy, config = ScriptedStrategy(Answer(after=0.5)), ProcessorConfig(max_workers=300)
    result = await run_batch(items, strategy, config=config, observers=[stuck, slow])
    assert result.succeeded == 300
    # The calls take some 2 s; 602 events of 5 s would have been 50 minutes.
    assert 30 < anyio.current_time() - began < 35
    assert slow.names[-1] is Event.PROCESSING_COMPLETED
    ended = len(stuck.events) - 1  # the last was cut off
    assert result.warnings == (
        f"observer Stuck took longer than 5 s {ended} times and was cancelled",
        f"observer Stuck had {602 - ended} events left 30 s after the end of the run, and they "
        "were dropped",
    )


async def test_an_observer_that_is_stuck_at_the_end_only_drops_one_event() -> None:
    """One that is slow within the limit loses none, and one event that hangs is cut off alone."""

    class StuckOnce(RecordingObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            await super().on_event(event, data)
            if event is Event.ITEM_STARTED:
                await anyio.sleep_forever()

    observer = StuckOnce()
    result = await run_batch(["a"], ScriptedStrategy(), observers=[observer])
    assert observer.names[-1] is Event.PROCESSING_COMPLETED
    assert result.warnings == ("observer StuckOnce took longer than 5 s 1 times and was cancelled",)


async def test_observers_have_data_of_their_own() -> None:
    """Changes of one observer to an event are not seen by the next."""

    class Vandal(BaseObserver):
        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            data.clear()

    observer = RecordingObserver()
    await run_batch(["a"], ScriptedStrategy(), observers=[Vandal(), observer])
    assert all("timestamp" in data for _, data in observer.events)


@pytest.mark.parametrize("sync", [True, False])
async def test_progress_callback(sync: bool) -> None:
    """Called after each item with how many are done, of how many, and which it was."""
    calls: list[tuple[int, int, str]] = []

    async def asynchronous(*args: Any) -> None:
        calls.append(args)  # type: ignore[arg-type]

    def plain(*args: Any) -> None:
        calls.append(args)  # type: ignore[arg-type]

    await run_batch(
        ["p0", "p1", "p2"],
        ScriptedStrategy({f"p{i}": Answer(after=i) for i in range(3)}),
        progress_callback=plain if sync else asynchronous,
    )
    assert calls == [(1, 3, "0"), (2, 3, "1"), (3, 3, "2")]


async def test_slow_progress_callbacks_do_not_pile_up() -> None:
    """They slow the feed, so that no more of them run at once than items fit the window."""
    running, most = 0, 0

    async def slow(completed: int, total: int, current_item: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    config = ProcessorConfig(window=4, progress_callback=slow)
    items = (f"{number}" for number in range(100))
    assert (await run_batch(items, ScriptedStrategy(), config=config)).succeeded == 100
    assert 1 < most <= 8


async def test_progress_of_an_unsized_source() -> None:
    """The total is what is known: items accepted so far."""
    calls: list[tuple[int, int]] = []
    await run_batch(
        iter(["a", "b"]),
        ScriptedStrategy(),
        concurrency=1,
        progress_callback=lambda done, total, name: calls.append((done, total)),
    )
    assert [done for done, _ in calls] == [1, 2]
    assert all(total >= done for done, total in calls)


async def test_progress_callbacks_that_go_wrong() -> None:
    """Noted once, and the batch goes on."""

    def broken(*args: Any) -> None:
        raise ValueError("no bar")

    async def stuck(*args: Any) -> None:
        await anyio.sleep_forever()

    def slow(*args: Any) -> None:
        begun = time.thread_time()
        while time.thread_time() - begun < 0.11:
            pass

    words = {
        broken: "progress_callback raised ValueError: no bar",
        stuck: "progress_callback took longer than 5.0 s",
        slow: "progress_callback blocked the event loop for ",
    }
    for callback, expected in words.items():
        result = await run_batch(["a", "b"], ScriptedStrategy(), progress_callback=callback)
        assert result.succeeded == 2
        assert [expected in warning for warning in result.warnings] == [True]


async def test_a_wrong_progress_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once, at once, and with the shape that it should have."""

    def wrong(completed: int) -> None:
        raise AssertionError

    with caplog.at_level(logging.WARNING, "batchllm"):
        await run_batch(["a", "b"], ScriptedStrategy(), progress_callback=wrong)
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("progress_callback raised TypeError: ")
    assert line.endswith(
        "; it is called as progress_callback(completed, total, current_item); the run goes on"
    )


async def test_an_observer_gets_the_events_that_it_wants() -> None:
    """All, some, or none if it does not override the method."""

    class Some(BaseObserver):
        wanted_events = frozenset({ProcessingEvent.ITEM_STARTED})

        def __init__(self) -> None:
            self.seen: list[ProcessingEvent] = []

        async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
            self.seen.append(event)

    some, every = Some(), Some()
    every.wanted_events = None  # type: ignore[assignment]
    await run_batch(["a"], ScriptedStrategy(), observers=[some, every, BaseObserver()])
    assert some.seen == ["item_started"]
    assert every.seen == [
        "processing_started", "item_started", "item_completed", "processing_completed"
    ]  # fmt: skip


async def test_progress_log(caplog: pytest.LogCaptureFixture) -> None:
    """A line every so many items."""
    with caplog.at_level(logging.INFO, "batchllm"):
        config = ProcessorConfig(progress_interval=2)
        await run_batch(["a", "b", "c", "d", "e"], ScriptedStrategy(), config=config)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Progress")]
    assert lines == [
        "Progress: 2/5 items, 2 succeeded, 0 failed",
        "Progress: 4/5 items, 4 succeeded, 0 failed",
    ]
