"""The simulator behind httpx's transport interface, without sockets: for virtual time."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

import anyio
import anyio.lowlevel
import httpx
from attrs import define, field

from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.simulator import Exchange, Simulator
from batchllm.simulator.wires import Chunk, Ending, WireRequest


class SimulatorTransport(httpx.AsyncBaseTransport):
    """Hands every request to `simulator` and plays the reply.

    Delays are `anyio.sleep`, so that virtual time jumps over them. Lost connections are httpx's
    `ConnectError`, `RemoteProtocolError` and `ReadError`; a request's read timeout is kept, and
    a reply that stalls waits for ever without one.
    """

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the process as what the simulator was made of; there it begins anew.

        Its quotas go by the clock of one event loop, so that its state means nothing elsewhere.
        """
        made = self.simulator
        return _begin_anew, (made.scenario, made.seed, made.clock, made.wall_clock)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Play one request up to the head of its reply."""
        body = await request.aread()
        exchange = self.simulator.handle(
            WireRequest(
                method=request.method,
                target=request.url.raw_path.decode("ascii"),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
            )
        )
        patience = _patience(request)
        try:
            await _play_head(exchange, request, patience)
        except BaseException as error:
            exchange.finish(aborted=not _is_on_purpose(error))
            raise
        reply = exchange.reply
        return httpx.Response(
            reply.status,
            headers=list(reply.headers),
            stream=_ReplyStream(exchange, request, patience),
            request=request,
        )


def _begin_anew(
    scenario: Scenario,
    seed: int,
    clock: Callable[[], float],
    wall_clock: Callable[[], float] | None,
) -> SimulatorTransport:
    return SimulatorTransport(
        Simulator(scenario, seed=seed, clock=clock, wall_clock=wall_clock),
    )


@define(eq=False)
class _ReplyStream(httpx.AsyncByteStream, AsyncIterator[bytes]):
    _exchange: Exchange
    _request: httpx.Request
    _patience: float
    _chunks: Iterator[Chunk] = field(init=False)
    _ended: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._chunks = iter(self._exchange.reply.chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is not None:
            if chunk.delay:
                await _sleep(chunk.delay, self._request, self._patience)
            return chunk.data
        if self._exchange.reply.ending is Ending.STALL:
            await _sleep(math.inf, self._request, self._patience)
        self._ended = True
        self._exchange.finish()
        if self._exchange.reply.ending is Ending.DISCONNECT:
            raise httpx.ReadError("connection reset by the simulator", request=self._request)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._exchange.finish(aborted=True)


async def _play_head(exchange: Exchange, request: httpx.Request, patience: float) -> None:
    reply = exchange.reply
    if not reply.connects:
        await anyio.lowlevel.checkpoint()
        raise httpx.ConnectError("connection refused by the simulator", request=request)
    await _sleep(reply.head_delay, request, patience)
    if not reply.sends_head:
        if reply.ending is Ending.STALL:
            await _sleep(math.inf, request, patience)
        raise httpx.RemoteProtocolError(
            "the simulator disconnected without sending a response", request=request
        )


async def _sleep(seconds: float, request: httpx.Request, patience: float) -> None:
    if seconds <= patience:
        await anyio.sleep(seconds)
        return
    await anyio.sleep(patience)
    raise httpx.ReadTimeout(f"nothing received for {patience:g} s", request=request)


def _patience(request: httpx.Request) -> float:
    timeouts = request.extensions.get("timeout") or {}
    read = timeouts.get("read")
    return math.inf if read is None else float(read)


def _is_on_purpose(error: BaseException) -> bool:
    return isinstance(error, httpx.ConnectError | httpx.RemoteProtocolError)
