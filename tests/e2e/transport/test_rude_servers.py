"""Our connections against a server that misbehaves: what is re-used, discarded, sent again."""

import errno
import gzip
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from batchllm.core import MalformedResponseError, TransportError
from batchllm.transport import ConnectionStats, HttpClient, HttpReply, HttpTransport
from batchllm.transport.connection import State
from batchllm.transport.http import ParserName
from batchllm.transport.httptools_reader import is_installed
from tests.e2e.patience import until
from tests.e2e.transport.rude_server import (
    BODY,
    RudeServer,
    Script,
    Talk,
    chunked,
    polite,
    reply,
    rude,
)

pytestmark = pytest.mark.anyio

PARSERS: list[ParserName] = ["plain", "h11"]
if is_installed():
    PARSERS.append("httptools")


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> ParserName:
    """Give each parser, since all have to behave alike."""
    name: ParserName = request.param
    return name


class Asker:
    """A client of one server."""

    def __init__(self, http: HttpTransport, server: RudeServer, max_body: int) -> None:
        self.http = http
        self.server = server
        self.client = HttpClient(http, base_url=server.url, max_body=max_body)

    async def ask(self, body: bytes = b"{}") -> HttpReply:
        return await self.client.request_json("POST", "/v1/x", body)

    @property
    def stats(self) -> ConnectionStats:
        return self.http.statistics()

    @property
    def heard(self) -> bool:
        """Return whether something has arrived on each idle connection; nothing is read of it."""
        pool = self.http._pools.peek()
        assert pool is not None
        idle = [one for each in pool._origins.values() for one in each._idle]
        return all(one.channel.arrived() is not None for one in idle)

    @property
    def states(self) -> list[State]:
        """Where the connections stand."""
        pool = self.http._pools.peek()
        assert pool is not None
        return [one.state.state for each in pool._origins.values() for one in each._all]


@asynccontextmanager
async def asking(
    parser: ParserName,
    *scripts: Script,
    replay: bool = True,
    keep_alive: float = 30.0,
    max_body: int = 1_000_000,
) -> AsyncGenerator[Asker]:
    with anyio.fail_after(20):
        async with (
            rude(*scripts) as server,
            HttpTransport(parser=parser, replay=replay, keep_alive=keep_alive) as http,
        ):
            yield Asker(http, server, max_body)


def once(answer: bytes, *more: bytes, then: Script | None = None) -> Script:
    """Answer one request with these pieces, sent apart, then do the rest."""

    async def script(talk: Talk) -> None:
        await talk.request()
        for piece in (answer, *more):
            await talk.send(piece)
            await anyio.sleep(0.005 if more else 0)
        await (then or polite)(talk)

    return script


async def hang_up(talk: Talk) -> None:
    """Close."""


async def stand_still(talk: Talk) -> None:
    await anyio.sleep_forever()


async def test_one_connection_serves_one_request_after_the_other(parser: ParserName) -> None:
    """A whole reply leaves its connection for the next request."""
    async with asking(parser, polite) as one:
        for _ in range(5):
            assert (await one.ask()).body == BODY
        assert one.server.connections == 1
        assert (one.stats.opened, one.stats.reused, one.stats.open) == (1, 4, 1)
    assert one.stats == ConnectionStats()


ODD_BUT_WHOLE = {
    "chunks": chunked(BODY[:5], BODY[5:]),
    "chunk extensions": chunked(BODY, extension=b';name="v;al"'),
    "a length beside the chunks": chunked(BODY, head=b"content-length: 5\r\n"),
    "trailers": chunked(BODY)[:-2] + b"x-sum: 1\r\n\r\n",
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + reply(),
    "103 with headers first": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + reply(),
    "gzip": reply(gzip.compress(BODY), b"content-encoding: gzip"),
    "gzip in chunks": chunked(gzip.compress(BODY), head=b"content-encoding: gzip\r\n"),
    "deflate": reply(zlib.compress(BODY), b"content-encoding: deflate"),
    "deflate without a frame": reply(zlib.compress(BODY)[2:-4], b"content-encoding: deflate"),
    "gzip that is none": reply(BODY, b"content-encoding: gzip"),
    "utf-8 as an encoding": reply(BODY, b"content-encoding: utf-8"),
    "br that is none": reply(BODY, b"content-encoding: br"),
    "gzip said twice": reply(gzip.compress(BODY), *[b"content-encoding: gzip"] * 2),
    "gzip twice": reply(gzip.compress(gzip.compress(BODY)), b"content-encoding: gzip, gzip"),
    "the same length twice": reply(BODY, b"content-length: %d" % len(BODY)),
    "a length and its twin in one": reply(BODY).replace(
        b"content-length: %d" % len(BODY), b"content-length: %d, %d" % (len(BODY), len(BODY))
    ),
    "two content types": reply(BODY, b"content-type: text/event-stream"),
    "two dates": reply(BODY, b"date: x", b"date: y"),
    "spaces round values": reply(BODY, b"x-a:   b   "),
    "an empty value": reply(BODY, b"x-a:"),
}


