"""Serving where the event loop cannot watch for signals."""

import anyio
import pytest

from batchllm.cli.serving import until_signal

pytestmark = pytest.mark.anyio


async def test_without_signals_it_serves_until_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C then raises KeyboardInterrupt, which cancels everything."""

    def missing(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("anyio.open_signal_receiver", missing)
    with anyio.move_on_after(3600) as scope:
        await until_signal()
    assert scope.cancelled_caught
