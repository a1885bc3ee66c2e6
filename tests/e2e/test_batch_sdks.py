"""The real SDK clients against the simulator's batch APIs: upload, create, poll, list, results."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import anyio
import httpx
import pytest

from batchllm.simulator import BatchBehaviour, Simulator, serve

pytestmark = pytest.mark.anyio
QUICK = BatchBehaviour(queue=0.05, run=0.1, finalizing=0.0)


def chat(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"[[answer:answer {number}]]"}]
    return {"model": "gpt-5-mini", "messages": messages}


async def test_openai() -> None:
    openai = pytest.importorskip("openai")
    simulator = Simulator("instant", batch_behaviour=QUICK)
    async with serve(simulator) as server:
        client = openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
        async with client:
            lines = "".join(
                json.dumps(
                    {
                        "custom_id": f"r{number}",
                        "method": "POST",
                        "url": "/v1/chat/completions",
                        "body": chat(number),
                    }
                )
                + "\n"
                for number in range(3)
            )
            file = await client.files.create(
                file=("in.jsonl", io.BytesIO(lines.encode())), purpose="batch"
            )
            batch = await client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"mine": "yes"},
            )
            while batch.status not in ("completed", "failed"):
                await anyio.sleep(0.05)
                batch = await client.batches.retrieve(batch.id)
            assert batch.status == "completed"
            assert batch.request_counts.completed == 3
            assert [one.id async for one in client.batches.list(limit=10)] == [batch.id]
            assert [one.id async for one in client.files.list(purpose="batch")] == [file.id]
            text = (await client.files.content(batch.output_file_id)).text
            rows = {row["custom_id"]: row for row in map(json.loads, text.splitlines())}
            said = rows["r2"]["response"]["body"]["choices"][0]["message"]["content"]
            assert said == "answer 2"
            with pytest.raises(openai.ConflictError):
                await client.batches.cancel(batch.id)
            await client.files.delete(file.id)
    assert [line.custom_id for line in simulator.batches.invoice] == ["r0", "r1", "r2"]


async def test_anthropic() -> None:
    anthropic = pytest.importorskip("anthropic")
    simulator = Simulator("instant", batch_behaviour=QUICK)
    async with serve(simulator) as server:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)
        async with client:
            batch = await client.messages.batches.create(
                requests=[
                    {
                        "custom_id": f"r{number}",
                        "params": {
                            "model": "claude-sonnet-5",
                            "max_tokens": 50,
                            "messages": [
                                {"role": "user", "content": f"[[answer:answer {number}]]"}
                            ],
                        },
                    }
                    for number in range(3)
                ]
            )
            while batch.processing_status != "ended":
                await anyio.sleep(0.05)
                batch = await client.messages.batches.retrieve(batch.id)
            assert batch.request_counts.succeeded == 3
            found = [one.id async for one in client.messages.batches.list(limit=10)]
            assert found == [batch.id]
            results = await client.messages.batches.results(batch.id)
            rows = {row.custom_id: row async for row in results}
            assert rows["r1"].result.message.content[0].text == "answer 1"
            await client.messages.batches.delete(batch.id)
    assert len(simulator.batches.invoice) == 3


@pytest.fixture
def genai() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SDK's own imports
        return pytest.importorskip("google.genai", reason="google-genai is not installed")


def client_of(genai: Any, url: str, http: httpx.AsyncClient) -> Any:
    options = genai.types.HttpOptions(base_url=url, httpx_async_client=http)
    return genai.Client(api_key="k", http_options=options)


async def ended(client: Any, job: Any) -> Any:
    while job.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        await anyio.sleep(0.05)
        job = await client.aio.batches.get(name=job.name)
    return job


GENAI = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


@GENAI
async def test_gemini(genai: Any) -> None:
    """A file that is uploaded in several parts, its batch, its results, and what is listed."""
    simulator = Simulator("instant", batch_behaviour=QUICK)
    async with serve(simulator) as server, httpx.AsyncClient() as http:
        client = client_of(genai, server.url, http)
        rows = [
            {
                "key": f"r{number}",
                "request": {"contents": [{"parts": [{"text": f"[[answer:answer {number}]]"}]}]},
            }
            for number in range(3)
        ]
        rows[0]["request"]["contents"][0]["parts"].append({"text": "x" * 9_000_000})
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        file = await client.aio.files.upload(
            file=io.BytesIO(lines.encode()),
            config={"name": "my-lines", "mime_type": "jsonl", "display_name": "mine"},
        )
        assert (file.name, file.size_bytes) == ("files/my-lines", len(lines))
        job = await client.aio.batches.create(
            model="gemini-2.5-flash", src=file.name, config={"display_name": "mine"}
        )
        assert job.state.name == "JOB_STATE_PENDING"
        job = await ended(client, job)
        assert job.state.name == "JOB_STATE_SUCCEEDED"
        found = [one.name async for one in await client.aio.batches.list(config={"page_size": 1})]
        assert found == [job.name]
        content = await client.aio.files.download(file=job.dest.file_name)
        said = {row["key"]: row["response"] for row in map(json.loads, content.splitlines())}
        parts = said["r2"]["candidates"][0]["content"]["parts"]
        assert parts == [{"text": "answer 2"}]
        with pytest.raises(genai.errors.ClientError, match="has ended already"):
            await client.aio.batches.cancel(name=job.name)
        await client.aio.files.delete(name=file.name)
        with pytest.raises(genai.errors.ClientError, match="may not exist"):
            await client.aio.files.get(name=file.name)
        await client.aio.batches.delete(name=job.name)
        client.close()
    assert [line.custom_id for line in simulator.batches.invoice] == ["r0", "r1", "r2"]


@GENAI
@pytest.mark.filterwarnings("ignore:batches.create_embeddings")
async def test_gemini_inline_and_vectors(genai: Any) -> None:
    """Requests in the create itself, whose answers stand twice in the operation; and vectors."""
    simulator = Simulator("instant", batch_behaviour=QUICK)
    async with serve(simulator) as server, httpx.AsyncClient() as http:
        client = client_of(genai, server.url, http)
        source = [{"contents": f"[[answer:answer {number}]]"} for number in range(3)]
        job = await client.aio.batches.create(model="gemini-2.5-flash", src=source)
        job = await ended(client, job)
        texts = [one.response.text for one in job.dest.inlined_responses]
        assert texts == ["answer 0", "answer 1", "answer 2"]
        rows = [{"key": "e", "request": {"content": {"parts": [{"text": "hi"}]}}}]
        file = await client.aio.files.upload(
            file=io.BytesIO(json.dumps(rows[0]).encode()), config={"mime_type": "jsonl"}
        )
        job = await client.aio.batches.create_embeddings(
            model="gemini-embedding-001", src={"file_name": file.name}
        )
        job = await ended(client, job)
        content = await client.aio.files.download(file=job.dest.file_name)
        row = json.loads(content)
        assert row["response"]["embedding"]["values"]
        assert row["response"]["tokenCount"] == "1"
        client.close()
