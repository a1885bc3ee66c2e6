"""The HTTP seam against transports that answer from a script."""

import base64
import gzip
import math
import re
import traceback
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import certifi
import httpx
import pytest

from batchllm.api import run_batch
from batchllm.core import (
    ConfigError,
    MalformedResponseError,
    ProcessorConfig,
    RecordedError,
    RetryConfig,
    StrategyError,
    TransportError,
)
from batchllm.llm_strategies import llm
from batchllm.simulator import Simulator, open_pipes
from batchllm.transport import ConnectionStats, HttpClient, HttpTransport, Secret

pytestmark = pytest.mark.anyio

URL = "http://api.test/v1"


def check_reduced(error: BaseException, raised: Exception) -> None:
    """Check that of the cause nothing is left but its type and its words."""
    cause = error.__cause__
    assert isinstance(cause, RecordedError)
    assert (cause.type_name, cause.message) == (type(raised).__name__, str(raised))
    assert (cause.__cause__, cause.__context__, cause.__traceback__) == (None, None, None)
    assert error.__context__ is None


class Pieces(httpx.AsyncByteStream):
    """A body in pieces; an exception among them is raised, and the closing is noted."""

    def __init__(self, *pieces: bytes | Exception, endless: bool = False) -> None:
        self.pieces = pieces
        self.endless = endless
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
        if self.endless:
            await anyio.sleep_forever()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed = True


class Transport(httpx.AsyncBaseTransport):
    """Answers each request with one body and keeps the requests."""

    def __init__(self, body: Pieces | Exception, status: int = 200, **headers: str) -> None:
        self.body = body
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.25)
        self.requests.append(request)
        if isinstance(self.body, Exception):
            raise self.body
        return httpx.Response(self.status, headers=self.headers, stream=self.body)


async def test_a_reply_is_read_whole() -> None:
    """Status, headers in lower case and body come back."""
    body = Pieces(b'{"a"', b": 1}")
    transport = Transport(body, X_Request_ID="r1", content_length="8")
    reply = await HttpClient(transport, base_url=URL).request_json("POST", "/chat", b"{}")
    assert (reply.status, reply.body, reply.headers["x-request-id"]) == (200, b'{"a": 1}', "r1")
    assert body.closed


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_other_methods_go_the_same_way(method: str) -> None:
    """A resource can be read, changed and deleted through the same client."""
    transport = Transport(Pieces(b"{}"))
    await HttpClient(transport, base_url=URL).request_json(method, "/things/1", b"[1]")
    (request,) = transport.requests
    assert (request.method, await request.aread()) == (method, b"[1]")
    async with httpx.AsyncClient(transport=transport) as theirs:
        reply = await HttpClient(theirs, base_url=URL).request_json(method, "/things/1")
    assert (transport.requests[-1].method, reply.status) == (method, 200)


async def test_the_request_is_complete() -> None:
    """A prepared request carries host, length, JSON type, the client's headers and the call's."""
    transport = Transport(Pieces(b"{}"))
    client = HttpClient(transport, base_url=URL + "/", headers={"Authorization": "Bearer k"})
    await client.request_json("POST", "/chat?api-version=1", b"[1]", headers={"X-Call": "7"})
    request = transport.requests[0]
    assert str(request.url) == "http://api.test/v1/chat?api-version=1"
    assert request.method == "POST"
    assert await request.aread() == b"[1]"
    assert dict(request.headers) == {
        "host": "api.test",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "user-agent": "batchllm",
        "authorization": "Bearer k",
        "content-length": "3",
        "x-call": "7",
    }


@pytest.mark.parametrize("as_client", [False, True])
async def test_a_query_of_the_address_comes_last(as_client: bool) -> None:
    """An address with a query, such as Azure's, keeps it behind each path."""
    transport = Transport(Pieces(b""))
    async with httpx.AsyncClient(transport=transport) as mine:
        client = HttpClient(mine if as_client else transport, base_url=URL + "/?api-version=1")
        await client.request_json("POST", "/chat", b"")
        await client.request_json("POST", "/chat?x=2", b"")
    assert client.base_url == URL
    assert [request.url.raw_path for request in transport.requests] == [
        b"/v1/chat?api-version=1",
        b"/v1/chat?x=2&api-version=1",
    ]


