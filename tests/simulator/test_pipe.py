"""HTTP/1.1 over a pipe, in virtual time: keep-alive, framing, faults, and clients that leave."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
import h11
import pytest
from anyio.abc import ByteStream
from attrs import define, field

from batchllm.simulator import Simulator, open_pipes

pytestmark = pytest.mark.anyio

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "%s"}], "stream": %s}'


@define
class Client:
    """A plain HTTP client that shows what comes over the wire."""

    stream: ByteStream
    http: h11.Connection = field(factory=lambda: h11.Connection(h11.CLIENT))

    async def ask(self, prompt: str, *headers: tuple[str, str], stream: bool = False) -> None:
        body = BODY % (prompt.encode(), b"true" if stream else b"false")
        fields = [("host", "sim"), ("content-length", str(len(body))), *headers]
        head = h11.Request(method="POST", target="/v1/chat/completions", headers=fields)
        await self.stream.send(
            (self.http.send(head) or b"") + (self.http.send(h11.Data(body)) or b"")
        )
        self.http.send(h11.EndOfMessage())

    async def answer(self) -> tuple[h11.Response, bytes]:
        head, body = None, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self.http.receive_data(await self.stream.receive())
                except anyio.EndOfStream:
                    self.http.receive_data(b"")
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, body


@asynccontextmanager
async def connected(simulator: Simulator) -> AsyncGenerator[Client]:
    async with open_pipes(simulator) as connect, await connect() as stream:
        yield Client(stream)


async def test_a_connection_serves_one_request_after_the_other() -> None:
    """One connection answers several requests, in virtual time."""
    simulator = Simulator("default?latency=60")
    async with connected(simulator) as client:
        start = anyio.current_time()
        for number in range(3):
            await client.ask(f"p{number}")
            head, body = await client.answer()
            assert head.status_code == 200
            assert b'"finish_reason":"stop"' in body
            client.http.start_next_cycle()
        assert anyio.current_time() - start == pytest.approx(180)
    assert simulator.log.summary()["outcomes"] == {"ok": 3}


async def test_a_stream_is_chunked() -> None:
    """A reply without a length comes in chunks and leaves the connection usable."""
    async with connected(Simulator("default?per_token=1")) as client:
        await client.ask("x", stream=True)
        head, body = await client.answer()
        assert (b"transfer-encoding", b"chunked") in head.headers
        assert body.endswith(b"data: [DONE]\n\n")
        client.http.start_next_cycle()
        await client.ask("y")
        assert (await client.answer())[0].status_code == 200


async def test_split_pieces_arrive_apart() -> None:
    """A reply that a fault cuts into pieces is sent in pieces."""
    async with connected(Simulator()) as client:
        await client.ask("[[fault:split]]")
        await client.stream.receive()
        assert len(await client.stream.receive()) == 5


async def test_a_client_may_ask_to_close() -> None:
    """After `Connection: close` the server ends the connection."""
    async with connected(Simulator()) as client:
        await client.ask("x", ("connection", "close"))
        head, _ = await client.answer()
        assert (b"connection", b"close") in head.headers
        with pytest.raises(anyio.EndOfStream):
            await client.stream.receive()


@pytest.mark.parametrize("fault", ["disconnect", "disconnect-body=9", "connect"])
async def test_a_connection_is_lost_on_purpose(fault: str) -> None:
    """The client sees the end before the reply is whole."""
    simulator = Simulator()
    async with connected(simulator) as client:
        await client.ask(f"[[fault:{fault}]]")
        with pytest.raises(h11.RemoteProtocolError):
            await client.answer()
    assert simulator.log.entries[0].outcome == "fault"


@pytest.mark.parametrize("prompt", ["slow", "[[fault:stall]]", "[[fault:stall-head]]"])
async def test_a_client_that_leaves_is_noticed(prompt: str) -> None:
    """A request whose client has gone is logged as aborted when it goes, not when it would end."""
    simulator = Simulator("default?latency=30")
    async with open_pipes(simulator) as connect:
        client = Client(await connect())
        await client.ask(prompt)
        await anyio.sleep(40 if "stall" in prompt else 10)
        left = anyio.current_time()
        await client.stream.aclose()
        await anyio.sleep(1)
        (row,) = simulator.log
        assert row.outcome == "aborted"
        assert row.finished == pytest.approx(left)


async def test_a_client_that_leaves_between_the_pieces_is_noticed() -> None:
    """A stream ends where its reader left."""
    simulator = Simulator("default?per_token=1")
    async with open_pipes(simulator) as connect:
        client = Client(await connect())
        await client.ask("x", stream=True)
        await client.stream.receive()
        await client.stream.aclose()
        await anyio.sleep(2)
        assert simulator.log.entries[0].outcome == "aborted"


async def test_what_is_no_http_is_refused() -> None:
    """Garbage gets a 400 and the connection is closed."""
    simulator = Simulator()
    async with connected(simulator) as client:
        await client.stream.send(b"what is this?\r\n\r\n")
        assert (await client.stream.receive()).startswith(b"HTTP/1.1 400 ")
        with pytest.raises(anyio.EndOfStream):
            await client.stream.receive()
    assert len(simulator.log) == 0


async def read_to_the_end(stream: ByteStream) -> None:
    with suppress(anyio.EndOfStream):
        while True:
            await stream.receive()


async def test_a_client_may_leave_without_a_word() -> None:
    """Connections that end before or within a request leave no trace and hurt nobody."""
    simulator = Simulator()
    async with open_pipes(simulator) as connect:
        for sent in (b"", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"):
            stream = await connect()
            if sent:
                await stream.send(sent)
            await stream.send_eof()
            await read_to_the_end(stream)
            await stream.aclose()
    assert len(simulator.log) == 0


async def test_a_client_that_waits_to_be_told_is_told() -> None:
    """`Expect: 100-continue` is answered before the body comes."""
    body = BODY % (b"x", b"false")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    async with connected(Simulator()) as client:
        await client.stream.send(head + b"content-length: %d\r\n\r\n" % len(body))
        assert (await client.stream.receive()).startswith(b"HTTP/1.1 100 ")
        await client.stream.send(body)
        assert (await client.stream.receive()).startswith(b"HTTP/1.1 200 ")


async def test_a_pipe_gives_no_more_than_is_asked_for() -> None:
    """Bytes that do not fit stay for the next read."""
    async with connected(Simulator()) as client:
        await client.ask("x")
        assert await client.stream.receive(8) == b"HTTP/1.1"
        assert await client.stream.receive(4) == b" 200"


async def test_leaving_the_block_ends_what_is_under_way() -> None:
    """Requests that have not ended when the pipes close are aborted."""
    simulator = Simulator("default?latency=30")
    async with open_pipes(simulator) as connect:
        stream = await connect()
        await Client(stream).ask("x")
        await anyio.sleep(1)
    await stream.aclose()
    assert simulator.log.entries[0].outcome == "aborted"
    assert simulator.log.summary()["in_flight"] == 0
