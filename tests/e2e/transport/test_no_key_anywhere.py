"""No key in any error, with the locals of every frame shown, nor in logs or results."""

import gzip
import json
import traceback
from typing import Any

import anyio
import pytest

from batchllm import ProcessorConfig, RetryConfig, llm, run_batch
from batchllm.core import ConfigError
from batchllm.providers import EmbeddingStrategy
from batchllm.transport import HttpClient, Secret
from tests.e2e.patience import PATIENCE
from tests.e2e.transport.rude_server import Script, Talk, reply, rude

pytestmark = pytest.mark.anyio

KEY = "sk-canary-0123456789abcdef"
TEAM = "team-canary-9876543210"
ESCAPE = "\x1b[31mred\x1b]0;title\x07 \u202eback\r\n2026 forged line"
ONCE = RetryConfig(max_attempts=1)
CONFIG = ProcessorConfig(timeout_per_item=PATIENCE, retry=ONCE)
SOON = ProcessorConfig(timeout_per_item=0.05, retry=ONCE)
ECHO = f"wrong key {KEY} of {TEAM}: {ESCAPE}"


def check(error: BaseException) -> str:
    """Check that nothing that hangs on *error* shows a key or steers a terminal."""
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    attributes = repr({name: getattr(error, name, None) for name in ("code", "kind", "request_id")})
    for text in (shown, str(error), repr(error), attributes):
        assert KEY not in text
        assert TEAM not in text
    for one in ("\x1b", "\x07", "\u202e"):
        assert one not in str(error)
        assert one not in str(getattr(error, "request_id", ""))
    return shown


def error_body() -> bytes:
    fault = {"message": ECHO, "code": f"bad_{KEY}", "type": f"auth {TEAM}\x1b[0m"}
    return json.dumps({"error": fault}).encode()


IDS = f"x-request-id: req {KEY} {TEAM}".encode() + b" \x1b[31m"


def answering(*pieces: bytes) -> Script:
    async def script(talk: Talk) -> None:
        await talk.request()
        for piece in pieces:
            await talk.send(piece)

    return script


async def wait_for_ever(talk: Talk) -> None:
    await talk.request()
    await anyio.sleep_forever()


async def reset(talk: Talk) -> None:
    await talk.request()
    await talk.reset()


STREAMED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

FAILING: dict[str, Script] = {
    "401": answering(reply(error_body(), status=b"401 Unauthorized")),
    "400": answering(reply(error_body(), status=b"400 Bad Request")),
    "402 with an id": answering(
        reply(error_body(), b"x-request-id: " + KEY.encode(), status=b"402 Pay")
    ),
    "500 in HTML": answering(reply(f"<p>{ECHO}</p>".encode(), status=b"500 Oh")),
    "redirect": answering(
        reply(b"", b"location: https://elsewhere.test/?key=" + KEY.encode(), status=b"302 Found")
    ),
    "an error in a 200": answering(reply(error_body())),
    "no JSON": answering(reply(ECHO.encode())),
    "no answer in it": answering(reply(json.dumps({"id": ECHO, "choices": []}).encode())),
    "a finish reason": answering(
        reply(json.dumps({"choices": [{"finish_reason": f"error {ECHO}"}]}).encode())
    ),
    "garbage": answering(f"HELO {KEY}\r\n\r\n".encode()),
    "a header with control characters": answering(reply(b"{}", IDS)),
    "cut off": answering(reply(ECHO.encode())[:-3]),
    "reset": reset,
    "bad gzip": answering(
        reply(gzip.compress(ECHO.encode())[:20] + KEY.encode(), b"content-encoding: gzip")
    ),
    "an unknown encoding": answering(reply(b"x", b"content-encoding: br, " + KEY.encode())),
    "no reply": wait_for_ever,
    "an error in a stream": answering(STREAMED, b"data: " + error_body() + b"\n\n"),
    "no JSON in a stream": answering(STREAMED, f"data: {KEY} {TEAM}\n\n".encode()),
    "a stream without an end": answering(STREAMED, b'data: {"id": "' + KEY.encode() + b'"}\n\n'),
}
PROVIDERS = ["openai", "openai-responses", "anthropic", "gemini", "embeddings"]


def strategy_of(provider: str, url: str, *, stream: bool) -> Any:
    headers = {"X-Team-Token": TEAM}
    if provider == "embeddings":
        return EmbeddingStrategy("m", base_url=url, api_key=KEY, headers=headers)
    return llm(f"{provider}:m", base_url=url, api_key=KEY, headers=headers, stream=stream)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_no_failing_path_shows_a_key(
    provider: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures of every kind have no frame with a key, and no key that the server repeated."""
    caplog.set_level("DEBUG")
    with anyio.fail_after(PATIENCE):
        for script in FAILING.values():
            config = SOON if script is wait_for_ever else CONFIG
            async with rude(script) as server:
                strategy = strategy_of(provider, f"{server.url}/v1", stream=stream)
                result = await run_batch(["p"], strategy, config=config)
            (item,) = result.results
            if item.exception is not None:
                check(item.exception)
            for text in (str(item), repr(item), repr(result), result.summary(), caplog.text):
                assert KEY not in text
                assert TEAM not in text
            assert "\x1b" not in str(item.error)


async def test_no_frame_from_below_the_border_is_left() -> None:
    """The traceback ends where the request was asked for, and the cause is a text."""
    async with rude(reset) as server:
        client = HttpClient(base_url=server.url, headers={"authorization": f"Bearer {KEY}"})
        with pytest.raises(Exception, match="broke before") as caught:
            await client.request_json("POST", "/", b"{}")
        await client.aclose()
    frames = traceback.extract_tb(caught.value.__traceback__)
    below = [frame.name for frame in frames if "batchllm/transport/" in frame.filename]
    assert below == ["request_json"]
    assert caught.value.__context__ is None
    test = caught.value.__traceback__
    assert test is not None  # its own variables have what the server saw
    check(caught.value.with_traceback(test.tb_next))


def make(**settings: Any) -> object:
    return llm("openai:m", **{"api_key": KEY, "headers": {"x-team": TEAM}, **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "nonsense"},
        {"headers": {"x-team": f"{TEAM}\nx"}},
        {"headers": {"x team": TEAM}},
        {"api_key": f"{KEY}\u00e9"},
        {"unknown_parameter": 1},
        {"http": 7},
    ],
)
def test_what_is_refused_at_the_start_shows_no_key(settings: dict[str, Any]) -> None:
    """Settings that cannot work are named without the key, in every frame of the library."""
    with pytest.raises((ConfigError, TypeError)) as caught:
        make(**settings)
    error = caught.value
    ours = error.__traceback__
    while ours is not None and "batchllm/" not in ours.tb_frame.f_code.co_filename:
        ours = ours.tb_next
    while ours is not None and "/tests/" in ours.tb_frame.f_code.co_filename:
        ours = ours.tb_next
    check(error.with_traceback(ours))


def test_a_strategy_shows_no_key() -> None:
    """Neither a strategy nor what it is made of shows a key when it is printed."""
    strategy: Any = make()
    client = strategy.model._client
    for thing in (strategy, strategy.model, client, client._head, client._border, vars(client)):
        assert KEY not in repr(thing)
        assert TEAM not in repr(thing)
    assert KEY not in repr(Secret(KEY))