async def test_repeated_headers_are_joined() -> None:
    """A header that comes twice keeps both values."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=[("X-A", "1"), ("x-a", "2")], content=b"")

    reply = await HttpClient(httpx.MockTransport(answer), base_url=URL).request_json(
        "POST", "/", b""
    )
    assert reply.headers["x-a"] == "1, 2"


async def test_gzip_is_unpacked() -> None:
    """A compressed body comes back unpacked, and a cut one is an error."""
    packed = gzip.compress(b"hello" * 50)
    halves = packed[:9], packed[9:]
    client = HttpClient(Transport(Pieces(*halves), content_encoding="GZIP"), base_url=URL)
    assert (await client.request_json("POST", "/", b"")).body == b"hello" * 50
    client = HttpClient(Transport(Pieces(halves[0]), content_encoding="gzip"), base_url=URL)
    with pytest.raises(TransportError, match="cut off after 9 bytes"):
        await client.request_json("POST", "/", b"")


async def test_an_encoding_nobody_asked_for_is_refused() -> None:
    """A body in an unknown encoding is an error that names it."""
    client = HttpClient(Transport(Pieces(b"?"), content_encoding="br"), base_url=URL)
    with pytest.raises(MalformedResponseError, match="'br', which was not asked for"):
        await client.request_json("POST", "/", b"")


@pytest.mark.parametrize("told", ["4", "2"])
async def test_a_body_of_another_length_is_an_error(told: str) -> None:
    """Fewer or more bytes than announced are no answer."""
    client = HttpClient(Transport(Pieces(b"abc"), content_length=told), base_url=URL)
    with pytest.raises(TransportError, match=f"after 3 of {told} bytes") as caught:
        await client.request_json("POST", "/", b"")
    assert caught.value.sent


async def test_a_huge_body_is_refused() -> None:
    """Reading stops at the limit on a body."""
    client = HttpClient(Transport(Pieces(b"abc", b"def")), base_url=URL, max_body=5)
    with pytest.raises(MalformedResponseError, match="larger than 5 bytes"):
        await client.request_json("POST", "/", b"")


@pytest.mark.parametrize(
    ("raised", "sent", "words"),
    [
        (httpx.ConnectError("refused"), False, "could not connect to api.test: refused"),
        (httpx.ConnectTimeout(""), False, "could not connect to api.test: ConnectTimeout"),
        (ConnectionRefusedError("no"), False, "could not connect"),
        (httpx.ProxyError("407"), False, "proxy on the way to api.test"),
        (httpx.PoolTimeout("full"), False, "no connection to api.test"),
        (httpx.LocalProtocolError("bad"), False, "cannot be sent: bad; check the headers"),
        (httpx.WriteError("reset"), True, "broke before a complete answer"),
        (httpx.ReadError("reset"), True, "broke before a complete answer"),
        (httpx.RemoteProtocolError("gone"), True, "broke before a complete answer"),
        (ConnectionResetError("reset"), True, "broke before a complete answer"),
        (anyio.BrokenResourceError(), True, "BrokenResourceError"),
        (anyio.EndOfStream(), True, "EndOfStream"),
    ],
)
async def test_failures_are_mapped_once(raised: Exception, sent: bool, words: str) -> None:
    """Every error of a library becomes one that says whether the request went out."""
    client = HttpClient(Transport(raised), base_url=URL)
    with pytest.raises(TransportError, match=words) as caught:
        await client.request_json("POST", "/", b"")
    assert caught.value.sent is sent
    check_reduced(caught.value, raised)


async def test_a_failure_amid_the_body_is_mapped() -> None:
    """A connection that breaks within the body is the same error, and is closed."""
    body = Pieces(b"ab", httpx.ReadError("reset"))
    with pytest.raises(TransportError, match="broke before") as caught:
        await HttpClient(Transport(body), base_url=URL).request_json("POST", "/", b"")
    assert caught.value.sent
    assert body.closed


@pytest.mark.parametrize("amid", [False, True])
async def test_any_exception_of_a_transport_is_a_failed_connection(amid: bool) -> None:
    """An error in a transport's own code is named, and kept as the cause while it shows no key."""
    raised = ZeroDivisionError("division by zero")
    client = HttpClient(Transport(Pieces(b"a", raised) if amid else raised), base_url=URL)
    with pytest.raises(TransportError, match=r"raised ZeroDivisionError: division") as caught:
        await client.request_json("POST", "/", b"")
    assert caught.value.sent
    check_reduced(caught.value, raised)


