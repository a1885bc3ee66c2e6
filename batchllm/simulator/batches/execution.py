"""One request of a batch: executed as it would be online, and what its line of results says."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from batchllm.simulator.answers import compose, request_rng
from batchllm.simulator.faults import settings_in_prompt
from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.wires import (
    Answer,
    Call,
    Context,
    Wire,
    WireProblem,
    WireRequest,
)

_MARK = re.compile(r"\[\[batch:([a-z0-9]+)\]\]")


@frozen
class Executed:
    """A request that was executed, or was not.

    Attributes:
        status: Of its answer; 0 if it has none.
        body: Of its answer, as JSON.
        mark: What its prompt asks to go wrong.
        call: As it was read.
        answer: Of the model.
        tokens: Of its prompt, as far as it was executed.
    """

    status: int
    body: bytes
    mark: str | None = None
    call: Call | None = None
    answer: Answer | None = None
    tokens: int = 0


def mark_in(body: bytes) -> str | None:
    """Return what a request asks to go wrong in a batch: ``[[batch:400]]`` and the like."""
    found = _MARK.search(body.decode("utf-8", "replace"))
    return None if found is None else found[1]


def execute(
    wires: Iterable[Wire], scenario: Scenario, seed: int, path: str, body: bytes, request_id: str
) -> Executed:
    """Execute one request.

    Args:
        wires: Those of the simulator.
        scenario: Its scenario.
        seed: Its seed.
        path: Of the request.
        body: Of the request.
        request_id: Its number at the provider.
    """
    # The headers of the create hold for each of its requests.
    headers = {"anthropic-version": "2023-06-01"}
    request = WireRequest(method="POST", target=path, headers=headers, body=body)
    wire = next((wire for wire in wires if wire.matches(request)), None)
    mark = mark_in(body)
    if wire is None:
        return Executed(404, _error("not_found", f"Unknown request URL: {path}."), mark)
    try:
        call = wire.parse(request)
    except WireProblem as error:
        return Executed(400, _error("invalid_request", str(error)), mark)
    if mark is not None and mark.isdigit():
        return Executed(int(mark), _error("server_error", f"asked for: {mark}"), mark, call)
    if mark == "credit":
        text = _error("insufficient_quota", "You exceeded your current quota.")
        return Executed(429, text, mark, call)
    words = request_rng(seed, call.digest, 0, "words")
    answer = compose(
        call,
        length=round(scenario.answer_tokens.draw(words)),
        said=settings_in_prompt(call.prompt).get("answer"),
        faults=(),
        words=words,
        rng=request_rng(seed, call.digest, 1, "fate"),
    )
    context = Context(request_id=request_id, now=0.0, profile=scenario.profile)
    return Executed(200, wire.body(call, answer, context), mark, call, answer, answer.input_tokens)


def _error(code: str, message: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    return json.dumps({"error": error}).encode()


def jsonl(rows: Iterable[dict[str, Any]], write: Callable[[Any], str]) -> bytes:
    """Write rows as lines of JSON."""
    return "".join(f"{write(row)}\n" for row in rows).encode()
