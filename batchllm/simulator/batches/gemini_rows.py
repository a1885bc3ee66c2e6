"""Requests and results of simulated Gemini's batches: lines of files, and inline answers."""

import json
from collections.abc import Iterator
from typing import Any

from batchllm.simulator.batches.execution import Executed
from batchllm.simulator.batches.jobs import Job, Request

__all__ = ["inline_rows", "read_lines", "write_rows"]

_CODES = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    408: 4,
    429: 8,
    499: 1,
    500: 13,
    503: 14,
    504: 4,
    529: 14,
}
"""The code of gRPC by the status that an error has online."""


def read_lines(content: bytes, path: str) -> tuple[list[Request], list[dict[str, Any]]]:
    """Read a file of requests, and what is wrong with it as a whole."""
    requests: list[Request] = []
    problems: list[dict[str, Any]] = []
    lines = [line for line in content.split(b"\n") if line.strip()]
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            name, body = row["key"], row["request"]
        except (ValueError, KeyError, TypeError):
            text = f"Failed to parse the request in line {number}."
            problems.append({"code": "INVALID_ARGUMENT", "message": text})
            continue
        requests.append(Request(custom_id=str(name), path=path, body=json.dumps(body).encode()))
    if not lines:
        problems.append({"code": "INVALID_ARGUMENT", "message": "The file is empty."})
    return requests, problems[:1]


def write_rows(job: Job) -> bytes:
    """Write the file of results."""
    rows = [row for one in job.done for row in _row(one)]
    rows = job.in_order(rows)
    rows += rows[: job.behaviour.repeated]
    strange = {"code": 13, "message": "strange"}
    rows += [
        json.dumps({"key": f"strange-{number}", "error": strange})
        for number in range(job.behaviour.strange)
    ]
    return "".join(f"{row}\n" for row in rows).encode()


def inline_rows(job: Job) -> list[dict[str, Any]]:
    """Return the answers to requests that came with the create."""
    rows = [
        {"metadata": {"key": one.custom_id}, **_content(one.executed)}
        for one in job.done
        if one.executed is not None
    ]
    return job.in_order(rows)


def _row(one: Request) -> Iterator[str]:
    executed = one.executed
    assert executed is not None
    if executed.mark == "missing":
        return
    name = {} if executed.mark == "nokey" else {"key": one.custom_id}
    match executed.mark:
        case "empty":
            yield json.dumps({**name, "response": {}})
        case "text":
            yield json.dumps({**name, "error": "it went wrong"})
        case _ if executed.status == 200 and "embedding" not in executed.body[:20].decode():
            head = json.dumps(name)[:-1]
            yield f'{head}{", " if name else ""}"response": {executed.body.decode()}}}'
        case _:
            yield json.dumps({**name, **_content(executed)})


def _content(executed: Executed) -> dict[str, Any]:
    if executed.status == 200:
        answer = json.loads(executed.body)
        if "embedding" in answer:
            answer["tokenCount"] = str(executed.tokens)
        return {"response": answer}
    message = json.loads(executed.body)["error"]["message"]
    code = _CODES.get(executed.status, 2)
    return {"error": {"code": code, "message": message, "details": []}}
