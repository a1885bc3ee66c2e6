"""The simulator's log: what it keeps, counts and writes."""

import json
from pathlib import Path

from batchllm.simulator import LogEntry, SimulatorLog
from batchllm.simulator.log import leading_text, prompt_digest


def opened(log: SimulatorLog, at: float = 0.0) -> LogEntry:
    return log.open(method="POST", path="/v1/x", arrived=at, client_id=None)


def test_requests_are_numbered_as_they_arrive() -> None:
    """Entries keep the order of arrival whatever the order in which they end."""
    log = SimulatorLog()
    first, second = opened(log, 1.0), opened(log, 2.0)
    log.close(second, 3.0)
    assert [entry.number for entry in log] == [1, 2]
    assert (first.finished, second.finished, len(log)) == (None, 3.0, 2)
    assert first.request_id != second.request_id
    assert log.summary()["in_flight"] == 1
    log.close(first, 4.0)
    assert log.summary()["in_flight"] == 0
    assert log.summary()["most_in_flight"] == 2
    assert (log.summary()["first_arrival"], log.summary()["last_finish"]) == (1.0, 4.0)


def test_the_summary_counts() -> None:
    """Outcomes, statuses, faults, models and tokens are counted over all requests."""
    log = SimulatorLog(keep=1)
    for number in range(3):
        entry = opened(log)
        entry.outcome, entry.status, entry.model = "ok", 200, "m"
        entry.input_tokens, entry.output_tokens, entry.cached_tokens = 10, 5, 2
        entry.fault = "crlf" if number else None
        log.close(entry, 1.0)
    summary = log.summary()
    assert summary["requests"] == 3
    assert summary["outcomes"] == {"ok": 3}
    assert summary["statuses"] == {"200": 3}
    assert summary["faults"] == {"crlf": 2}
    assert summary["models"] == {"m": 3}
    assert [summary[f"{kind}_tokens"] for kind in ("input", "output", "cached")] == [30, 15, 6]
    assert [entry.number for entry in log.entries] == [3]
    assert json.loads(log.to_jsonl())["number"] == 3


def test_the_file_can_be_read_while_the_log_goes_on(tmp_path: Path) -> None:
    """Each request is on disk when it has ended; a file that exists is added to."""
    path = tmp_path / "log.jsonl"
    log = SimulatorLog(path)
    for number in (1, 2):
        log.close(opened(log), 1.0)
        assert len(path.read_text().splitlines()) == number
    log.release()
    log.release()
    log.close(opened(log), 1.0)
    log.release()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3]


def test_a_prompt_is_kept_as_its_start_and_a_digest() -> None:
    """A long prompt is cut; its digest depends on all of it."""
    long = "x" * 1000
    assert leading_text(long) == "x" * 80
    assert prompt_digest(long) != prompt_digest(long + "y")
    assert prompt_digest(long) == prompt_digest("x" * 1000)
