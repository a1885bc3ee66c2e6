"""A gate serves one event loop at a time, and says so at once if a second one uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import ConfigError, Outcome
from batchllm.gate import Gate, Permit
from batchllm.testing import Answer, Backend, ScriptedStrategy, virtual_run
from tests.gate.kit import ONE, idle

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@both
def test_a_second_loop_is_refused_while_the_first_has_calls_in_flight(backend: Backend) -> None:
    """It gets an error with a remedy, not a wait that never ends; afterwards it is served."""
    gate = Gate(calls=1)

    async def leave_one_in_flight() -> Permit:
        return await gate.admit(ONE)

    async def batch() -> Any:
        return await run_batch(["a", "b", "c"], ScriptedStrategy(Answer("x")), gate=gate)

    with ThreadPoolExecutor(1) as beside:
        permit = beside.submit(virtual_run, leave_one_in_flight, backend=backend).result()
    for other in ("asyncio", "trio"):
        with pytest.raises(ConfigError, match="two event loops at once; give each loop"):
            virtual_run(gate.admit, ONE, backend=other)
        with pytest.raises(ConfigError, match="two event loops at once; give each loop"):
            virtual_run(batch, backend=other)
    permit.report(Outcome.OK, permit.at)
    assert virtual_run(batch, backend=backend).succeeded == 3
    assert idle(gate)


@both
def test_one_loop_after_the_other_is_served(backend: Backend) -> None:
    """A gate takes its knowledge from loop to loop."""
    gate = Gate(calls=1)

    async def call() -> int:
        permit = await gate.admit(ONE)
        permit.report(Outcome.OK, anyio.current_time())
        return gate.snapshot().sends

    assert [virtual_run(call, backend=backend) for _ in range(3)] == [1, 2, 3]
    assert idle(gate)
