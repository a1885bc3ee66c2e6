"""Gemini's batches, and the files that they are made of, as a simulated provider has them."""

import json
import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

from attrs import define, field

from batchllm.simulator.batches.gemini_files import GeminiFiles
from batchllm.simulator.batches.gemini_rows import inline_rows, read_lines, write_rows
from batchllm.simulator.batches.jobs import Job, Request
from batchllm.simulator.batches.store import Batches
from batchllm.simulator.rendering import whole
from batchllm.simulator.wires import WireReply, WireRequest, count_tokens, http_date

_PATH = re.compile(
    r"^(?P<part>/upload|/download)?/v1(?P<stage>alpha|beta|)/"
    r"(?P<kind>files|batches|models)(?:/(?P<name>[^/:]+))?(?::(?P<verb>\w+))?$"
)
_CREATES = {"batchGenerateContent": "generateContent", "asyncBatchEmbedContent": "embedContent"}
"""By the verb that creates a batch: the verb of its requests."""
_STATES = {
    "validating": "PENDING",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "cancelling": "CANCELLING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "expired": "EXPIRED",
    "cancelled": "CANCELLED",
}
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_GRPC = {"INVALID_ARGUMENT": 3, "RESOURCE_EXHAUSTED": 8, "INTERNAL": 13, "UNAVAILABLE": 14}