async def test_errors_of_ours_pass() -> None:
    """An error of ours from a transport is not wrapped again."""
    for raised in (ConfigError("no"), MalformedResponseError("cut", status=200)):
        with pytest.raises(type(raised)) as caught:
            await HttpClient(Transport(raised), base_url=URL).request_json("POST", "/", b"")
        assert caught.value is raised


KEY = "canary-0123456789"


def chained(error: Exception, behind: Exception, *, suppressed: bool = False) -> Exception:
    error.__context__ = behind
    error.__suppress_context__ = suppressed
    return error


def noted(error: Exception, note: str) -> Exception:
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    "raised",
    [
        httpx.ReadError(f"lost {KEY}"),
        ValueError(f"bad header {KEY}"),
        chained(RuntimeError("failed"), KeyError(KEY)),
        chained(RuntimeError("failed"), KeyError(KEY), suppressed=True),
        ExceptionGroup("two", [ValueError("one"), ValueError(KEY)]),
        noted(OSError("reset"), f"sent {KEY}"),
    ],
    ids=["library", "own", "context", "suppressed", "group", "note"],
)
@pytest.mark.parametrize("amid", [False, True])
async def test_a_chain_that_shows_a_key_is_cut_off(raised: Exception, amid: bool) -> None:
    """Neither the message nor anything that hangs on the error repeats a key."""
    transport = Transport(Pieces(b"a", raised) if amid else raised)
    client = HttpClient(transport, base_url=URL, secrets=[Secret(KEY)])
    with pytest.raises(TransportError) as caught:
        await client.request_json("POST", "/", b"")
    error = caught.value
    assert KEY not in "".join(traceback.format_exception(error))
    assert (error.__cause__, error.__context__) == (None, None)


async def test_no_request_with_a_key_is_left_in_an_error() -> None:
    """An exception of the library, wherever in the chain, lets go of the request."""
    request = httpx.Request("POST", URL, headers={"authorization": f"Bearer {KEY}"})
    lost = httpx.ReadError("lost", request=request)
    for raised in (lost, chained(RuntimeError("failed"), lost)):
        client = HttpClient(Transport(raised), base_url=URL, secrets=[Secret(KEY)])
        with pytest.raises(TransportError) as caught:
            await client.request_json("POST", "/", b"")
        check_reduced(caught.value, raised)
        assert KEY not in repr(client)


class Leaking:
    """A transport of a user's own, which repeats the key that it was sent."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise ValueError(f"cannot send {request.headers['authorization']}")


async def test_a_leaking_transport_does_not_reach_the_results(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run books a connection that failed, and repeats the key nowhere."""
    caplog.set_level("DEBUG")
    model = llm("openai-compatible:m", base_url=URL, api_key=KEY, http=Leaking())
    config = ProcessorConfig(retry=RetryConfig(max_attempts=2))
    result = await run_batch(["p"], model, config=config)
    (item,) = result.results
    assert (item.success, item.attempts, item.error_category) == (False, 2, "connection")
    assert "ValueError" in str(item.error)
    shown = [str(item), repr(item), str(result), repr(result), result.summary(), caplog.text]
    assert item.exception is not None
    shown.append("".join(traceback.format_exception(item.exception)))
    assert not [text for text in shown if KEY in text]


async def test_a_cancelled_request_is_closed() -> None:
    """Cancelling while the body stands still closes the reply, shielded."""
    body = Pieces(b"a", endless=True)
    with anyio.move_on_after(5) as scope:
        await HttpClient(Transport(body), base_url=URL).request_json("POST", "/", b"")
    assert scope.cancelled_caught
    assert body.closed


@pytest.mark.parametrize(
    "body", [Pieces(b"a", b"b", endless=True), Pieces(*[b"a"] * 5_000)], ids=["silent", "busy"]
)
async def test_leaving_a_stream_early_closes_it(body: Pieces) -> None:
    """A reader that has seen enough leaves nothing open behind it, and does not read on."""
    body.closed = False
    async with HttpClient(Transport(body, 206), base_url=URL).stream("/", b"") as stream:
        assert stream.status == 206
        async for piece in stream:
            assert piece == b"a"
            break
    assert body.closed


