"""Anthropic's Message Batches, as a simulated provider answers for them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from attrs import define

from batchllm.simulator.batches.jobs import Job, Request
from batchllm.simulator.batches.store import Batches
from batchllm.simulator.rendering import whole
from batchllm.simulator.wires import Headers, WireReply, WireRequest, http_date

_PATH = re.compile(r"^/v1/messages/batches(?:/([^/]+))?(?:/(results|cancel))?$")
_ID = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_MOST = 100_000
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_KEPT_SECONDS = 29 * 86_400


@define(eq=False)
class AnthropicBatches:
    """Anthropic's Message Batches.

    Args:
        store: The batches.
    """

    store: Batches

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this API."""
        return _PATH.match(request.path) is not None

    def call_of(self, request: WireRequest) -> str:
        """Return which kind of call it is."""
        found = _PATH.match(request.path)
        assert found is not None
        name, what = found[1], found[2]
        if request.method == "POST":
            return "cancel" if what == "cancel" else "create"
        if request.method == "DELETE":
            return "delete"
        if not name:
            return "list"
        return "content" if what == "results" else "get"

    def answer(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
        """Do what is asked, and answer."""
        found = _PATH.match(request.path)
        assert found is not None
        if call == "create":
            return self._create(request, account, now)
        if call == "list":
            return self._list(request, account, now)
        job = self.store.find(found[1] or "", account, now)
        if job is None:
            return self.error(404, "not_found_error", f"Batch {found[1]} not found.", now)
        if call == "content":
            return self._results(job, account, now)
        if call == "delete":
            if not job.has_ended(now):
                return self.error(400, "invalid_request_error", "It has not ended.", now)
            self.store.by_id.pop(job.id)
            gone = {"id": job.id, "type": "message_batch_deleted"}
            return self._json(gone, account, now)
        if call == "cancel":
            if job.has_ended(now):
                return self.error(400, "invalid_request_error", "It has ended already.", now)
            if job.cancelled is None:
                job.cancelled = now
        return self._json(self._described(job, now), account, now, waits=not job.has_ended(now))

    def _create(self, request: WireRequest, account: str, now: float) -> WireReply:
        try:
            rows = json.loads(request.body)["requests"]
            names = [row["custom_id"] for row in rows]
            requests = [
                Request(
                    custom_id=row["custom_id"],
                    path="/v1/messages",
                    body=json.dumps(row["params"]).encode(),
                )
                for row in rows
            ]
        except (ValueError, KeyError, TypeError):
            return self.error(400, "invalid_request_error", "requests: Field required", now)
        for place, name in enumerate(names):
            if not _ID.match(name):
                text = f"requests.{place}.custom_id: String should match {_ID.pattern}"
                return self.error(400, "invalid_request_error", text, now)
        if len(set(names)) < len(names) or not names:
            text = "requests: custom_id must be unique, and there must be some"
            return self.error(400, "invalid_request_error", text, now)
        if len(names) > _MOST:
            return self.error(413, "request_too_large", "There are too many requests.", now)
        limit = self.store.behaviour.token_limit
        waiting = self.store.enqueued(account, now) + len(request.body) / 4
        if limit is not None and waiting > limit:
            text = "This request would exceed the requests that may be in processing."
            return self.error(429, "rate_limit_error", text, now)
        # A client that follows this address must not send its key to a strange one.
        elsewhere = self.store.behaviour.results_elsewhere
        host = "elsewhere.invalid" if elsewhere else request.headers.get("host", "api.test")
        details = {"host": f"http://{host}"}
        job = self.store.create("msgbatch_", account, requests, [], details, now)
        return self._json(self._described(job, now), account, now)

    def _list(self, request: WireRequest, account: str, now: float) -> WireReply:
        page = self.store.page(
            account,
            now,
            after=request.query.get("after_id"),
            limit=min(1_000, int(request.query.get("limit", "20"))),
            describe=self._described,
        )
        return self._json(page, account, now)

    def _described(self, job: Job, now: float) -> dict[str, Any]:
        job.catch_up(now)
        ended, status = job.has_ended(now), job.status(now)
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if ended:
            for one in job.requests:
                counts[self._result(job, one, status)["type"]] += 1
        else:
            counts["processing"] = len(job.requests)  # nothing else is said before the end
        going = "canceling" if status == "cancelling" else "in_progress"
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else going,
            "request_counts": counts,
            "created_at": _stamp(job.created),
            "expires_at": _stamp(min(job.expires, job.created + 86_400)),
            "ended_at": _stamp(now) if ended else None,
            "cancel_initiated_at": None if job.cancelled is None else _stamp(job.cancelled),
            "archived_at": _stamp(now) if now > job.created + _KEPT_SECONDS else None,
            "results_url": f"{job.details.get('host')}/v1/messages/batches/{job.id}/results"
            if ended
            else None,
        }

    def _result(self, job: Job, one: Request, status: str) -> dict[str, Any]:
        """Return what became of one request."""
        executed = one.executed
        if executed is None:
            return {"type": "expired" if status == "expired" else "canceled"}
        if executed.mark == "missing":
            return {"type": "expired"}
        if executed.status == 200:
            return {"type": "succeeded", "message": executed.body}
        if executed.mark == "credit":
            text = "Your credit balance is too low to access the Anthropic API."
            return _errored("invalid_request_error", text)
        return _errored(_KINDS.get(executed.status, "api_error"), executed.body.decode())

    def _results(self, job: Job, account: str, now: float) -> WireReply:
        if not job.has_ended(now):
            return self.error(404, "not_found_error", "There are no results yet.", now)
        status = job.status(now)
        rows = [
            _line(one.custom_id, self._result(job, one, status))
            for one in job.in_order(list(job.requests))
        ]
        rows += rows[: job.behaviour.repeated]
        strange = _errored("api_error", "strange")
        rows += [_line(f"strange-{number}", strange) for number in range(job.behaviour.strange)]
        body = "".join(f"{row}\n" for row in rows).encode()
        return whole(200, body, kind="application/x-jsonl", headers=self._headers(account, now))

    def _headers(self, account: str, now: float) -> Headers:
        return (("anthropic-organization-id", account), ("date", http_date(now)))

    def _json(self, value: Any, account: str, now: float, *, waits: bool = False) -> WireReply:
        headers = self._headers(account, now)
        if waits:
            headers = (*headers, ("retry-after", "10"))
        return whole(200, json.dumps(value).encode(), headers=headers)

    def error(self, status: int, code: str, message: str, now: float) -> WireReply:
        """Answer with an error."""
        kind = _KINDS.get(status, "api_error")
        error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req"}
        return whole(status, json.dumps(error).encode(), headers=(("date", http_date(now)),))


def _errored(kind: str, message: str) -> dict[str, Any]:
    error = {"type": kind, "message": message, "details": None}
    return {
        "type": "errored",
        "error": {"type": "error", "error": error, "request_id": "req_1"},
    }


def _line(name: str, result: dict[str, Any]) -> str:
    message = result.get("message")
    if not isinstance(message, bytes):
        return json.dumps({"custom_id": name, "result": result})
    head = json.dumps({"custom_id": name})
    return f'{head[:-1]}, "result": {{"type": "succeeded", "message": {message.decode()}}}}}'


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