@define(eq=False)
class GeminiBatches:
    """Gemini's batches and files.

    Args:
        store: The batches.
    """

    store: Batches
    _files: GeminiFiles = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._files = GeminiFiles(self.store, self._fail)

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this API."""
        found = _PATH.match(request.path)
        if found is None or found["kind"] == "models":
            return found is not None and found["verb"] in _CREATES
        # OpenAI's files and batches are at these paths, too.
        is_googles = found["part"] or found["stage"] or "x-goog-api-key" in request.headers
        return bool(is_googles)

    def call_of(self, request: WireRequest) -> str:
        """Return which kind of call it is."""
        found = _PATH.match(request.path)
        assert found is not None
        match found["kind"], found["part"], request.method:
            case "models", _, _:
                return "create"
            case _, "/upload", _:
                return "put" if "upload_id" in request.query else "upload"
            case "files", _, _ if found["verb"] == "download":
                return "content"
            case "files", _, "GET":
                return "find"
            case _, _, "DELETE":
                return "delete"
            case _, _, "POST" if found["verb"] == "cancel":
                return "cancel"
            case _:
                return "get" if found["name"] else "list"

    def answer(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
        """Do what is asked, and answer; a request that cannot be read is one that is wrong."""
        try:
            return self._answer(request, call, account, now)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            return self._fail(400, "INVALID_ARGUMENT", f"The request is not valid: {error}", now)

    def _answer(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
        found = _PATH.match(request.path)
        assert found is not None
        name = f"{found['kind']}/{found['name']}"
        match call:
            case "upload":
                return self._files.begin(request, account, now)
            case "put":
                return self._files.put(request, now)
            case "create":
                return self._create(request, found["name"], found["verb"], account, now)
            case "list":
                return self._list(request, account, now)
            case _ if found["kind"] == "files":
                return self._about_file(found["name"] and name, call, account, now)
            case _:
                return self._about_job(name, call, account, now)

    def _about_file(self, name: str | None, call: str, account: str, now: float) -> WireReply:
        if name is None:
            return self._json({"files": self._files.listed(account, now)}, now)
        file = self._files.find(name, account, now)
        if file is None:
            text = f"You do not have permission to access the File {name} or it may not exist."
            return self._fail(403, "PERMISSION_DENIED", text, now)
        match call:
            case "content":
                headers = (("date", http_date(now)),)
                return whole(200, file.read(), kind="application/octet-stream", headers=headers)
            case "delete":
                self._files.delete(name)
                return self._json({}, now)
            case _:
                return self._json(self._files.described(file), now)

    # -- batches ---------------------------------------------------------------------------------

    def _create(
        self, request: WireRequest, model: str, verb: str, account: str, now: float
    ) -> WireReply:
        wanted = (json.loads(request.body or b"{}") or {}).get("batch") or {}
        source = wanted.get("inputConfig") or wanted.get("input_config") or {}
        file_name = source.get("fileName") or source.get("file_name")
        # The requests are executed as the wire would execute them online.
        path = f"/v1beta/models/{model}:{_CREATES[verb]}"
        if file_name is not None:
            file = self._files.find(file_name, account, now)
            if file is None:
                text = f"You do not have permission to access the File {file_name} or it may not "
                return self._fail(403, "PERMISSION_DENIED", f"{text}exist.", now)
            requests, problems = read_lines(file.read(), path)
        else:
            requests, problems = _inline(source, path), []
            if not requests:
                text = "batch.input_config: there is neither a file nor a request"
                return self._fail(400, "INVALID_ARGUMENT", text, now)
        limit = self.store.behaviour.token_limit
        tokens = sum(count_tokens(one.body.decode("utf-8", "replace")) for one in requests)
        if limit is not None and self.store.enqueued(account, now) + tokens > limit:
            return self._exhausted(now)
        details = {"model": f"models/{model}", "wanted": wanted, "inline": file_name is None}
        job = self.store.create("batches/", account, requests, problems, details, now)
        return self._json(self._described(job, now), now)

    def _exhausted(self, now: float) -> WireReply:
        """Refuse a create for a quota: with no metric, no limit and no time to wait."""
        text = (
            "You exceeded your current quota, please check your plan and billing details. For "
            "more information on this error, head to: https://ai.google.dev/gemini-api/docs/"
            "rate-limits."
        )
        links = [{"description": "Learn more", "url": "https://ai.google.dev/gemini-api/docs"}]
        details = [{"@type": "type.googleapis.com/google.rpc.Help", "links": links}]
        return self._fail(429, "RESOURCE_EXHAUSTED", text, now, details)

    def _about_job(self, name: str, call: str, account: str, now: float) -> WireReply:
        job = self.store.find(name, account, now)
        if job is None:
            return self._fail(404, "NOT_FOUND", "Requested entity was not found.", now)
        match call:
            case "cancel":
                if job.has_ended(now):
                    text = f"Batch {name} has ended already."
                    return self._fail(400, "FAILED_PRECONDITION", text, now)
                if job.cancelled is None:
                    job.cancelled = now
                return self._json({}, now)
            case "delete":
                self.store.by_id.pop(name)
                return self._json({}, now)
            case _:
                return self._json(self._described(job, now), now)

    def _list(self, request: WireRequest, account: str, now: float) -> WireReply:
        size = int(request.query.get("pageSize") or 50)
        token = request.query.get("pageToken") or ""
        found = list(self.store.listed(account, now))
        if self.store.behaviour.oldest_first:
            found.reverse()
        # A page begins behind the last batch of the one before, whatever came meanwhile.
        ids = [job.id for job in found]
        start = ids.index(token) + 1 if token in ids else 0
        page = found[start : start + size]
        reply: dict[str, Any] = {
            "operations": [self._described(job, now, listed=True) for job in page]
        }
        if start + size < len(found):
            reply["nextPageToken"] = page[-1].id
        return self._json(reply, now)

    def _described(self, job: Job, now: float, *, listed: bool = False) -> dict[str, Any]:
        """Return the operation of a batch; counts of zero and what is not there yet are absent."""
        job.catch_up(now)
        status = job.status(now)
        state = f"BATCH_STATE_{_STATES[status]}"
        if status == "completed" and any(
            one.executed and one.executed.mark == "missing" for one in job.done
        ):
            state = "BATCH_STATE_PARTIALLY_SUCCEEDED"
        about: dict[str, Any] = {
            "@type": _TYPE,
            "model": job.details["model"],
            "displayName": job.details["wanted"].get("displayName", ""),
            "inputConfig": job.details["wanted"].get("inputConfig", {}),
            "createTime": _stamp(job.created),
            "updateTime": _stamp(now),
            "batchStats": _counts(job),
            "state": state,
            "name": job.id,
        }
        if job.details["inline"]:
            del about["inputConfig"]
        ended: dict[str, Any] = {}
        if job.has_ended(now):
            about["endTime"] = _stamp(_end_of(job, status))
            output = self._output(job, status, listed=listed)
            ended = {"done": True}
            if status == "failed":
                problem = job.problems[0]
                code = _GRPC.get(problem["code"], 3)
                ended["error"] = {"code": code, "message": problem["message"]}
            elif status == "cancelled":
                ended["error"] = {"code": 1, "message": "The operation was cancelled."}
            if output:
                about["output"] = output
                ended.setdefault("response", {"@type": f"{_TYPE}Output", **output})
        if self.store.behaviour.is_bare:
            return about
        return {"name": job.id, "metadata": about, **ended}

    def _output(self, job: Job, status: str, *, listed: bool) -> dict[str, Any]:
        """Return where the results are; those of a batch that was cut off may be lost."""
        cut = status != "completed"
        if status == "failed" or (cut and not (job.behaviour.keeps_parts and job.done)):
            return {}
        if job.details["inline"]:
            return {} if listed else {"inlinedResponses": {"inlinedResponses": inline_rows(job)}}
        if listed and not job.behaviour.lists_results:
            return {}
        name = f"files/batch-{job.id.removeprefix('batches/')}"
        if "written" not in job.details:
            # Written when it is read, so that a large batch costs nothing before.
            self._files.keep(name, job.account, partial(write_rows, job), _end_of(job, status))
            job.details["written"] = True
        return {"responsesFile": name}

    # -- replies ---------------------------------------------------------------------------------

    def _json(self, value: Any, now: float) -> WireReply:
        return whole(200, json.dumps(value).encode(), headers=(("date", http_date(now)),))

    def error(self, status: int, code: str, message: str, now: float) -> WireReply:
        """Answer with an error."""
        if status == 401:  # a key that is none is an argument that is not valid
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo"}
            details = [{**info, "reason": "API_KEY_INVALID"}]
            text = "API key not valid. Please pass a valid API key."
            return self._fail(400, "INVALID_ARGUMENT", text, now, details)
        names = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        names |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
        return self._fail(status, names.get(status, "UNKNOWN"), message, now)

    def _fail(
        self, status: int, code: str, message: str, now: float, details: Any = None
    ) -> WireReply:
        error: dict[str, Any] = {"code": status, "message": message, "status": code}
        if details:
            error["details"] = details
        body = json.dumps({"error": error}).encode()
        return whole(status, body, headers=(("date", http_date(now)),))


def _inline(source: dict[str, Any], path: str) -> list[Request]:
    rows = (source.get("requests") or {}).get("requests") or []
    return [
        Request(
            custom_id=str((row.get("metadata") or {}).get("key", number)),
            path=path,
            body=json.dumps(row["request"]).encode(),
        )
        for number, row in enumerate(rows)
    ]


def _end_of(job: Job, status: str) -> float:
    """Return when a batch ended, in seconds since 1970."""
    match status:
        case "failed":
            return job.starts
        case "expired":
            return job.expires
        case "cancelled":
            return (job.cancelled or job.created) + job.behaviour.cancel
        case _:
            return job.completes


def _counts(job: Job) -> dict[str, str]:
    failed = sum(1 for one in job.done if one.executed and one.executed.status != 200)
    counts = {
        "requestCount": len(job.requests),
        "pendingRequestCount": len(job.not_run),
        "successfulRequestCount": len(job.done) - failed,
        "failedRequestCount": failed,
    }
    return {name: str(count) for name, count in counts.items() if count}


def _stamp(at: float) -> str:
    """Return a time with nanoseconds, as Gemini writes it."""
    return (
        f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}123Z"
    )