async def test_a_close_that_hangs_is_given_up() -> None:
    """Closing is bounded, so that a dead connection does not hold a cancelled call."""

    class Stuck(Pieces):
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    start = anyio.current_time()
    await HttpClient(Transport(Stuck(b"")), base_url=URL).request_json("POST", "/", b"")
    assert anyio.current_time() - start == pytest.approx(5.25)


@pytest.mark.parametrize("own", [False, True])
async def test_a_close_that_fails_is_mapped(own: bool) -> None:
    """A failing close is a transport error, unless the block has an error of its own."""

    class Failing(Pieces):
        async def aclose(self) -> None:
            raise httpx.ReadError("late")

    async def use() -> None:
        async with HttpClient(Transport(Failing(b"")), base_url=URL).stream("/", b""):
            if own:
                raise ZeroDivisionError

    expected: Any = ZeroDivisionError if own else TransportError
    with pytest.raises(expected):
        await use()


async def test_a_users_client_is_used_as_it_is() -> None:
    """An AsyncClient sends with its own headers beside ours, and stays open."""
    transport = Transport(Pieces(b"{}"), 307, location="http://elsewhere.test")
    async with httpx.AsyncClient(transport=transport, headers={"x-mine": "1"}) as mine:
        client = HttpClient(mine, base_url=URL, headers={"authorization": "Bearer k"})
        reply = await client.request_json("POST", "/chat", b"{}", headers={"x-call": "2"})
        await client.aclose()
        assert not mine.is_closed
    assert reply.status == 307
    (request,) = transport.requests
    assert [request.headers[n] for n in ("x-mine", "authorization", "x-call")] == [
        "1",
        "Bearer k",
        "2",
    ]
    assert request.extensions["timeout"] == dict.fromkeys(["connect", "read", "write", "pool"])


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_users_client_adds_by_itself_is_masked(library: str, stream: bool) -> None:
    """Its headers, cookies, parameters and password, which a server may repeat in any form."""
    package: Any = pytest.importorskip(library)

    def echo(request: Any) -> Any:
        sent = [str(request.url), *map(str, request.headers.raw), "team/secret-five"]
        return package.Response(400, content="\n".join(sent))

    mine = package.AsyncClient(
        transport=package.MockTransport(echo),
        headers={"X-Team-Key": "team/secret-one"},
        cookies={"session": "team-secret-two"},
        params={"key": "team/secret-three"},
        auth=("someone", "team/secret-five"),
    )
    mine.cookies.set("session", "team-secret-four", path="/other")
    async with mine:
        client = HttpClient(mine, base_url=URL)
        if stream:
            async with client.stream("/chat", b"{}") as opened:
                body = await opened.read()
        else:
            body = (await client.request_json("POST", "/chat", b"{}")).body
    assert b"team" not in body.replace(b"X-Team-Key", b"")
    assert base64.b64encode(b"someone:team")[:-4] not in body


@pytest.mark.parametrize("as_client", [False, True])
async def test_httpx2_is_accepted(as_client: bool) -> None:
    """The continuation of httpx works wherever httpx does, failures included."""
    httpx2 = pytest.importorskip("httpx2")

    def answer(request: Any) -> Any:
        if request.url.path == "/v1/broken":
            raise httpx2.ReadError("reset", request=request)
        return httpx2.Response(200, content=request.content)

    transport = httpx2.MockTransport(answer)
    async with httpx2.AsyncClient(transport=transport) as theirs:
        client = HttpClient(theirs if as_client else transport, base_url=URL)
        assert (await client.request_json("POST", "/ok", b"[1]")).body == b"[1]"
        with pytest.raises(TransportError, match="reset"):
            await client.request_json("POST", "/broken", b"")


