"""Our transport under other people's clients, and other people's clients under our strategies."""

import copy
import gzip
import importlib
import pickle
import ssl
import warnings
from typing import Any

import anyio
import httpx
import pytest

from batchllm import AnthropicStrategy, OpenAIStrategy, ProcessorConfig, llm, run_batch
from batchllm.core import ConfigError, StrategyError, TransportError
from batchllm.providers import GeminiModel
from batchllm.simulator import Simulator, serve
from batchllm.transport import HttpClient, HttpTransport
from tests.e2e.transport.rude_server import BODY, Talk, chunked, polite, reply, rude

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

CONFIG = ProcessorConfig(max_workers=5, timeout_per_item=10)
PROMPTS = [f"[[answer:number {number}]]" for number in range(20)]
ANSWERS = [f"number {number}" for number in range(20)]


async def test_openai_and_anthropic_over_our_connections() -> None:
    """Their clients accept ours, share its connections, and leave them open when they close."""
    openai = pytest.importorskip("openai")
    anthropic = pytest.importorskip("anthropic")
    async with serve(Simulator("instant")) as server, HttpTransport() as http:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="k", http_client=http.client()
        ) as client:
            first = await run_batch(PROMPTS, OpenAIStrategy(client, "m"), config=CONFIG)
        async with anthropic.AsyncAnthropic(
            base_url=server.url, api_key="k", http_client=http.client()
        ) as client:
            second = await run_batch(PROMPTS, AnthropicStrategy(client, "m"), config=CONFIG)
        stats = http.statistics()
    assert [one.output for one in first.in_input_order()] == ANSWERS
    assert [one.output for one in second.in_input_order()] == ANSWERS
    assert stats.opened <= 5
    assert stats.reused + stats.opened == 40


async def test_googles_client_over_our_connections() -> None:
    """google-genai takes it as its httpx_async_client, on Trio as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        genai = pytest.importorskip("google.genai")
    async with (
        serve(Simulator("instant?profile=gemini")) as server,
        HttpTransport() as http,
        http.client("httpx") as inner,
    ):
        options = genai.types.HttpOptions(base_url=server.url, httpx_async_client=inner)
        client = genai.Client(api_key="k", http_options=options)
        response = await GeminiModel("gemini-x", client).generate("[[answer:hello]]")
        await client.aio.aclose()
        client.close()
        assert response.text == "hello"
        assert http.statistics().opened == 1


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_the_interface_of_httpx_is_kept(library: Any) -> None:
    """Responses, streams, timeouts and exceptions are the library's own."""
    package = pytest.importorskip(library)

    async def script(talk: Talk) -> None:
        for answer in (reply(gzip.compress(BODY), b"content-encoding: gzip"), chunked(b"a", b"b")):
            await talk.request()
            await talk.send(answer)
        await talk.request()
        await talk.send(reply()[:-3])
        await talk.request()

    async def silent(talk: Talk) -> None:
        await talk.request()
        await anyio.sleep_forever()

    with anyio.fail_after(20):
        async with (
            rude(script, silent, polite) as server,
            HttpTransport() as http,
            http.client(library) as client,
        ):
            response = await client.post(server.url, json={"a": 1})
            assert (response.status_code, response.content) == (200, BODY)
            assert isinstance(response, package.Response)
            async with client.stream("POST", server.url, content=b"x") as stream:
                assert b"".join([piece async for piece in stream.aiter_bytes()]) == b"ab"
            assert http.statistics().opened == 1
            with pytest.raises(package.ReadTimeout):
                await client.post(server.url, timeout=0.05)
            with pytest.raises(package.ReadTimeout):
                await client.post(server.url, timeout=0.05)
            assert (await client.post(server.url)).status_code == 200
        with pytest.raises(package.ConnectError):
            async with HttpTransport() as http, http.client(library) as client:
                await client.get(server.url)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_other_clients_see_a_refusal_whatever_its_body(library: Any) -> None:
    """A body that is cut off, or packed in another way than it says, hides no status."""
    pytest.importorskip(library)
    refusals = (
        reply(b"no", b"content-encoding: gzip", status=b"429 No"),
        reply(gzip.compress(b"no"), b"content-encoding: gzip", status=b"429 No"),
        reply(b"nothing", status=b"429 No").replace(b"nothing", b"no"),
    )

    async def script(talk: Talk) -> None:
        await talk.request()
        await talk.send(refusals[0])
        await talk.request()
        await talk.send(refusals[1])
        await talk.request()
        await talk.send(refusals[2])

    with anyio.fail_after(20):
        async with rude(script) as server, HttpTransport() as http, http.client(library) as client:
            for _ in refusals:
                response = await client.post(server.url, json={})
                assert (response.status_code, response.content) == (429, b"no")


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_other_clients_get_an_answer_whatever_its_encoding(library: Any) -> None:
    """As ours do; their own unpacking would refuse what a wrong header stands over."""
    pytest.importorskip(library)
    packed = gzip.compress(BODY)
    answers = (
        reply(packed, b"content-encoding: gzip"),
        reply(packed, b"content-encoding: gzip", b"content-encoding: gzip"),
        reply(BODY, b"content-encoding: gzip"),
        reply(BODY, b"content-encoding: deflate"),
        reply(BODY, b"content-encoding: utf-8"),
        chunked(packed[:9], packed[9:], head=b"content-encoding: gzip\r\n"),
    )
    damaged = packed[:12] + b"\xff" * 9 + packed[21:]

    async def script(talk: Talk) -> None:
        for answer in (*answers, reply(packed[:-9], b"content-encoding: gzip")):
            await talk.request()
            await talk.send(answer)
        await talk.request()
        await talk.send(reply(damaged, b"content-encoding: gzip"))

    package = importlib.import_module(library)
    with anyio.fail_after(20):
        async with rude(script) as server, HttpTransport() as http, http.client(library) as client:
            for _ in answers:
                assert (await client.post(server.url, json={})).content == BODY
            with pytest.raises(package.ReadError, match="cut off"):
                await client.post(server.url, json={})
            with pytest.raises(package.DecodingError, match="is gzip and is not"):
                await client.post(server.url, json={})


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="httpx2 is not installed"):
        HttpTransport().client()


