"""Reading requests: what all wires share."""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NoReturn

from batchllm.simulator.wires.exchange import Prefix, Problem, WireProblem, WireRequest

SHORTEST_PREFIX = 1024
"""Tokens below which no provider keeps the beginning of a prompt."""
_PREFIX_STEP = 128
_PREFIX_LIFETIME = 300.0
_BYTES_PER_TOKEN = 4
_TOKENS_PER_ATTACHMENT = 256
_STREAM_PIECES = 48


def count_tokens(text: str) -> int:
    """Tokens of a text: one for each four bytes, rounded up."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def digest_of(*parts: object) -> str:
    """A name for a request: equal parts give equal names."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return blake2b(canonical.encode(), digest_size=12).hexdigest()


def automatic_prefix(text: str) -> Prefix | None:
    """The prefix that is kept without being asked for: of 1,024 tokens or more, in steps of 128."""
    tokens = count_tokens(text)
    if tokens < SHORTEST_PREFIX:
        return None
    return Prefix(
        digest=digest_of(text),
        tokens=tokens - tokens % _PREFIX_STEP,
        lifetime=_PREFIX_LIFETIME,
        explicit=False,
    )


def dump(value: object) -> str:
    """JSON as providers send it: compact, and with its characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_object(request: WireRequest) -> dict[str, Any]:
    """The request's body, which has to be a JSON object.

    Raises:
        WireProblem: it is not one.
    """
    try:
        body = json.loads(request.body)
    except ValueError:
        invalid("We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        invalid("The body of your request has to be a JSON object.")
    return body


def required_text(body: Mapping[str, Any], name: str) -> str:
    """A text field that has to be there.

    Raises:
        WireProblem: it is missing, empty or no text.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        invalid(f"Missing required parameter: '{name}'.")
    return value


def required_list(body: Mapping[str, Any], name: str) -> list[Any]:
    """A list that has to be there and to hold something.

    Raises:
        WireProblem: it is missing, empty or no list.
    """
    value = body.get(name)
    if not isinstance(value, list) or not value:
        invalid(f"Invalid '{name}': expected a list with at least one element.")
    return value


def text_of(content: Any) -> tuple[str, int]:
    """The text of a message's content, and the tokens of what in it is no text."""
    if isinstance(content, str):
        return content, 0
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Iterable):
        return "", 0
    texts, extra = [], 0
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, Mapping):
            extra += _TOKENS_PER_ATTACHMENT
    return "\n".join(texts), extra


def pieces_of(text: str) -> list[str]:
    """A text cut for streaming: word by word, or in larger pieces when it is long."""
    words = text.split(" ")
    step = -(-len(words) // _STREAM_PIECES)
    grouped = [" ".join(words[start : start + step]) for start in range(0, len(words), step)]
    return [piece + " " for piece in grouped[:-1]] + grouped[-1:] if text else []


def invalid(message: str) -> NoReturn:
    """Refuse a request as not valid."""
    raise WireProblem(Problem(status=400, kind="invalid_request", message=message))