async def test_a_plain_object_can_be_the_transport() -> None:
    """Anything with handle_async_request serves, without a base class."""

    class Plain:
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=Body())

    class Walk:
        pieces = iter([b"pl", b"", b"ain"])

        async def __anext__(self) -> bytes:
            for piece in self.pieces:
                return piece
            raise StopAsyncIteration

    class Body(httpx.AsyncByteStream):
        def __aiter__(self) -> Any:
            return Walk()

    assert (await HttpClient(Plain(), base_url=URL).request_json("POST", "/", b"")).body == b"plain"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("localhost:8000", "give a full address"),
        ("", "give a full address"),
        ("ftp://host", "give a full address"),
        ("http://", "give a full address"),
        ("http://user:pass@host:port", "no address"),
        ("user:pass@host", "give a full address"),
        ("https://user:pass@host/v1", "carries a user"),
        ("https://host/v1?key=1", "carries a user, a key"),
        ("http://host:99999/v1", "99999 is no port: ports are 1 to 65535; give an address such as"),
        ("http://host:0/v1", "0 is no port"),
        ("http://host:-5/v1", "-5 is no port"),
        ("http://[::1/v1", "no address"),
        ("http://local host/v1", "no server can be called 'local%20host'"),
        ("http://a..b/v1", "no server can be called"),
        ("http://-a/v1", "no server can be called"),
        ("http://" + "a" * 64 + "/v1", "no server can be called"),
        ("http://300.1.1.1/v1", "no address"),
        ("http://1.2.3.4.5/v1", "1.2.3.4.5 is no IPv4 address"),
        ("http://user:pass@host:99999/v1", "99999 is no port"),
    ],
)
def test_a_wrong_address_is_told(address: str, words: str) -> None:
    """A base_url that cannot work is refused at once, and a password in it is not repeated."""
    with pytest.raises(ConfigError, match=words) as caught:
        HttpClient(base_url=address)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8000/v1",
        "http://my_container:65535",
        "http://127.0.0.1:1",
        "http://[::1]:8000",
        "http://a.b.c.",
        "https://münchen.example/v1",
        "http://1a.2b",
        "http://gpu-1",
    ],
)
def test_what_servers_are_called(address: str) -> None:
    """Names of containers, addresses of both kinds, and names in any script."""
    HttpClient(base_url=address)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("ftp://host", "the proxy is 'ftp://host'; give a full address such as 'http://localhost:"),
        ("http://:80", "give a full address such as"),
        ("host:99999", "99999 is no port"),
        ("http://host:99999", "99999 is no port"),
        ("http://a b", "no server can be called"),
        ("http://user:pass@host:99999", r"the proxy is '\*\*\*@host:99999', and 99999 is no port"),
    ],
)
def test_a_wrong_proxy_is_told(proxy: str, words: str) -> None:
    """At once, and not as an error of every call; a password in it is not repeated."""
    options: list[dict[str, Any]] = [{"proxy": proxy}, {"transport": proxy}]
    for given in options:
        with pytest.raises(ConfigError, match=words) as caught:
            HttpClient(base_url="http://host/v1", **given)
        assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\nb", "schlüssel"])
def test_a_header_that_http_forbids_is_told_by_name(value: str) -> None:
    """A key with a line break or a foreign letter is refused, without showing it."""
    with pytest.raises(ConfigError, match="'authorization' has characters") as caught:
        HttpClient(base_url=URL, headers={"authorization": value})
    assert value not in str(caught.value)


def test_what_is_no_transport_is_refused() -> None:
    """A wrong http argument names what is expected."""
    wrong: Any = object()
    with pytest.raises(StrategyError, match="http is a object; give an object with"):
        HttpClient(wrong, base_url=URL)


@pytest.mark.parametrize("make", [HttpTransport, partial(HttpClient, base_url=URL)])
def test_other_certificates_can_be_trusted(tmp_path: Path, make: Callable[..., Any]) -> None:
    """A path given as verify is read as the certificates to trust, and a wrong one is reported."""
    (tmp_path / "empty.pem").write_text("")
    for name, words in (("none.pem", "No such file"), ("empty.pem", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            make(verify=str(tmp_path / name))
    make(verify=certifi.where())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keep_alive", "30"),
        ("keep_alive", -1),
        ("keep_alive", math.nan),
        ("keep_alive", True),
        ("keep_alive", None),
        ("connect", 3),
        ("verify", None),
        ("verify", 1),
        ("verify", ""),
        ("verify", "a\0b"),
    ],
)
def test_a_wrong_setting_of_a_transport_is_refused_at_once(name: str, value: Any) -> None:
    """The error names the argument, its value and what to give."""
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=rf"(?s){name} is {re.escape(repr(value))}.*; give "):
        HttpTransport(**settings)


