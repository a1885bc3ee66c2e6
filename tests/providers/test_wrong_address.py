"""A base_url at which no API answers stops the run early, with what a right one looks like."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from batchllm.api import run_batch
from batchllm.core import BatchResult, EndCause, ProcessorConfig, ProviderError
from batchllm.llm_strategies import llm
from batchllm.providers import EmbeddingStrategy
from batchllm.testing import Raise, ScriptedStrategy

pytestmark = pytest.mark.anyio

NO_API = [b"", b"404 page not found", b"<html>404</html>", b'{"detail":"Not Found"}', b"[]", b"{}"]
OF_AN_API = [
    b'{"error":{"message":"The model does not exist","code":"model_not_found"}}',
    b'{"error":"model not found"}',
    b'{"type":"error","error":{"type":"not_found_error","message":"model: x"}}',
    b'[{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}]',
    b'{"object":"error","message":"model `x` does not exist","type":"NotFoundError","code":404}',
]

LOOKS_LIKE = {
    "gemini": "ends like 'https://generativelanguage.googleapis.com/v1beta'",
    "anthropic": "looks like 'https://api.anthropic.com', with no path such as /v1 behind it",
    "openai": "ends like 'https://api.openai.com/v1'",
    "openai-responses": "ends like 'https://api.openai.com/v1'",
    "ollama": "ends like 'http://localhost:11434/v1'",
    "openai-compatible": "mostly ends in /v1, as in 'http://localhost:8000/v1'",
}


def strategy_for(provider: str, *replies: httpx.Response, **more: Any) -> Any:
    """Make a strategy whose server gives *replies*, the last one for ever."""
    rest = list(replies)

    def answer(request: httpx.Request) -> httpx.Response:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return llm(
        f"{provider}:m",
        base_url="http://s.test/wrong",
        api_key="k",
        max_tokens=9,
        http=httpx.MockTransport(answer),
        **more,
    )


async def run(strategy: Any, count: int = 1_000) -> BatchResult[Any, Any]:
    """Run many items with it, a few at a time."""
    items = [f"p{n}" for n in range(count)]
    return await run_batch(items, strategy, config=ProcessorConfig(max_workers=4))


@pytest.mark.parametrize("provider", LOOKS_LIKE)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_run_stops_and_says_what_a_right_one_looks_like(
    provider: str, stream: bool
) -> None:
    """For each wire, streamed or not; the end of the run has the same words."""
    result = await run(strategy_for(provider, httpx.Response(404, text="Not Found"), stream=stream))
    assert result.termination.cause is EndCause.FAIL_FAST
    assert result.total_items < 20
    for text in (result.results[0].error, result.termination.reason):
        assert "no API answers at http://s.test/wrong; a base_url for " in str(text)
        assert LOOKS_LIKE[provider] in str(text)


async def test_embeddings_too() -> None:
    """They have the address of their profile."""
    http = httpx.MockTransport(lambda request: httpx.Response(404, text="Not Found"))
    strategy = EmbeddingStrategy("m", base_url="http://s.test", api_key="k", http=http)
    result = await run(strategy)
    assert result.termination.cause is EndCause.FAIL_FAST
    assert LOOKS_LIKE["openai"] in result.termination.reason


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", NO_API)
async def test_what_says_that_no_api_is_there(status: int, body: bytes) -> None:
    """Pages, plain words, nothing, and JSON that is no error of an API."""
    result = await run(strategy_for("openai-compatible", httpx.Response(status, content=body)), 20)
    assert result.termination.cause is EndCause.FAIL_FAST


@pytest.mark.parametrize("body", OF_AN_API)
async def test_an_apis_own_error_says_nothing_about_the_address(body: bytes) -> None:
    """A model that is not there, or a file: that is another matter."""
    (result,) = await run(strategy_for("openai-compatible", httpx.Response(404, content=body)), 1)
    assert isinstance(result.exception, ProviderError)
    assert not result.exception.wrong_address
    assert "no API answers" not in str(result.error)


async def test_after_one_answer_the_address_is_right() -> None:
    """A gateway that loses its way for a while ends no run."""
    good = httpx.Response(
        200, json={"choices": [{"finish_reason": "stop", "message": {"content": "ok"}}]}
    )
    lost = httpx.Response(404, text="404 page not found")
    result = await run(strategy_for("openai-compatible", good, lost), 20)
    assert result.termination.cause is EndCause.DONE
    assert (result.succeeded, result.failed) == (1, 19)


async def test_other_errors_between_break_the_row() -> None:
    """Only the same answer to all of the first calls is taken for a wrong address."""
    lost = ProviderError("nothing there", status=404, wrong_address=True)
    steps = [Raise(lost), Raise(lost), Raise(TypeError("a bug"))] * 5
    items = [f"p{n}" for n in range(15)]
    script: Any = dict(zip(items, steps, strict=True))
    config = ProcessorConfig(max_workers=1)
    result = await run_batch(items, ScriptedStrategy(script), config=config)
    assert result.termination.cause is EndCause.DONE
    config = config.with_changes(fail_fast=None)
    result = await run_batch(items, ScriptedStrategy(Raise(lost)), config=config)
    assert result.termination.cause is EndCause.DONE
