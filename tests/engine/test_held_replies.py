"""Exceptions of HTTP libraries and SDKs, whose requests hold the prompt."""

import pickle
from typing import Any

import pytest

from batchllm import ProcessorConfig, RetryConfig, run_batch
from batchllm.core import EmptyResponseError, LLMResponse
from batchllm.engine.frames import drop_locals

pytestmark = pytest.mark.anyio

CONFIG = ProcessorConfig(retry=RetryConfig(max_attempts=1))
PROMPT = "a long prompt " * 1_000


class StatusError(Exception):
    """Has the fields of the exceptions of SDKs."""

    def __init__(self, response: Any) -> None:
        super().__init__("refused")
        self.response = response
        self.request = response.request
        self.status_code = response.status_code
        self.body = {"message": "no"}

    def __str__(self) -> str:
        return f"{self.response.json()['message']} for {self.response.headers['x-model']}"


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_a_failed_result_keeps_no_request(library: str) -> None:
    """Such an exception keeps the parts that code looks for: status, method and address."""
    package = pytest.importorskip(library)

    async def ask(prompt: str) -> str:
        request = package.Request("POST", "http://api.test/v1", json={"prompt": prompt})
        response = package.Response(
            400, headers={"x-model": "m"}, json={"message": "no"}, request=request
        )
        raise StatusError(response)

    (result,) = (await run_batch([PROMPT], ask, config=CONFIG)).results
    assert "no for m" in str(result.error)
    error: Any = result.exception
    assert (error.status_code, error.response.status_code) == (400, 400)
    assert (error.request.method, str(error.request.url)) == ("POST", "http://api.test/v1")
    assert error.response.request is error.request
    assert PROMPT[:50].encode() not in pickle.dumps(vars(error))


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_the_exceptions_of_the_library_itself_are_readable(library: str) -> None:
    """Their ``request`` raises if there is none."""
    package = pytest.importorskip(library)

    async def ask(prompt: str) -> str:
        request = package.Request("POST", "http://api.test/v1", json={"prompt": prompt})
        package.Response(503, request=request).raise_for_status()
        return prompt

    (result,) = (await run_batch([PROMPT], ask, config=CONFIG)).results
    error: Any = result.exception
    assert (error.request.method, error.response.status_code) == ("POST", 503)
    assert error.request.content == b""


@pytest.mark.parametrize(
    ("module", "name"),
    [("requests.models", "PreparedRequest"), ("aiohttp.client", "ClientResponse")],
)
def test_nothing_is_kept_of_other_libraries(module: str, name: str) -> None:
    """Their requests and replies cannot be made without what they hold."""
    error = ValueError("x")
    error.held = type(name, (), {"__module__": module})()  # type: ignore[attr-defined]
    drop_locals(error)
    assert vars(error) == {"held": None}


def test_what_is_not_of_a_library_stays() -> None:
    """A user's own ``Request`` is the user's."""
    own = type("Request", (), {})()
    error = ValueError("x")
    error.request = own  # type: ignore[attr-defined]
    drop_locals(error)
    assert vars(error) == {"request": own}
    drop_locals(KeyError("x"))


def test_a_response_without_a_request_is_left_out() -> None:
    """Nothing can stand in for it."""
    httpx = pytest.importorskip("httpx")
    error = ValueError("x")
    error.response = httpx.Response(400)  # type: ignore[attr-defined]
    drop_locals(error)
    assert vars(error) == {"response": None}


def test_an_empty_answer_keeps_its_metadata_only() -> None:
    """The provider's own reply may be a hundred kilobytes of thoughts."""
    response = LLMResponse("", metadata={"finish_reason": "filtered"}, raw={"all": "of it"})
    error = EmptyResponseError("m", response=response)
    drop_locals(error)
    assert (error.response.raw, error.response.metadata) == (None, {"finish_reason": "filtered"})