@pytest.mark.parametrize("proxy", [None, "http://proxy.test:3128"])
def test_verification_stays_on_through_a_proxy_too(proxy: str | None) -> None:
    """A key goes to no server whose name is not proved."""
    with pytest.raises(ConfigError, match="verify is False"):
        HttpClient(proxy, base_url=URL, verify=False)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:p%40ss-w%C3%B6rd-1@proxy.test:3128",
        "user:p%40ss-w%C3%B6rd-1@proxy.test:3128",
        httpx.Proxy("http://user:p%40ss-w%C3%B6rd-1@proxy.test:3128"),
        httpx.Proxy("http://proxy.test:3128", auth=("user", "p@ss-wörd-1")),
    ],
)
def test_the_password_of_a_proxy_shows_in_no_spelling(proxy: Any) -> None:
    """Encoded, decoded, and as the header has it, whatever form it was given in."""
    client = HttpClient(proxy, base_url=URL)
    header = base64.b64encode("user:p@ss-wörd-1".encode()).decode()
    for one in (client, client.with_room(9), client.at("https://elsewhere.test").with_room(9)):
        for spelling in ("p%40ss-w%C3%B6rd-1", "p@ss-wörd-1", header):
            assert one.redact(f"refused: {spelling}.") in ("refused: ***.", "refused: ***=.")


def test_a_short_password_of_a_proxy_is_masked_beside_its_user() -> None:
    """By itself it would take plain words out of messages."""
    client = HttpClient("http://someone:word@proxy.test", base_url=URL)
    header = base64.b64encode(b"someone:word").decode()
    assert client.redact(f"someone:word {header} word") == "*** *** word"


async def test_our_connections_open_late_and_close_with_the_last_holder() -> None:
    """Nothing is open before the first request, and two runs may share one client."""
    simulator = Simulator("instant")
    async with open_pipes(simulator) as connect:
        http = HttpTransport(connect=connect)
        client = HttpClient(http, base_url="http://simulator/v1")
        client.hold()
        client.hold()
        assert (counts(client).opened, counts(client).open) == (0, 0)
        await client.request_json("POST", "/chat/completions", BODY)
        await client.request_json("POST", "/chat/completions", BODY)
        await client.release()
        assert (counts(client).opened, counts(client).reused, counts(client).open) == (1, 1, 1)
        await client.release()
        await client.release()
        await client.aclose()
        assert counts(client).open == 0
        reply = await client.request_json("POST", "/chat/completions", BODY)
        assert (reply.status, counts(client).opened, counts(client).open) == (200, 1, 1)
        await http.aclose()


BODY = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'


def counts(client: HttpClient) -> ConnectionStats:
    (found,) = client.statistics().values()
    return found


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_a_refusal_outranks_a_body_that_cannot_be_unpacked(encoding: str) -> None:
    """The status has said what happened; the bytes come as they are."""
    client = HttpClient(
        Transport(Pieces(b'{"error": 1}'), status=401, content_encoding=encoding), base_url=URL
    )

    reply = await client.request_json("POST", "/x", b"{}")

    assert (reply.status, reply.body) == (401, b'{"error": 1}')


async def test_a_refusal_that_is_packed_is_unpacked() -> None:
    """A packed body is read if it can be unpacked."""
    packed = gzip.compress(b"no")
    client = HttpClient(
        Transport(Pieces(packed), status=429, content_encoding="gzip"), base_url=URL
    )

    assert (await client.request_json("POST", "/x", b"{}")).body == b"no"


@pytest.mark.parametrize("status", [307, 429])
async def test_a_refusal_that_is_cut_off_stays_a_refusal(status: int) -> None:
    """The part before the cut is its body; a redirect is a refusal, too."""
    transport = Transport(Pieces(b"too ma"), status=status, content_length="99")
    reply = await HttpClient(transport, base_url=URL).request_json("POST", "/x", b"{}")
    assert (reply.status, reply.body) == (status, b"too ma")

    packed = gzip.compress(b"too many")[:-4]
    transport = Transport(Pieces(packed), status=status, content_encoding="gzip")
    assert (
        await HttpClient(transport, base_url=URL).request_json("POST", "/x", b"{}")
    ).status == status