@pytest.mark.parametrize("name", ODD_BUT_WHOLE)
@pytest.mark.parametrize("cut", [0, 7])
async def test_odd_replies_are_read_and_their_connection_is_kept(
    parser: ParserName, name: str, cut: int
) -> None:
    """Framing, encodings and interim replies, whole or cut into pieces of any size."""
    data = ODD_BUT_WHOLE[name]

    async def script(talk: Talk) -> None:
        while True:
            await talk.request()
            for at in range(0, len(data), cut or len(data)):
                await talk.send(data[at : at + (cut or len(data))])

    async with asking(parser, script) as one:
        for _ in range(2):
            answer = await one.ask()
            assert (answer.status, answer.body) == (200, BODY)
        assert (one.server.connections, one.stats.reused) == (1, 1)


LAST = {
    "connection: close": reply(BODY, b"connection: close"),
    "Connection: Close": reply(BODY, b"Connection: Close"),
    "HTTP/1.0": reply().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no length": b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n" + BODY,
    "1.0, no length": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
}


@pytest.mark.parametrize("name", LAST)
async def test_a_last_reply_is_valid_and_ends_its_connection(parser: ParserName, name: str) -> None:
    """``Connection: close``, HTTP/1.0 and bodies that end with the connection."""
    async with asking(parser, once(LAST[name], then=hang_up)) as one:
        for _ in range(2):
            assert (await one.ask()).body == BODY
        assert (one.server.connections, one.stats.reused) == (2, 0)
        assert one.stats.discarded == {"closed by the server after a reply": 2}


