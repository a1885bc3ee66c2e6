"""Gemini's batches as the simulator has them: what is refused, and how."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from batchllm.simulator import Simulator, SimulatorTransport

pytestmark = pytest.mark.anyio
KEY = {"x-goog-api-key": "k"}


async def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    transport = SimulatorTransport(Simulator("instant"))
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        reply = await client.request(method, path, content=content, headers={**KEY, **headers})
    return reply.status_code, reply.json()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name"),
    [
        ("POST", "/v1beta/models/m:batchGenerateContent", b"{", 400, "INVALID_ARGUMENT"),
        ("POST", "/v1beta/models/m:batchGenerateContent", [1], 400, "INVALID_ARGUMENT"),
        ("POST", "/v1beta/models/m:batchGenerateContent", {}, 400, "INVALID_ARGUMENT"),
        (
            "POST",
            "/v1beta/models/m:batchGenerateContent",
            {"batch": {"inputConfig": {"fileName": "files/none"}}},
            403,
            "PERMISSION_DENIED",
        ),
        ("POST", "/upload/v1beta/files", b"[", 400, "INVALID_ARGUMENT"),
        ("POST", "/upload/v1beta/files", {"file": {"name": "files/X"}}, 400, "INVALID_ARGUMENT"),
        ("POST", "/upload/v1beta/files?upload_id=none", b"", 404, "NOT_FOUND"),
        ("GET", "/v1beta/files/none", b"", 403, "PERMISSION_DENIED"),
        ("GET", "/v1/batches/none", b"", 404, "NOT_FOUND"),
        ("GET", "/v1beta/batches?pageSize=x", b"", 400, "INVALID_ARGUMENT"),
        ("POST", "/v1beta/batches/none:cancel", b"", 404, "NOT_FOUND"),
    ],
)
async def test_a_request_that_is_wrong_is_refused_in_googles_words(
    method: str, path: str, body: Any, status: int, name: str
) -> None:
    code, said = await ask(method, path, body)
    assert (code, said["error"]["code"], said["error"]["status"]) == (status, status, name)


async def test_the_same_paths_are_openais_without_googles_header() -> None:
    assert (await ask("GET", "/v1/batches"))[1] == {"operations": []}
    transport = SimulatorTransport(Simulator("instant"))
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        reply = await client.get("/v1/batches", headers={"authorization": "Bearer k"})
    assert reply.json()["object"] == "list"
