"""A decision as bytes on a schedule: the wire's formats, and the faults that act on bytes."""

import zlib
from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from batchllm.simulator.behaviour import Decision
from batchllm.simulator.faults import CONNECTION_FAULTS, PAGE_FAULTS, STATUS_FAULTS, Fault
from batchllm.simulator.wires import (
    Answer,
    Call,
    Chunk,
    Context,
    Ending,
    Framing,
    Headers,
    Problem,
    Wire,
    WireReply,
    comment,
    frame,
    http_date,
)

_JSON = "application/json"
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\r\n"
_ELSEWHERE = "https://elsewhere.example.org/v1"
_SPLIT = 5
_NOISE_COUNT = 3
_CLOCK_ERROR = 600.0


@frozen
class Exhibit:
    """One request with everything that shapes its reply."""

    wire: Wire
    call: Call
    decision: Decision
    context: Context

    def fault(self, name: str) -> Fault | None:
        """The fault of that name, if this request has it."""
        return next((fault for fault in self.decision.faults if fault.name == name), None)


def render(exhibit: Exhibit) -> WireReply:
    """The reply to a request that could be read."""
    decision = exhibit.decision
    if decision.problem is not None:
        return _problem(exhibit, decision.problem, decision.problem.status)
    assert decision.answer is not None
    if not decision.faults:
        return _answered(exhibit, decision.answer)
    for fault in decision.faults:
        if fault.name in PAGE_FAULTS:
            return _page(exhibit, fault)
    if exhibit.fault("error-200"):
        return _problem(exhibit, STATUS_FAULTS["500"], 200)
    if exhibit.fault("stream-error") and not exhibit.call.stream:
        return _problem(exhibit, STATUS_FAULTS["503"], 200)
    reply = _answered(_with_wire_faults(exhibit), decision.answer)
    for fault in decision.faults:
        if fault.name in CONNECTION_FAULTS:
            reply = _broken(reply, fault)
    return reply


def invalid_reply(wire: Wire, problem: Problem, context: Context) -> WireReply:
    """The reply to a request that could not be read."""
    headers = (*wire.headers(context), ("date", http_date(context.now)))
    return whole(problem.status, wire.error(problem, context, None), headers=headers)


def whole(
    status: int, body: bytes, *, kind: str = _JSON, headers: Headers = (), delay: float = 0.0
) -> WireReply:
    """A reply in one piece, with its length in the head."""
    own = (("content-type", kind), ("content-length", str(len(body))))
    return WireReply(
        status=status, headers=headers + own, head_delay=delay, chunks=(Chunk(0.0, body),)
    )


def _with_wire_faults(exhibit: Exhibit) -> Exhibit:
    names = {fault.name for fault in exhibit.decision.faults}
    context = evolve(
        exhibit.context,
        omit_usage="no-usage" in names,
        omit_terminal="no-terminal" in names,
        stream_problem=STATUS_FAULTS["503"] if "stream-error" in names else None,
    )
    return evolve(exhibit, context=context)


def _headers(exhibit: Exhibit) -> Headers:
    now = exhibit.context.now
    if skewed := exhibit.fault("wrong-date"):
        now += skewed.number(_CLOCK_ERROR)
    return (*exhibit.wire.headers(exhibit.context), ("date", http_date(now)))


def _problem(exhibit: Exhibit, problem: Problem, status: int) -> WireReply:
    body = exhibit.wire.error(problem, exhibit.context, exhibit.call)
    return whole(status, body, headers=_headers(exhibit), delay=exhibit.decision.latency)


def _page(exhibit: Exhibit, fault: Fault) -> WireReply:
    delay, headers = exhibit.decision.latency, _headers(exhibit)
    match fault.name:
        case "redirect":
            headers = (*headers, ("location", fault.argument or _ELSEWHERE))
            return whole(307, b"", headers=headers, delay=delay)
        case "empty-body":
            return whole(200, b"", headers=headers, delay=delay)
        case _:
            status = 200 if fault.name == "200-html" else 502
            return whole(status, _PAGE, kind="text/html", headers=headers, delay=delay)


