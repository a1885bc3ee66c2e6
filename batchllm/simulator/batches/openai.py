"""OpenAI's files and batches, as a simulated provider answers for them."""

import json
import math
import re
from collections.abc import Callable, Iterable
from email.parser import BytesParser
from email.policy import HTTP as HTTP_POLICY
from functools import partial
from hashlib import blake2b
from typing import Any

from attrs import define, field

from batchllm.simulator.batches.behaviour import BatchBehaviour, InvoiceLine, Mishap
from batchllm.simulator.batches.execution import execute, jsonl
from batchllm.simulator.batches.jobs import Job, Request, read_requests
from batchllm.simulator.rendering import whole
from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.wires import (
    Chunk,
    Ending,
    Headers,
    Wire,
    WireReply,
    WireRequest,
    count_tokens,
    http_date,
)

_PATH = re.compile(r"^(?:/openai)?/v1/(files|batches)(?:/([^/]+))?(?:/(content|cancel))?$")
_LISTED = 100
_MOST_PARTS = 4
_DAYS = 30 * 86_400


@define(eq=False, kw_only=True)
class _File:
    id: str
    account: str
    name: str
    purpose: str
    created: float
    content: bytes | Callable[[], bytes]

    def read(self) -> bytes:
        if not isinstance(self.content, bytes):
            self.content = self.content()
        return self.content