CUT = {
    "no byte": b"",
    "within the status line": b"HTTP/1.1 2",
    "within the head": reply()[:40],
    "after the head": reply()[: -len(BODY)],
    "within the body": reply()[:-9],
    "within a chunk": chunked(BODY)[:-20],
    "before the last chunk": chunked(BODY)[:-5],
    "after an interim reply": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_reply_that_is_cut_off_is_no_answer(
    parser: ParserName, name: str, how: str
) -> None:
    """An end or a reset anywhere in a reply is an error that says that it may be billed."""

    async def script(talk: Talk) -> None:
        await talk.request()
        if CUT[name]:
            await talk.send(CUT[name])
            await anyio.sleep(0.01)
        if how == "reset":
            await talk.reset()

    async with asking(parser, script) as one:
        with pytest.raises(TransportError, match="may have done, and billed") as caught:
            await one.ask()
        assert caught.value.sent
        assert (one.stats.opened, one.stats.open, one.stats.replayed) == (1, 0, 0)
        assert len(one.server.requests) == 1


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_was_closed_while_idle_is_not_used(
    parser: ParserName, how: str
) -> None:
    """A server that closed in the meantime is noticed before anything is sent."""

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(reply())
        if how == "reset":
            await anyio.sleep(0.01)
            await talk.reset()

    async with asking(parser, script, polite) as one:
        await one.ask()
        await until(lambda: one.heard)
        assert (await one.ask()).body == BODY
        assert (one.stats.opened, one.stats.replayed) == (2, 0)
        assert one.stats.discarded == {"closed by the server": 1}


async def vanish_at_second(talk: Talk) -> None:
    """Answer once, then close on the next request without a byte, as in a race."""
    await talk.request()
    await talk.send(reply())
    await talk.request()


async def reset_at_second(talk: Talk) -> None:
    await vanish_at_second(talk)
    await talk.reset()


@pytest.mark.parametrize("script", [vanish_at_second, reset_at_second])
async def test_a_race_with_the_servers_close_is_replayed_once(
    parser: ParserName, script: Script
) -> None:
    """A re-used connection that ends before the first byte: the request goes out once more."""
    async with asking(parser, script, polite) as one:
        await one.ask(b"1")
        assert (await one.ask(b"2")).body == BODY
        assert one.stats.replayed == 1
        assert one.server.requests == [b"1", b"2", b"2"]


async def test_a_request_is_never_sent_three_times(parser: ParserName) -> None:
    """If the replay fails as well, the request has failed."""
    async with asking(parser, vanish_at_second, hang_up) as one:
        await one.ask(b"1")
        with pytest.raises(TransportError):
            await one.ask(b"2")
        assert one.stats.replayed == 1


async def test_the_replay_can_be_switched_off(parser: ParserName) -> None:
    """Where a server bills before it answers, nothing is sent twice."""
    async with asking(parser, vanish_at_second, polite, replay=False) as one:
        await one.ask(b"1")
        with pytest.raises(TransportError):
            await one.ask(b"2")
        assert one.server.requests == [b"1", b"2"]


async def test_nothing_is_replayed_after_the_first_byte(parser: ParserName) -> None:
    """One byte of a reply means that the server has the request."""

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(reply())
        await talk.request()
        await talk.send(b"H")
        await anyio.sleep(0.01)

    async with asking(parser, script, polite) as one:
        await one.ask(b"1")
        with pytest.raises(TransportError):
            await one.ask(b"2")
        assert one.stats.replayed == 0
        assert one.server.requests == [b"1", b"2"]


@pytest.mark.parametrize("later", [False, True])
async def test_surplus_bytes_discard_the_connection(parser: ParserName, later: bool) -> None:
    """A second reply to one request, at once or later, is never the next request's answer."""
    wrong = reply(b'"wrong"')

    async def script(talk: Talk) -> None:
        while True:
            body = await talk.request()
            await talk.send(reply(body) + (b"" if later else wrong))
            if later:
                await talk.send(wrong)

    async with asking(parser, script) as one:
        for number in range(10):
            body = b"%d" % number
            assert (await one.ask(body)).body == body
            await until(lambda: one.heard)
        assert one.stats.discarded["surplus bytes"] >= 9
        assert one.stats.reused == 0


async def test_a_late_408_is_no_answer(parser: ParserName) -> None:
    """The words with which a server closes an idle connection are not the next reply."""
    goodbye = reply(b"", b"connection: close", status=b"408 Request Timeout")

    async def idle(talk: Talk) -> None:
        await talk.request()
        await talk.send(reply())
        await anyio.sleep(0.01)
        await talk.send(goodbye)

    async def crossing(talk: Talk) -> None:
        await talk.request()
        await talk.send(reply())
        await talk.request()
        await talk.send(goodbye)

    for script, replayed in ((idle, 0), (crossing, 1)):
        async with asking(parser, script, polite) as one:
            await one.ask()
            if script is idle:
                await until(lambda: one.heard)
            assert (await one.ask()).status == 200
            assert one.stats.replayed == replayed


async def test_a_408_on_a_new_connection_is_an_answer(parser: ParserName) -> None:
    """Without an earlier reply it is about this request."""
    goodbye = reply(b"", b"connection: close", status=b"408 Request Timeout")
    async with asking(parser, once(goodbye, then=hang_up)) as one:
        assert (await one.ask()).status == 408


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n" * 3,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"x-flood: 0123456789abcdef\r\n" * 6_000,
    "an endless header": b"HTTP/1.1 200 OK\r\nx-flood: " + b"a" * 200_000,
    "a chunk without a size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a change of protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n"
    b"connection: upgrade\r\n\r\nhello",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n123456",
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_not_http_is_an_error(parser: ParserName, name: str) -> None:
    """Garbage and floods end the request and its connection, with little read."""
    async with asking(parser, once(GARBAGE[name], then=stand_still), polite) as one:
        with pytest.raises(TransportError, match=r"not HTTP/1\.1"):
            await one.ask()
        assert one.stats.open == 0
        assert (await one.ask()).status == 200


@pytest.mark.parametrize("framing", ["length", "chunks", "none"])
async def test_a_huge_body_is_refused_while_it_is_read(parser: ParserName, framing: str) -> None:
    """Reading stops at the limit, whatever the server declared."""
    head = {
        "length": b"content-length: 99999999999\r\n\r\n",
        "chunks": b"transfer-encoding: chunked\r\n\r\n" + b"fffffff\r\n",
        "none": b"\r\n",
    }[framing]

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(b"HTTP/1.1 200 OK\r\n" + head)
        while True:
            await talk.send(b"x" * 65_536)

    async with asking(parser, script, max_body=200_000) as one:
        with pytest.raises(MalformedResponseError, match="larger than 200,000 bytes"):
            await one.ask()
        assert one.stats.open == 0


async def test_a_bomb_is_refused(parser: ParserName) -> None:
    """A small body that unpacks to a large one stops at the limit."""
    bomb = reply(gzip.compress(b"0" * 5_000_000), b"content-encoding: gzip")
    async with asking(parser, once(bomb)) as one:
        with pytest.raises(MalformedResponseError, match="unpacks to more than"):
            await one.ask()


async def test_a_redirect_is_an_answer(parser: ParserName) -> None:
    """No request follows it, so no key goes anywhere else."""
    away = reply(b"", b"location: http://127.0.0.1:1/", status=b"307 Temporary Redirect")
    async with asking(parser, once(away)) as one:
        assert (await one.ask()).status == 307
        assert len(one.server.requests) == 1


@pytest.mark.parametrize(("sent", "state"), [(b"", State.WAITING), (reply()[:-5], State.BODY)])
async def test_a_cancelled_request_discards_its_connection(
    parser: ParserName, sent: bytes, state: State
) -> None:
    """A cancellation ends the request wherever it stands, and the server sees the client leave."""

    async def script(talk: Talk) -> None:
        await talk.request()
        if sent:
            await talk.send(sent)
        await talk.request()

    async with asking(parser, script, polite) as one:
        async with anyio.create_task_group() as group:
            group.start_soon(one.ask)
            await until(lambda: len(one.server.requests) == 1 and one.states == [state])
            group.cancel_scope.cancel("the caller left")
        assert one.stats.discarded == {"cancelled": 1}
        assert (await one.ask()).status == 200
        await until(lambda: one.server.live == 1)


async def test_a_trickle_does_not_outlast_the_deadline(parser: ParserName) -> None:
    """Bytes that arrive now and then do not put the deadline off."""

    async def script(talk: Talk) -> None:
        await talk.request()
        for byte in chunked(b" " * 10_000):
            await talk.send(bytes([byte]))
            await anyio.sleep(0.005)

    async with asking(parser, script) as one:
        with anyio.move_on_after(0.1) as scope:
            await one.ask()
        assert scope.cancelled_caught
        assert one.stats.open == 0


async def test_a_long_request_is_sent_whole(parser: ParserName) -> None:
    """A body larger than every buffer arrives as it is, and so does its answer."""
    body = b"0123456789" * 600_000

    async def echo(talk: Talk) -> None:
        while True:
            await talk.send(reply(await talk.request()))

    async with asking(parser, echo, max_body=10_000_000) as one:
        assert (await one.ask(body)).body == body
        assert (await one.ask(b"x")).body == b"x"
        assert one.server.connections == 1


async def test_a_refusal_in_the_middle_of_a_long_request_is_heard(parser: ParserName) -> None:
    """A server that answers and closes before it has read all is not a broken connection."""

    async def script(talk: Talk) -> None:
        await talk.stream.receive()
        await talk.send(reply(b"", b"connection: close", status=b"413 Content Too Large"))
        await talk.stream.send_eof()
        with anyio.move_on_after(1):
            while True:
                await talk.stream.receive()

    async with asking(parser, script) as one:
        assert (await one.ask(b"x" * 5_000_000)).status == 413


async def test_idle_connections_expire(parser: ParserName) -> None:
    """A connection that rested longer than it may is not used again."""
    async with asking(parser, polite, keep_alive=0.02) as one:
        await one.ask()
        await anyio.sleep(0.05)
        await one.ask()
        assert one.stats.discarded == {"expired": 1}
        assert one.server.connections == 2


async def test_what_the_server_says_about_keeping_alive_counts(parser: ParserName) -> None:
    """A shorter time of the server's replaces our own."""
    answer = reply(BODY, b"keep-alive: timeout=1")
    async with asking(parser, lambda talk: talk.serve(answer)) as one:
        await one.ask()
        await one.ask()
        assert one.stats.discarded == {"expired": 1}


async def test_the_most_recent_connection_goes_first(parser: ParserName) -> None:
    """Ten requests at once need ten connections; one after the other, they use the last."""
    async with asking(parser, polite) as one:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(one.ask)
        opened = one.stats.opened
        for _ in range(10):
            await one.ask()
        assert one.stats.opened == opened <= 10
        assert one.stats.open == opened


async def test_every_answer_belongs_to_its_request(parser: ParserName) -> None:
    """Of a server that sends surplus bytes at any time, no answer goes to another request."""

    async def script(talk: Talk) -> None:
        for number in range(100):
            body = await talk.request()
            junk = reply(b'"wrong"') if number % 3 else b""
            await talk.send(reply(body) + (junk if number % 2 else b""))
            if not number % 2:
                await talk.send(junk)

    async with asking(parser, script) as one:

        async def ask(number: int) -> None:
            for turn in range(10):
                body = b"%d.%d" % (number, turn)
                assert (await one.ask(body)).body == body

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, number)


