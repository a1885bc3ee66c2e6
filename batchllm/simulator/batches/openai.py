"""OpenAI's files and batches, as a simulated provider answers for them."""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field

from batchllm.simulator.batches.execution import jsonl
from batchllm.simulator.batches.files import File, read_form
from batchllm.simulator.batches.jobs import Job, Request, read_requests
from batchllm.simulator.batches.store import Batches, short
from batchllm.simulator.rendering import whole
from batchllm.simulator.wires import (
    Headers,
    WireReply,
    WireRequest,
    http_date,
)

_PATH = re.compile(r"^(?:/openai)?/v1/(files|batches)(?:/([^/]+))?(?:/(content|cancel))?$")
_LISTED = 100


@define(eq=False)
class OpenAIBatches:
    """OpenAI's files and batches.

    Args:
        store: The batches.
    """

    store: Batches
    _files: dict[str, File] = field(factory=dict, init=False)

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this API."""
        return _PATH.match(request.path) is not None

    def call_of(self, request: WireRequest) -> str:
        """Return which kind of call it is."""
        return _call_of(request)

    def answer(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
        """Do what is asked, and answer."""
        found = _PATH.match(request.path)
        assert found is not None
        name = found[2] or ""
        match call:
            case "upload":
                return self._upload(request, account, now)
            case "find":
                return self._list_files(request, account, now)
            case "create":
                return self._create(request, account, now)
            case "list":
                return self._list_jobs(request, account, now)
            case "get" | "cancel":
                return self._about_job(name, call, account, now)
            case _:
                return self._about_file(name, call, account, now)

    def _about_file(self, name: str, call: str, account: str, now: float) -> WireReply:
        file = self._files.get(name)
        if file is None or file.account != account:
            return self._missing("File", name, now)
        match call:
            case "content":
                kind = "application/octet-stream"
                return whole(200, file.read(), kind=kind, headers=self._headers(account, now))
            case "delete":
                del self._files[name]
                return self._json({"id": name, "object": "file", "deleted": True}, account, now)
            case _:
                return self._json(file.as_json(), account, now)

    # -- files -----------------------------------------------------------------------------------

    def _upload(self, request: WireRequest, account: str, now: float) -> WireReply:
        fields, name, content = read_form(request)
        if content is None:
            return self.error(400, "missing_required_parameter", "There is no file.", now)
        file = self._keep(account, name, fields.get("purpose", "batch"), content, now)
        return self._json(file.as_json(), account, now)

    def _keep(
        self,
        account: str,
        name: str,
        purpose: str,
        content: bytes | Callable[[], bytes],
        now: float,
    ) -> File:
        file_id = f"file-{short(f'{self.store.seed}/{len(self._files)}/{name}/{now}')}"
        file = File(
            id=file_id, account=account, name=name, purpose=purpose, created=now, content=content
        )
        self._files[file_id] = file
        return file

    def _list_files(self, request: WireRequest, account: str, now: float) -> WireReply:
        purpose = request.query.get("purpose")
        found = [
            file.as_json()
            for file in reversed(self._files.values())
            if file.account == account and purpose in (None, file.purpose)
        ]
        return self._json({"object": "list", "data": found, "has_more": False}, account, now)

    # -- batches ---------------------------------------------------------------------------------

    def _create(self, request: WireRequest, account: str, now: float) -> WireReply:
        try:
            wanted = json.loads(request.body)
            endpoint, file = wanted["endpoint"], self._files.get(wanted["input_file_id"])
        except (ValueError, KeyError, TypeError):
            return self.error(400, "invalid_request", "input_file_id and endpoint are needed.", now)
        if file is None or file.account != account:
            return self.error(400, "invalid_file", "The input file does not exist.", now)
        requests, problems = read_requests(file.read(), endpoint)
        wanted["model"] = _model_of(requests)
        job = self.store.create("batch_", account, requests, problems, wanted, now)
        return self._json(self._described(job, now), account, now)

    def _about_job(self, name: str, call: str, account: str, now: float) -> WireReply:
        job = self.store.find(name, account, now)
        if job is None:
            return self._missing("batch", name, now)
        if call == "cancel":
            if job.has_ended(now):
                text = f"Cannot cancel a batch with status '{job.status(now)}'."
                return self.error(409, "invalid_request", text, now)
            if job.cancelled is None:
                job.cancelled = now
        return self._json(self._described(job, now), account, now)

    def _list_jobs(self, request: WireRequest, account: str, now: float) -> WireReply:
        page = self.store.page(
            account,
            now,
            after=request.query.get("after"),
            limit=min(_LISTED, int(request.query.get("limit", "20"))),
            describe=self._described,
        )
        return self._json({"object": "list", **page}, account, now)

    def _described(self, job: Job, now: float) -> dict[str, Any]:
        job.catch_up(now)
        status = job.status(now)
        failed = sum(1 for one in job.done if one.executed and one.executed.status != 200)
        started = status not in ("validating", "failed")
        output, errors = self._results(job, status, now)
        problems = job.problems if status == "failed" else []
        expires = None if math.isinf(job.expires) else int(job.expires)
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.details.get("endpoint"),
            "model": None if status == "validating" else job.details.get("model"),
            "errors": {"object": "list", "data": problems} if problems else None,
            "input_file_id": job.details.get("input_file_id"),
            "completion_window": job.details.get("completion_window", "24h"),
            "status": status,
            "output_file_id": output,
            "error_file_id": errors,
            "created_at": int(job.created),
            "expires_at": expires,
            "in_progress_at": int(job.starts) if started else None,
            "request_counts": {
                "total": len(job.requests) if started else 0,
                "completed": len(job.done) - failed,
                "failed": failed,
            },
            "metadata": job.details.get("metadata"),
        }

    # -- results ---------------------------------------------------------------------------------

    def _results(self, job: Job, status: str, now: float) -> tuple[str | None, str | None]:
        """Return the ids of the result files, which are written when a batch has ended."""
        if status not in ("completed", "expired", "cancelled"):
            return None, None
        if "files" not in job.details:
            good, bad = self._rows(job, status)
            output = self._kept_rows(job, "output", job.in_order(good), now) if good else None
            errors = self._kept_rows(job, "error", job.in_order(bad), now) if bad else None
            if errors is None:
                match self.store.behaviour.no_errors:
                    case "empty":
                        errors = ""
                    case "zero-bytes":
                        errors = self._kept_rows(job, "error", [], now)
                    case _:
                        pass
            job.details["files"] = output, errors
        files: tuple[str | None, str | None] = job.details["files"]
        return files

    def _kept_rows(self, job: Job, kind: str, rows: list[dict[str, Any]], now: float) -> str:
        name = f"{job.id}_{kind}.jsonl"
        # Written when it is read, so that a large batch costs nothing before.
        return self._keep(job.account, name, "batch_output", partial(_written, rows), now).id

    def _rows(self, job: Job, status: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, one in enumerate(job.done, 1):
            executed = one.executed
            assert executed is not None
            match executed.mark:
                case "missing":
                    continue
                case "status0":
                    good.append(_row(job, number, one, {"status_code": 0, "body": None}))
                case "timeout":
                    bad.append(_row(job, number, one, None, _said("request_timeout")))
                case "text":
                    bad.append(_row(job, number, one, None, "it went wrong"))
                case _:
                    response = {
                        "status_code": executed.status,
                        "request_id": f"req-{job.id}-{number}",
                        "body": executed.body,
                    }
                    (good if executed.status == 200 else bad).append(
                        _row(job, number, one, response)
                    )
        over = {"expired": "batch_expired", "cancelled": "batch_cancelled"}.get(status)
        if over is not None:
            rest = enumerate(job.not_run, len(job.done) + 1)
            bad += [_row(job, number, one, None, _said(over)) for number, one in rest]
        good += good[: job.behaviour.repeated]
        for number in range(job.behaviour.strange):
            request = Request(custom_id=f"strange-{number}", path="", body=b"")
            good.append(_row(job, 0, request, {"status_code": 200, "body": b'{"choices":[]}'}))
        return good, bad

    # -- replies ---------------------------------------------------------------------------------

    def _headers(self, account: str, now: float) -> Headers:
        return (("openai-organization", account), ("date", http_date(now)))

    def _json(self, value: Any, account: str, now: float) -> WireReply:
        return whole(200, json.dumps(value).encode(), headers=self._headers(account, now))

    def _missing(self, what: str, name: str, now: float) -> WireReply:
        return self.error(404, "not_found", f"No {what} found with id '{name}'.", now)

    def error(self, status: int, code: str, message: str, now: float) -> WireReply:
        """Answer with an error."""
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
        body = json.dumps({"error": error}).encode()
        return whole(status, body, headers=(("date", http_date(now)),))


def _call_of(request: WireRequest) -> str:
    found = _PATH.match(request.path)
    assert found is not None
    kind, name, what = found[1], found[2], found[3]
    if kind == "files":
        if request.method == "POST":
            return "upload"
        if request.method == "DELETE":
            return "delete"
        return "find" if not name else what or "file"
    if request.method == "POST":
        return "cancel" if what == "cancel" else "create"
    return "get" if name else "list"


def _written(rows: list[dict[str, Any]]) -> bytes:
    return jsonl(rows, _line)


def _line(row: dict[str, Any]) -> str:
    """Write a row; the body of an answer is JSON already."""
    response = row["response"]
    if response is None or not isinstance(response["body"], bytes):
        return json.dumps(row)
    head = json.dumps({"id": row["id"], "custom_id": row["custom_id"]})
    rest = json.dumps({name: response[name] for name in response if name != "body"})
    body = response["body"].decode()
    return f'{head[:-1]}, "response": {rest[:-1]}, "body": {body}}}, "error": null}}'


def _row(job: Job, number: int, one: Request, response: Any, error: Any = None) -> dict[str, Any]:
    return {
        "id": f"batch_req_{job.id}_{number}",
        "custom_id": one.custom_id,
        "response": response,
        "error": error,
    }


def _said(code: str) -> dict[str, str]:
    return {"code": code, "message": f"This request could not be executed: {code}."}


def _model_of(requests: list[Request]) -> str | None:
    if not requests:
        return None
    model = json.loads(requests[0].body).get("model")
    return model if isinstance(model, str) else None
