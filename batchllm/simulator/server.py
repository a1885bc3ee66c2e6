"""The simulator behind real HTTP/1.1 on loopback."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskStatus
from attrs import frozen

from batchllm.simulator.connection import Closing, converse
from batchllm.simulator.simulator import Simulator


@frozen
class SimulatorServer:
    """A simulator that listens; made by `serve` and `run_server`."""

    simulator: Simulator
    host: str
    port: int

    @property
    def url(self) -> str:
        """The base URL without a path, such as `http://127.0.0.1:8080`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def _accept(
    simulator: Simulator,
    listener: Listener[SocketStream],
    connections: anyio.CancelScope,
    accepting: anyio.CancelScope,
    closing: Closing,
) -> None:
    async def connect(stream: SocketStream) -> None:
        await converse(simulator, stream, closing)

    with connections:
        async with anyio.create_task_group() as group, listener:
            with accepting:
                await listener.serve(connect, group)


async def run_server(
    simulator: Simulator,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    grace: float = 1.0,
    task_status: TaskStatus[SimulatorServer] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Listen until cancelled; replies under way then have `grace` seconds to end.

    `await group.start(run_server, simulator)` hands back the `SimulatorServer`.

    Raises:
        OSError: the port cannot be had.
    """
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    bound = listener.extra(SocketAttribute.local_port)
    connections = anyio.CancelScope(shield=True)
    accepting = anyio.CancelScope()
    closing = Closing()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_accept, simulator, listener, connections, accepting, closing)
            task_status.started(SimulatorServer(simulator, host, bound))
            try:
                await anyio.sleep_forever()
            finally:
                accepting.cancel("the simulator's server is closing")
                closing.begin()
                connections.deadline = anyio.current_time() + grace
    finally:
        simulator.log.release()


@asynccontextmanager
async def serve(
    simulator: Simulator, host: str = "127.0.0.1", port: int = 0, *, grace: float = 1.0
) -> AsyncGenerator[SimulatorServer]:
    """Listen while the block runs.

    ```python
    async with serve(Simulator("quota")) as server:
        client = httpx.AsyncClient(base_url=f"{server.url}/v1")
    ```
    """
    async with anyio.create_task_group() as group:
        server = await group.start(partial(run_server, simulator, host, port, grace=grace))
        yield server
        group.cancel_scope.cancel()