async def test_strategies_share_one_transport(anyio_backend_name: str) -> None:
    """One transport serves several strategies, and outlives their runs."""
    async with serve(Simulator("instant")) as server, HttpTransport() as http:
        for _ in range(2):
            strategy = llm("openai-compatible:m", base_url=f"{server.url}/v1", http=http)
            other = llm("anthropic:m", base_url=f"{server.url}/v1", api_key="k", http=http)
            for one in (strategy, other):
                result = await run_batch(PROMPTS[:5], one, config=CONFIG)
                assert result.succeeded == 5
        assert http.statistics().opened <= 5
        assert http.statistics().open > 0
    assert http.statistics().open == 0


@pytest.mark.parametrize("kind", ["AsyncClient", "AsyncHTTPTransport"])
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_client_of_another_loop_is_refused_by_name(library: str, kind: str) -> None:
    """httpx ties connections to the first loop; the error says what serves several."""
    package = pytest.importorskip(library)

    async def use(client: HttpClient) -> None:
        client.hold()
        await client.release()

    given = getattr(package, kind)()
    client = HttpClient(given, base_url="http://127.0.0.1:1")
    anyio.run(use, client)
    with pytest.raises(StrategyError, match=rf"an {library}\.{kind}, whose connections belong"):
        anyio.run(use, client, backend="trio")
    with pytest.raises(StrategyError, match="HttpTransport"):
        anyio.run(client.request_json, "POST", "/", b"")
    anyio.run(given.aclose)


async def test_a_mock_serves_any_loop() -> None:
    """A transport without connections is not tied to a loop."""
    mock = httpx.MockTransport(lambda request: httpx.Response(200, content=b"{}"))
    client = HttpClient(mock, base_url="http://api.test")
    client._one_loop._loop = object()
    assert (await client.request_json("POST", "/", b"{}")).status == 200


async def test_a_proxy_is_used_when_it_is_given() -> None:
    """Requests go to the proxy, by httpx's own transport, and its refusal is named."""

    async def proxy(talk: Talk) -> None:
        await talk.request()
        await talk.send(reply(b"{}"))
        await talk.request()

    with anyio.fail_after(20):
        async with rude(proxy) as server:
            for given in (server.url, httpx.Proxy(server.url)):
                client = HttpClient(given, base_url="http://api.test/v1")
                assert (await client.request_json("POST", "/chat", b"{}")).status == 200
                await client.aclose()
            assert server.heads[0].startswith(b"POST http://api.test/v1/chat HTTP/1.1")

        async def refuse(talk: Talk) -> None:
            await talk.request()
            await talk.send(reply(b"", status=b"407 Proxy Authentication Required"))

        async with rude(refuse) as server:
            address = server.url.replace("http://", "http://user:secret-of-proxy@")
            client = HttpClient(address, base_url="https://api.test/v1")
            words = r"the proxy on the way to api\.test"
            with pytest.raises(TransportError, match=words) as caught:
                await client.request_json("POST", "/chat", b"{}")
            assert not caught.value.sent
            assert "secret-of-proxy" not in str(caught.value)
            await client.aclose()


async def test_many_requests_at_the_start_are_no_storm() -> None:
    """Connects under way are bounded, and those that wait take what is free."""
    at_once = most = 0

    async def connect() -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.01)
        at_once -= 1
        return await anyio.connect_tcp("127.0.0.1", server.port)

    with anyio.fail_after(30):
        async with rude(polite) as server, HttpTransport(connect=connect) as http:
            client = HttpClient(http, base_url=server.url)
            async with anyio.create_task_group() as group:
                for _ in range(400):
                    group.start_soon(client.request_json, "POST", "/", b"{}")
            assert len(server.requests) == 400
            assert most <= 100
            assert http.statistics().opened < 400


def test_a_transport_can_be_copied() -> None:
    """A copy, or one that went to another process, has the settings and its own connections."""
    first = HttpTransport(replay=False, keep_alive=7.0, parser="h11")
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert other._given == first._given
        assert other._pools is not first._pools


def test_a_context_for_tls_is_shared_by_copies_and_not_pickled() -> None:
    """A copy trusts the same authorities; a pickle would lose them, and says what to give."""
    context = ssl.create_default_context()
    first = HttpTransport(verify=context)
    for other in (copy.copy(first), copy.deepcopy(first)):
        assert other._given == first._given
        assert other._pools is not first._pools
    with pytest.raises(TypeError, match=r"cannot be pickled; give verify as the path of a file"):
        pickle.dumps(first)
