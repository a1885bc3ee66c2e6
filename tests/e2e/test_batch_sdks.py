"""The real SDK clients against the simulator's batch APIs: upload, create, poll, list, results."""

from __future__ import annotations

import io
import json
from typing import Any

import anyio
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