@define(eq=False)
class OpenAIBatches:
    """Files and batches of all accounts; they stay for as long as the simulator does.

    Args:
        scenario: The simulator's.
        seed: The simulator's.
        wires: The simulator's, which execute the requests.
        behaviour: How batches go; it may be changed, for those that are created afterwards.

    Attributes:
        mishaps: What goes wrong with control calls; it may be added to.
        invoice: Every request that was executed and billed.
        calls: How often each kind of call came.
    """

    scenario: Scenario
    seed: int
    wires: Iterable[Wire]
    behaviour: BatchBehaviour = field(factory=BatchBehaviour)
    mishaps: list[Mishap] = field(factory=list, init=False)
    invoice: list[InvoiceLine] = field(factory=list, init=False)
    calls: dict[str, int] = field(factory=dict, init=False)
    _files: dict[str, _File] = field(factory=dict, init=False)
    _jobs: dict[str, Job] = field(factory=dict, init=False)
    _paid: dict[str, int] = field(factory=dict, init=False)

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return _PATH.match(request.path) is not None

    @property
    def jobs(self) -> list[Job]:
        """Every batch, the oldest first."""
        return list(self._jobs.values())

    def catch_up(self, now: float) -> None:
        """Let every batch execute what is due."""
        for job in self._jobs.values():
            job.catch_up(now)

    def handle(self, request: WireRequest, key: str, now: float) -> WireReply:
        """Answer one request.

        Args:
            request: As it came.
            key: Whose.
            now: Seconds since 1970.
        """
        self.catch_up(now)
        call = _call_of(request)
        self.calls[call] = self.calls.get(call, 0) + 1
        account = self.behaviour.accounts.get(key) or f"org-{_short(key)}"
        if self.scenario.api_key is not None and key not in (
            self.scenario.api_key,
            *self.behaviour.accounts,
        ):
            return self._error(401, "invalid_api_key", "Incorrect API key provided.", now)
        mishap = next((one for one in self.mishaps if one.strikes(call)), None)
        trouble = "" if mishap is None else mishap.trouble
        if trouble and not trouble.startswith("ghost") and trouble != "cut":
            return self._trouble(trouble, now)
        reply = self._done(request, call, account, now)
        match trouble:
            case "ghost-500":
                return self._trouble("500", now)
            case "ghost-reset":
                return self._trouble("reset", now)
            case "ghost-hang":
                return WireReply(status=200, sends_head=False, ending=Ending.STALL)
            case "ghost-cut" | "cut":
                return _cut(reply)
        return reply

    def _done(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
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
            case "content":
                file = self._files.get(name)
                if file is None or file.account != account:
                    return self._missing("File", name, now)
                kind = "application/octet-stream"
                return whole(200, file.read(), kind=kind, headers=self._headers(account, now))
            case "delete":
                gone = self._files.pop(name, None) is not None
                if not gone:
                    return self._missing("File", name, now)
                return self._json({"id": name, "object": "file", "deleted": True}, account, now)
            case "file":
                file = self._files.get(name)
                if file is None or file.account != account:
                    return self._missing("File", name, now)
                return self._json(_as_json(file), account, now)
        return self._error(404, "not_found", f"Unknown request URL: {request.path}.", now)

    # -- files -----------------------------------------------------------------------------------

    def _upload(self, request: WireRequest, account: str, now: float) -> WireReply:
        fields, name, content = _read_form(request)
        if content is None:
            return self._error(400, "missing_required_parameter", "There is no file.", now)
        file = self._keep(account, name, fields.get("purpose", "batch"), content, now)
        return self._json(_as_json(file), account, now)

    def _keep(
        self,
        account: str,
        name: str,
        purpose: str,
        content: bytes | Callable[[], bytes],
        now: float,
    ) -> _File:
        file_id = f"file-{_short(f'{self.seed}/{len(self._files)}/{name}/{now}')}"
        file = _File(
            id=file_id, account=account, name=name, purpose=purpose, created=now, content=content
        )
        self._files[file_id] = file
        return file

    def _list_files(self, request: WireRequest, account: str, now: float) -> WireReply:
        purpose = request.query.get("purpose")
        found = [
            _as_json(file)
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
            return self._error(
                400, "invalid_request", "input_file_id and endpoint are needed.", now
            )
        if file is None or file.account != account:
            return self._error(400, "invalid_file", "The input file does not exist.", now)
        requests, problems = read_requests(file.read(), endpoint)
        tokens = sum(count_tokens(one.body.decode("utf-8", "replace")) for one in requests)
        problems = problems or self._over_the_limit(account, tokens, now)
        batch_id = f"batch_{_short(f'{self.seed}/{len(self._jobs)}/{file.id}/{now}')}"
        job = Job(
            id=batch_id,
            account=account,
            created=now,
            behaviour=self.behaviour,
            requests=requests,
            problems=problems,
            execute=partial(self._execute, batch_id, account),
            tokens=tokens,
            details=wanted,
        )
        self._jobs[batch_id] = job
        return self._json(self._described(job, now), account, now)

    def _over_the_limit(self, account: str, tokens: float, now: float) -> list[dict[str, Any]]:
        limit = self.behaviour.token_limit
        if limit is None:
            return []
        enqueued = sum(
            job.tokens
            for job in self._jobs.values()
            if job.account == account and not job.problems and not job.has_ended(now)
        )
        if enqueued + tokens <= limit:
            return []
        said = f" Limit: {limit:,.0f} enqueued tokens." if self.behaviour.says_limit else ""
        text = (
            f"Enqueued token limit reached for this model in organization {account}.{said} Please "
            "try again once some in_progress batches have been completed."
        )
        return [{"code": "token_limit_exceeded", "message": text, "line": None, "param": None}]

    def _execute(self, batch_id: str, account: str, path: str, body: bytes, name: str) -> Any:
        done = execute(self.wires, self.scenario, self.seed, path, body, name)
        paid = self._paid.get(account, 0)
        if self.behaviour.credit is not None and paid >= self.behaviour.credit:
            error = {"code": "billing_hard_limit_reached", "message": "Billing hard limit reached"}
            return type(done)(429, json.dumps({"error": error}).encode(), "credit")
        if done.status == 200 and done.answer is not None and done.call is not None:
            self._paid[account] = paid + 1
            answer = done.answer
            tokens = answer.input_tokens + answer.output_tokens
            self.invoice.append(
                InvoiceLine(
                    batch=batch_id,
                    custom_id=name.split("-", 2)[2],
                    model=done.call.model,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                    dollars=tokens * self.behaviour.price / 2,
                )
            )
        return done

    def _about_job(self, name: str, call: str, account: str, now: float) -> WireReply:
        job = self._jobs.get(name)
        if job is None or job.account != account or not self._is_listed(job, now):
            return self._missing("batch", name, now)
        if call == "cancel":
            if job.has_ended(now):
                text = f"Cannot cancel a batch with status '{job.status(now)}'."
                return self._error(409, "invalid_request", text, now)
            if job.cancelled is None:
                job.cancelled = now
        return self._json(self._described(job, now), account, now)

    def _is_listed(self, job: Job, now: float) -> bool:
        return now - job.created >= self.behaviour.list_lag

    def _list_jobs(self, request: WireRequest, account: str, now: float) -> WireReply:
        query = request.query
        limit = min(_LISTED, int(query.get("limit", "20")))
        found = [
            job
            for job in reversed(self._jobs.values())
            if job.account == account and self._is_listed(job, now)
        ]
        after = query.get("after")
        ids = [job.id for job in found]
        if after in ids:
            found = found[ids.index(after) + 1 :]
        page = [self._described(job, now) for job in found[:limit]]
        return self._json(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(found) > limit,
            },
            account,
            now,
        )

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
            "model": None if status == "validating" else _model_of(job),
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
                match self.behaviour.no_errors:
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
        return self._error(404, "not_found", f"No {what} found with id '{name}'.", now)

    def _error(self, status: int, code: str, message: str, now: float) -> WireReply:
        error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
        body = json.dumps({"error": error}).encode()
        return whole(status, body, headers=(("date", http_date(now)),))

    def _trouble(self, trouble: str, now: float) -> WireReply:
        match trouble:
            case "reset":
                return WireReply(status=200, sends_head=False, ending=Ending.DISCONNECT)
            case "not-sent":
                return WireReply(
                    status=200, connects=False, sends_head=False, ending=Ending.DISCONNECT
                )
            case _:
                return self._error(int(trouble), f"asked_for_{trouble}", "It was asked for.", now)


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


def _cut(reply: WireReply) -> WireReply:
    body = b"".join(chunk.data for chunk in reply.chunks)
    return WireReply(
        status=reply.status,
        headers=reply.headers,
        chunks=(Chunk(0.0, body[: len(body) // 2]),),
        ending=Ending.DISCONNECT,
    )


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


def _model_of(job: Job) -> str | None:
    if not job.requests:
        return None
    model = json.loads(job.requests[0].body).get("model")
    return model if isinstance(model, str) else None


def _as_json(file: _File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.read()),
        "created_at": int(file.created),
        "expires_at": int(file.created) + _DAYS,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _read_form(request: WireRequest) -> tuple[dict[str, str], str, bytes | None]:
    """Read a form with one file; large files are not copied through a parser of mails."""
    kind = request.headers.get("content-type", "")
    head = BytesParser(policy=HTTP_POLICY).parsebytes(f"content-type: {kind}\r\n\r\n".encode())
    boundary = str(head.get_param("boundary") or "").encode()
    fields: dict[str, str] = {}
    name, content = "", None
    for part in request.body.split(b"--" + boundary):
        header, separator, value = part.partition(b"\r\n\r\n")
        if not separator:
            continue
        said = BytesParser(policy=HTTP_POLICY).parsebytes(header.strip() + b"\r\n\r\n")
        value = value.removesuffix(b"\r\n")
        if said.get_filename() is not None:
            name, content = str(said.get_filename()), value
        else:
            field_name = said.get_param("name", header="content-disposition")
            fields[str(field_name)] = value.decode()
    return fields, name, content


def _short(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
