"""Gemini's `cachedContents`: the resource, and the calls that make, change and end it."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from batchllm.simulator.wires.durations import timestamp
from batchllm.simulator.wires.exchange import (
    Answer,
    Call,
    Context,
    Headers,
    Problem,
    StreamEvent,
    WireRequest,
)
from batchllm.simulator.wires.gemini_errors import gemini_error
from batchllm.simulator.wires.parsing import (
    count_tokens,
    digest_of,
    dump,
    invalid,
    json_object,
    required_text,
    text_of,
)

_PATH = re.compile(r".*/cachedContents(?:/([^/:]+))?$")
_ACTIONS = {
    ("POST", False): "create",
    ("GET", False): "list",
    ("GET", True): "get",
    ("PATCH", True): "update",
    ("DELETE", True): "delete",
}


class GeminiCachesWire:
    """`…/cachedContents` and `…/cachedContents/{id}`."""

    name = "gemini-caches"

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for this wire."""
        return _action(request) is not None

    def parse(self, request: WireRequest) -> Call:
        """Read the request.

        Raises:
            WireProblem: it is not valid.
        """
        action, name = _action(request) or ("", None)
        details: dict[str, Any] = {"action": action, "name": name, "model": None}
        prompt, tokens = "", 0
        if action == "list":
            details |= _page(request.query)
        body = json_object(request) if action in {"create", "update"} else {}
        details |= _lifetime(body)
        if action == "create":
            details["model"] = required_text(body, "model")
            details["display_name"] = body.get("displayName")
            prompt, tokens = _kept_text(body)
        return Call(
            kind="control",
            model=(details["model"] or "").removeprefix("models/"),
            prompt=prompt,
            headline=f"{action} {name or 'cachedContents'}",
            digest=digest_of(action, name, details, prompt),
            input_tokens=tokens,
            details=details,
        )

    def body(self, call: Call, answer: Answer, context: Context) -> bytes:
        """The resource, the list of resources, or nothing after a deletion."""
        return dump(answer.resource).encode()

    def events(self, call: Call, answer: Answer, context: Context) -> Iterator[StreamEvent]:
        """Nothing here is streamed."""
        yield from ()

    def stream_type(self, call: Call) -> str:
        """Nothing here is streamed."""
        return "application/json"

    def error(self, problem: Problem, context: Context, call: Call | None) -> bytes:
        """The body of an error."""
        model = "unknown" if call is None else call.model
        return dump(gemini_error(problem, context, model)).encode()

    def headers(self, context: Context) -> Headers:
        """Return nothing: Gemini has no headers for limits."""
        return ()


def cache_resource(
    *,
    name: str,
    model: str,
    display_name: str | None,
    created: float,
    updated: float,
    expires: float,
    tokens: int,
) -> dict[str, Any]:
    """A cache as Gemini shows it: never its contents. Times are seconds since 1970."""
    resource: dict[str, Any] = {
        "name": name,
        "model": model,
        "createTime": timestamp(created),
        "updateTime": timestamp(updated),
        "expireTime": timestamp(expires),
        "usageMetadata": {"totalTokenCount": tokens},
    }
    if display_name is not None:
        resource["displayName"] = display_name
    return resource


def _action(request: WireRequest) -> tuple[str, str | None] | None:
    found = _PATH.match(request.path)
    if found is None:
        return None
    action = _ACTIONS.get((request.method, found[1] is not None))
    name = f"cachedContents/{found[1]}" if found[1] else None
    return None if action is None else (action, name)


def _page(query: Mapping[str, str]) -> dict[str, Any]:
    size, token = query.get("pageSize") or "100", query.get("pageToken") or "0"
    if not size.isdigit() or not token.isdigit():
        invalid("Invalid pageSize or pageToken.")
    return {"page_size": int(size), "page_token": int(token)}


def _lifetime(body: Mapping[str, Any]) -> dict[str, Any]:
    ttl, until = body.get("ttl"), body.get("expireTime")
    if ttl is not None and until is not None:
        invalid("Only one of ttl and expireTime can be set.")
    if until is not None:
        try:
            return {"expires": datetime.fromisoformat(until).timestamp()}
        except ValueError:
            invalid(f"Invalid value at 'expireTime': {until}")
    if ttl is not None:
        found = re.fullmatch(r"(\d+(?:\.\d{1,9})?)s", str(ttl))
        if found is None or float(found[1]) <= 0:
            invalid(f"Invalid value at 'ttl': {ttl}")
        return {"ttl": float(found[1])}
    return {}


def _kept_text(body: Mapping[str, Any]) -> tuple[str, int]:
    contents = [body.get("systemInstruction"), *(body.get("contents") or ())]
    texts = [text_of(content.get("parts")) for content in contents if isinstance(content, Mapping)]
    prompt = "\n".join(text for text, _ in texts)
    return prompt, count_tokens(prompt) + sum(extra for _, extra in texts)
