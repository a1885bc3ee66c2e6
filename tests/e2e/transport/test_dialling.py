"""Connecting to names with several addresses, and streams that are left."""

import socket
from typing import Any

import anyio
import pytest

from batchllm.core import TransportError
from batchllm.transport import HttpClient, HttpTransport, dialling
from batchllm.transport.exchange_errors import CannotConnectError
from tests.e2e.patience import until
from tests.e2e.transport.rude_server import Talk, polite, rude

pytestmark = pytest.mark.anyio


def listening() -> tuple[socket.socket, tuple[int, Any]]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, (int(socket.AF_INET), server.getsockname())


async def test_an_address_that_refuses_gives_way_at_once() -> None:
    """The next address is tried without waiting for the head start to end."""
    server, good = listening()
    with server, anyio.fail_after(10):
        dead, bad = listening()
        dead.close()
        connected = await dialling.dial([bad, bad, good])
        assert connected.getpeername() == good[1]
        connected.close()
        with pytest.raises(CannotConnectError, match="ConnectionRefusedError"):
            await dialling.dial([bad, bad])


async def test_an_address_that_does_not_answer_is_overtaken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A silent address holds the others up for the head start only, and is given up."""
    server, good = listening()
    real = dialling._connect
    given_up: list[bool] = []

    async def connect(family: int, at: Any) -> socket.socket:
        if at == "silent":
            try:
                await anyio.sleep_forever()
            finally:
                given_up.append(True)
        return await real(family, at)

    monkeypatch.setattr(dialling, "_connect", connect)
    with server, anyio.fail_after(10):
        connected = await dialling.dial([(0, "silent"), good])
        assert connected.getpeername() == good[1]
        connected.close()
        assert given_up


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 first, then one of each, so that one broken family costs one head start."""

    async def look_up(*args: Any, **settings: Any) -> list[Any]:
        six = [(socket.AF_INET6, 1, 6, "", (f"::{n}", 80, 0, 0)) for n in (1, 2)]
        four = [(socket.AF_INET, 1, 6, "", (f"10.0.0.{n}", 80)) for n in (1, 2, 3)]
        return [*four, *six]

    monkeypatch.setattr(anyio, "getaddrinfo", look_up)
    found = [at[0] for _, at in await dialling.resolve("name.test", 80)]
    assert found == ["::1", "10.0.0.1", "::2", "10.0.0.2", "10.0.0.3"]


async def test_a_name_that_does_not_exist_is_named() -> None:
    """The error says which name, and that nothing was sent."""
    async with HttpTransport() as http:
        client = HttpClient(http, base_url="http://no-such-host.invalid")
        with pytest.raises(TransportError, match=r"no-such-host.*cannot be looked up") as caught:
            await client.request_json("POST", "/", b"{}")
    assert not caught.value.sent


async def test_a_connect_that_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every wait of a connect ends, and the error says after how long."""
    from batchllm.transport import pool

    monkeypatch.setattr(pool, "CONNECT_SECONDS", 0.05)

    async def never() -> Any:
        await anyio.sleep_forever()

    async with HttpTransport(connect=never) as http:
        client = HttpClient(http, base_url="http://api.test")
        with pytest.raises(TransportError, match=r"no connection within 0\.05 s") as caught:
            await client.request_json("POST", "/", b"{}")
    assert not caught.value.sent


@pytest.mark.parametrize("parser", ["plain", "h11", "httptools"])
async def test_a_stream_is_read_as_it_comes(parser: Any) -> None:
    """Pieces arrive while the server still sends; the connection is kept after the last."""
    if parser == "httptools":
        pytest.importorskip("httptools")
    go_on = anyio.Event()

    async def script(talk: Talk) -> None:
        while True:
            await talk.request()
            await talk.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await go_on.wait()
            await talk.send(b"3\r\ntwo\r\n")
            await talk.send(b"0\r\n\r\n")

    with anyio.fail_after(10):
        async with rude(script) as server, HttpTransport(parser=parser) as http:
            client = HttpClient(http, base_url=server.url)
            for _ in range(2):
                async with client.stream("/", b"{}") as stream:
                    pieces = []
                    async for piece in stream:
                        pieces.append(piece)
                        go_on.set()
                assert b"".join(pieces) == b"onetwo"
            assert (http.statistics().opened, http.statistics().reused) == (1, 1)


async def test_a_stream_that_is_left_discards_its_connection() -> None:
    """Neither leaving early nor a cancellation leaves a connection or a warning behind."""

    async def endless(talk: Talk) -> None:
        await talk.request()
        await talk.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await talk.send(b"5\r\nhello\r\n")
            await anyio.sleep(0.01)

    with anyio.fail_after(10):
        async with rude(endless) as server, HttpTransport() as http:
            client = HttpClient(http, base_url=server.url)
            async with client.stream("/", b"{}") as stream:
                async for piece in stream:
                    assert piece == b"hello"
                    break
            pieces: list[bytes] = []

            async def read_on() -> None:
                async with client.stream("/", b"{}") as stream:
                    async for piece in stream:
                        pieces.append(piece)  # noqa: PERF401 - seen as they come

            async with anyio.create_task_group() as group:
                group.start_soon(read_on)
                await until(lambda: len(pieces) > 1)
                group.cancel_scope.cancel("the caller left")
            assert http.statistics().discarded == {"cancelled": 2}
            assert http.statistics().open == 0


async def test_nobody_waits_for_a_goodbye() -> None:
    """A run that ends closes its idle connections at once."""
    with anyio.fail_after(10):
        async with rude(polite) as server:
            async with HttpTransport() as http:
                client = HttpClient(http, base_url=server.url)
                async with anyio.create_task_group() as group:
                    for _ in range(20):
                        group.start_soon(client.request_json, "POST", "/", b"{}")
                assert http.statistics().open > 0
            assert http.statistics().open == 0