def _answered(exhibit: Exhibit, answer: Answer) -> WireReply:
    if exhibit.call.stream and exhibit.call.kind == "generate":
        reply = _streamed(exhibit, answer)
    else:
        decision = exhibit.decision
        body = exhibit.wire.body(exhibit.call, answer, exhibit.context)
        if exhibit.fault("malformed-body"):
            body = body[: len(body) * 2 // 3]
        delay = decision.latency + answer.output_tokens * decision.seconds_per_token
        reply = whole(200, body, headers=_headers(exhibit), delay=delay)
    return _noisy(exhibit, reply) if exhibit.decision.faults else reply


def _streamed(exhibit: Exhibit, answer: Answer) -> WireReply:
    chunks = tuple(_coalesced(_framed(exhibit, answer)))
    kind = exhibit.wire.stream_type(exhibit.call)
    return WireReply(
        status=200,
        headers=(*_headers(exhibit), ("content-type", kind)),
        head_delay=exhibit.decision.latency,
        chunks=chunks,
    )


def _framed(exhibit: Exhibit, answer: Answer) -> Iterator[Chunk]:
    framing = Framing(
        newline="\r\n" if exhibit.fault("crlf") else "\n",
        multi_line=exhibit.fault("multi-line") is not None,
    )
    pace = exhibit.decision.seconds_per_token
    if exhibit.fault("byte-order-mark"):
        yield Chunk(0.0, b"\xef\xbb\xbf")
    malformed = exhibit.fault("malformed-body") is not None
    for event in exhibit.wire.events(exhibit.call, answer, exhibit.context):
        if malformed and event.tokens:
            event = evolve(event, data=event.data[: len(event.data) // 2])
            malformed = False
        yield Chunk(event.tokens * pace, frame(event, framing))


def _coalesced(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None and chunk.delay == 0:
            held = Chunk(held.delay, held.data + chunk.data)
        else:
            if held is not None:
                yield held
            held = chunk
    if held is not None:
        yield held


def _noisy(exhibit: Exhibit, reply: WireReply) -> WireReply:
    if exhibit.fault("keep-alive"):
        reply = _kept_alive(exhibit, reply)
    if exhibit.fault("gzip"):
        headers = (*_unmeasured(reply.headers), ("content-encoding", "gzip"))
        reply = evolve(reply, headers=headers, chunks=tuple(_compressed(reply.chunks)))
    if exhibit.fault("split"):
        reply = evolve(reply, chunks=tuple(_split(reply.chunks)))
    return reply


def _kept_alive(exhibit: Exhibit, reply: WireReply) -> WireReply:
    """Send the head at once and fill the wait with what a client has to skip."""
    noise = b"\n"
    if exhibit.call.stream:
        openrouter = exhibit.context.profile == "openrouter"
        noise = comment("OPENROUTER PROCESSING" if openrouter else "keep-alive", Framing())
    pause = reply.head_delay / (_NOISE_COUNT + 1)
    first, *rest = reply.chunks or (Chunk(0.0, b""),)
    waits = [Chunk(pause, noise)] * _NOISE_COUNT
    chunks = (*waits, Chunk(first.delay + pause, first.data), *rest)
    return evolve(reply, head_delay=0.0, headers=_unmeasured(reply.headers), chunks=chunks)


def _unmeasured(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if name != "content-length")


def _compressed(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    packer = zlib.compressobj(wbits=31)
    for chunk in chunks:
        yield Chunk(chunk.delay, packer.compress(chunk.data) + packer.flush(zlib.Z_SYNC_FLUSH))
    yield Chunk(0.0, packer.flush())


def _split(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        delay = chunk.delay
        for start in range(0, len(chunk.data), _SPLIT):
            yield Chunk(delay, chunk.data[start : start + _SPLIT])
            delay = 0.0


def _broken(reply: WireReply, fault: Fault) -> WireReply:
    stalls = fault.name.startswith("stall")
    ending = Ending.STALL if stalls else Ending.DISCONNECT
    match fault.name:
        case "connect":
            return evolve(reply, connects=False, sends_head=False, chunks=(), ending=ending)
        case "disconnect" | "stall-head":
            return evolve(reply, sends_head=False, chunks=(), ending=ending)
        case "stall":
            return evolve(reply, chunks=(), ending=ending)
        case _:
            half = sum(len(chunk.data) for chunk in reply.chunks) // 2
            kept = tuple(_first_bytes(reply.chunks, int(fault.number(half))))
            return evolve(reply, chunks=kept, ending=ending)


def _first_bytes(chunks: Iterable[Chunk], count: int) -> Iterator[Chunk]:
    for chunk in chunks:
        if count <= 0:
            return
        yield Chunk(chunk.delay, chunk.data[:count])
        count -= len(chunk.data)
