"""A model for each wire, and a server of one answer, for tests of wires byte by byte."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from batchllm.core import LLMResponse
from batchllm.providers import AnthropicModel, ChatModel, GeminiClient, GeminiModel, ResponsesModel

URL = "http://api.test/v1"
KEY = "secret-key-1"
SCHEMA = {"type": "object", "properties": {"first_name": {"type": "string"}}}


class Server:
    """Answers every request alike and keeps what was sent."""

    def __init__(
        self, answer: object, status: int = 200, *, stream: bool = False, **headers: str
    ) -> None:
        self.answer = answer
        self.status = status
        self.headers = {"content-type": "text/event-stream"} if stream else {}
        self.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.sent: list[dict[str, Any]] = []
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.sent.append(json.loads(await request.aread() or b"{}"))
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        return httpx.Response(self.status, headers=self.headers, stream=Body(body))


class Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


def chat(server: Any, **settings: Any) -> ChatModel:
    return ChatModel("m", base_url=URL, api_key=KEY, http=server, **settings)


def responses(server: Any, **settings: Any) -> ResponsesModel:
    return ResponsesModel("m", base_url=URL, api_key=KEY, http=server, **settings)


def anthropic(server: Any, **settings: Any) -> AnthropicModel:
    return AnthropicModel("m", base_url="http://api.test", api_key=KEY, http=server, **settings)


def gemini(server: Any, **settings: Any) -> GeminiModel:
    client = GeminiClient(KEY, base_url="http://api.test/v1beta", http=server)
    return GeminiModel("m", client, **settings)


MODELS: dict[str, Callable[..., Any]] = {
    "chat": chat,
    "responses": responses,
    "anthropic": anthropic,
    "gemini": gemini,
}


def data(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def streaming(*events: object) -> Server:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return Server("".join(f"data: {text}\n\n" for text in texts).encode(), stream=True)


def metadata_of(response: LLMResponse) -> dict[str, Any]:
    assert response.metadata is not None
    return dict(response.metadata)