async def test_no_descriptor_left(parser: ParserName, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the error says what to do; with connections open the request waits for one."""
    from batchllm.transport import dialling

    real = dialling.socket.socket
    allowed = [1]

    def scarce(*args: int) -> object:
        if allowed[0] == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        allowed[0] -= 1
        return real(*args)

    class Sockets:
        def __getattr__(self, name: str) -> object:
            return scarce if name == "socket" else getattr(real_module, name)

    real_module = dialling.socket
    async with asking(parser, polite) as one:
        monkeypatch.setattr(dialling, "socket", Sockets())
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one.ask)
        assert len(one.server.requests) == 5
        await one.http.aclose()
        with pytest.raises(TransportError, match="raise the limit") as caught:
            await one.ask()
        assert not caught.value.sent
        monkeypatch.undo()


REFUSAL = b"429 Too Many Requests"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 429 No\r\ncontent-length: 99\r\n\r\ntoo ma", b"too ma"),
        (b"HTTP/1.1 429 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntoo\r\n", b"too"),
        (b"HTTP/1.1 429 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntoo\r\nzz\r\n", None),
        (reply(b"x", b"content-encoding: br", status=REFUSAL), b"x"),
        (reply(b"\x1f\x8bx", b"content-encoding: gzip", status=REFUSAL), b"\x1f\x8bx"),
        (reply(gzip.compress(b"no")[:-4], b"content-encoding: gzip", status=REFUSAL), None),
        (reply(gzip.compress(b"no"), b"content-encoding: gzip", status=REFUSAL), b"no"),
    ],
)
async def test_a_refusal_outranks_its_body(
    parser: ParserName, answer: bytes, body: bytes | None
) -> None:
    """A refusal with a broken body of any kind keeps its status."""

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(answer)

    async with asking(parser, script, script, polite) as asker:
        whole = await asker.ask()
        async with asker.client.stream("/v1/x", b"{}") as stream:
            streamed = (stream.status, b"".join([piece async for piece in stream]))
        assert whole.status == 429
        assert streamed == (429, whole.body)
        assert body is None or whole.body == body
        assert (await asker.ask()).status == 200


async def test_a_refusal_with_an_endless_body_stays_one(parser: ParserName) -> None:
    """No more of it is read than any reply may have."""
    answer = reply(b"x" * 300_000, status=REFUSAL)
    async with asking(parser, once(answer), once(answer), max_body=1_000) as asker:
        assert (await asker.ask()).status == 429
        async with asker.client.stream("/v1/x", b"{}") as stream:
            await stream.read()
        assert stream.status == 429
