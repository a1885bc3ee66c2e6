"""Events as lines of a log."""

import logging

import pytest

from batchllm.api import run_batch
from batchllm.core import ProcessingEvent
from batchllm.observers import LoggingObserver
from batchllm.testing import Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio


async def test_each_event_is_a_line_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    """Success is logged for debugging, a failure as a warning, and no prompt at all."""
    caplog.set_level(logging.DEBUG, "batchllm.events")
    strategy = ScriptedStrategy({"secret prompt": Raise(TypeError("broken"))})
    await run_batch([("bad", "secret prompt"), "fine"], strategy, observers=[LoggingObserver()])
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert any(
        level == logging.WARNING and text.startswith("item_failed item_id=bad ")
        for level, text in told
    )
    assert any(level == logging.DEBUG and text.startswith("item_completed") for level, text in told)
    assert told[0][0] == logging.INFO
    assert told[0][1].startswith("processing_started")
    assert "secret" not in caplog.text
    assert caplog.records[0].batchllm["total"] == 2  # type: ignore[attr-defined]


async def test_levels_and_logger_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    """An event may be raised, and goes to the logger that was given."""
    caplog.set_level(logging.INFO, "mine")
    levels = {ProcessingEvent.ITEM_COMPLETED: logging.ERROR}
    observer = LoggingObserver(logging.getLogger("mine"), levels)
    await run_batch(["a"], ScriptedStrategy(), observers=[observer])
    told = [
        (record.name, record.levelno, record.getMessage().split()[0]) for record in caplog.records
    ]
    assert ("mine", logging.ERROR, "item_completed") in told
    assert "item_started" not in {name for _, _, name in told}
