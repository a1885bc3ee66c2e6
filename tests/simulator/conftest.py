"""A simulator on a clock that is set by hand, asked without any door."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import define, field, frozen

from batchllm.simulator import Exchange, Simulator, WireReply, WireRequest

VERSIONED = {"anthropic-version": "2023-06-01"}


@frozen
class Got:
    """A reply with its bytes put together."""

    reply: WireReply
    exchange: Exchange = field(repr=False)

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.reply.headers}

    @property
    def raw(self) -> bytes:
        return b"".join(chunk.data for chunk in self.reply.chunks)

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[tuple[str | None, Any]]:
        """The events of a stream: name and data, which is JSON but for `[DONE]`."""
        found = []
        for block in self.text.split("\n\n"):
            lines = dict(line.partition(": ")[::2] for line in block.split("\n") if line)
            if "data" in lines:
                data = lines["data"]
                found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
        return found


@define
class Desk:
    """Asks one simulator; `now` is its clock."""

    simulator: Simulator
    now: float = 1000.0

    def send(self, method: str, target: str, body: Any = None, **headers: str) -> Got:
        """Send a request and let its reply end at once."""
        got = self.begin(method, target, body, **headers)
        got.exchange.finish()
        return got

    def begin(self, method: str, target: str, body: Any = None, **headers: str) -> Got:
        """Send a request that stays under way."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        exchange = self.simulator.handle(
            WireRequest(method=method, target=target, headers=named, body=content)
        )
        return Got(exchange.reply, exchange)

    def chat(self, prompt: str = "hi", **fields: Any) -> Got:
        """Send a chat completion."""
        message = {"role": "user", "content": prompt}
        return self.send(
            "POST", "/v1/chat/completions", {"model": "m", "messages": [message]} | fields
        )

    def responses(self, prompt: str = "hi", **fields: Any) -> Got:
        """Send a request in the format of Responses."""
        return self.send("POST", "/v1/responses", {"model": "m", "input": prompt} | fields)

    def anthropic(self, prompt: str = "hi", **fields: Any) -> Got:
        """Send a request in the format of Messages."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": "m", "max_tokens": 100, "messages": messages} | fields
        return self.send("POST", "/v1/messages", body, **VERSIONED)

    def gemini(self, prompt: str = "hi", verb: str = "generateContent", **fields: Any) -> Got:
        """Send a request in the format of Gemini."""
        body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]} | fields
        return self.send("POST", f"/v1beta/models/g:{verb}", body)


@pytest.fixture
def desk() -> Callable[..., Desk]:
    """Give a function that sets up a desk for a scenario."""

    def set_up(scenario: Any = "default", **options: Any) -> Desk:
        made: list[Desk] = []
        simulator = Simulator(scenario, clock=lambda: made[0].now, **options)
        made.append(Desk(simulator))
        return made[0]

    return set_up
