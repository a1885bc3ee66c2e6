"""Times as providers write them."""

import pytest

from batchllm.simulator.wires import go_duration, http_date, protobuf_duration, timestamp


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.012, "12ms"),
        (0.6442, "644.2ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (107.5854, "1m47.5854s"),
        (360, "6m0s"),
        (3723, "1h2m3s"),
        (86_400, "24h0m0s"),
    ],
)
def test_go_durations(seconds: float, text: str) -> None:
    """Seconds are written as the headers of several providers have them."""
    assert go_duration(seconds) == text


def test_other_forms() -> None:
    """Protobuf durations, RFC 3339 and HTTP dates."""
    assert protobuf_duration(36.0) == "36s"
    assert protobuf_duration(36.429760048) == "36.429760048s"
    assert timestamp(1_755_780_059.7) == "2025-08-21T12:40:59Z"
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
