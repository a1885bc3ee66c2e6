"""Requests, answers, problems and replies, as front ends, simulator and wires exchange them."""

import enum
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen

Headers = tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class WireRequest:
    """One HTTP request as it arrived; header names are lower case, `target` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's fields, the last value of each."""
        parsed = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[-1] for name, values in parsed.items()}


class Ending(enum.Enum):
    """The end of a reply once its last chunk is sent."""

    COMPLETE = "complete"
    DISCONNECT = "disconnect"
    STALL = "stall"


@frozen
class Chunk:
    """Bytes of a body, sent `delay` seconds after what came before."""

    delay: float
    data: bytes


@frozen(kw_only=True)
class WireReply:
    """A reply to be played: a head after `head_delay` seconds, the chunks, then the ending.

    With `sends_head` false nothing is sent before the ending; with `connects` false a front
    end that can refuse a connection does so. A body without `content-length` is chunked.
    """

    status: int
    headers: Headers = ()
    head_delay: float = 0.0
    chunks: tuple[Chunk, ...] = ()
    ending: Ending = Ending.COMPLETE
    sends_head: bool = True
    connects: bool = True

    @property
    def duration(self) -> float:
        """Seconds from the request's arrival to the last byte."""
        return self.head_delay + sum(chunk.delay for chunk in self.chunks)


@frozen(kw_only=True)
class Call:
    """A request as every wire understands it.

    `kind` says what is asked for; `prompt` is all its text, `headline` the part a log shows.
    `digest` names the request (model, messages, schema) and is the same for each repetition.
    `tokens_allowed` is the caller's bound on the output, if it gave one.
    """

    kind: Literal["generate", "embed", "control"] = "generate"
    model: str
    prompt: str
    headline: str
    digest: str
    input_tokens: int
    tokens_allowed: int | None = None
    stream: bool = False
    include_usage: bool = True
    schema: Mapping[str, Any] | None = None
    tool: str | None = None
    texts: tuple[str, ...] = ()
    prefix: "Prefix | None" = None
    details: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Prefix:
    """The part of a prompt that a provider may keep: its name, length and life in seconds."""

    digest: str
    tokens: int
    lifetime: float
    explicit: bool


Finish = Literal["stop", "length", "content_filter", "refusal", "unknown"]


@frozen(kw_only=True)
class Answer:
    """An answer of the model, and its tokens. `output_tokens` includes `reasoning_tokens`."""

    text: str = ""
    finish: Finish = "stop"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    vectors: tuple[tuple[float, ...], ...] = ()
    resource: Mapping[str, Any] | None = None


ProblemKind = Literal[
    "invalid_request",
    "context_length",
    "content_filter",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "timeout",
    "conflict",
    "payload_too_large",
    "unprocessable",
    "rate_limit",
    "request_too_large",
    "daily_limit",
    "insufficient_quota",
    "slow_down",
    "server_error",
    "overloaded",
    "gateway_timeout",
]


@frozen(kw_only=True)
class Problem:
    """The reason why there is no answer, in words for every wire's own error body."""

    status: int
    kind: ProblemKind
    message: str
    dimension: str = "requests"
    limit: float | None = None
    used: float | None = None
    requested: float | None = None


class WireProblem(Exception):
    """Raised by a wire that cannot make a call out of a request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@frozen(kw_only=True)
class LimitState:
    """One limit as its headers show it; `reset` is the seconds until it is fully restored."""

    dimension: str
    limit: float
    window: float
    remaining: float
    reset: float


@frozen(kw_only=True)
class Context:
    """Everything beside the call and the answer that shows on the wire.

    `now` is the wall clock in seconds since 1970; `retry_after` is in seconds, or the very text of
    the header; the three last fields are faults that only the wire can put in place.
    """

    request_id: str
    now: float
    profile: str = "openai"
    limits: tuple[LimitState, ...] = ()
    retry_after: float | str | None = None
    latency: float = 0.0
    omit_usage: bool = False
    omit_terminal: bool = False
    stream_problem: Problem | None = None


@frozen(kw_only=True)
class StreamEvent:
    """One server-sent event with `tokens` of the answer; a bare one is sent without framing."""

    data: str
    event: str | None = None
    tokens: int = 0
    bare: bool = False
