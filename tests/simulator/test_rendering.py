"""Faults that act on bytes: odd framings that carry the same answer, and broken replies."""

import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from batchllm.simulator.wires import Ending

Desks = Callable[..., Any]
ANSWER = "[[answer:one two — “drei” vier fünf]]"


def streamed(desk: Desks, *faults: str, **scenario: Any) -> Any:
    marks = "".join(f"[[fault:{fault}]]" for fault in faults)
    return desk(**scenario).chat(
        ANSWER + marks, stream=True, stream_options={"include_usage": True}
    )


def text_of(events: list[tuple[str | None, Any]]) -> str:
    chunks = [data for _, data in events if data != "[DONE]"]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def test_a_stream_carries_the_answer_and_its_usage(desk: Desks) -> None:
    """The pieces make the text; usage comes in a last chunk without choices; then `[DONE]`."""
    got = streamed(desk)
    *_, finish, usage, done = [data for _, data in got.events]
    assert got.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in got.headers
    assert text_of(got.events) == "one two — “drei” vier fünf"
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 9)
    assert done == "[DONE]"


@pytest.mark.parametrize(
    ("fault", "undo"),
    [
        ("split", lambda raw: raw),
        ("crlf", lambda raw: raw.replace(b"\r\n", b"\n")),
        ("byte-order-mark", lambda raw: raw.removeprefix(b"\xef\xbb\xbf")),
        ("gzip", lambda raw: zlib.decompress(raw, wbits=31)),
        ("multi-line", lambda raw: re.sub(rb"(?<!\n)\ndata: ", b"", raw)),
        ("keep-alive", lambda raw: raw.replace(b": keep-alive\n\n", b"")),
    ],
)
def test_odd_framing_carries_the_same(
    desk: Desks, fault: str, undo: Callable[[bytes], bytes]
) -> None:
    """Each noise changes the bytes, and undoing it gives the stream as it was."""
    plain, noisy = streamed(desk), streamed(desk, fault)
    restored = undo(noisy.raw).decode()
    datas = [block.partition("data: ")[2] for block in restored.split("\n\n") if block]
    assert noisy.reply.chunks != plain.reply.chunks
    pieces = [data if data == "[DONE]" else json.loads(data) for data in datas]
    assert text_of([(None, piece) for piece in pieces]) == "one two — “drei” vier fünf"


def test_a_split_stream_falls_apart_within_characters(desk: Desks) -> None:
    """No piece has more than five bytes, and some are no UTF-8 by themselves."""
    pieces = [chunk.data for chunk in streamed(desk, "split").reply.chunks]
    assert max(len(piece) for piece in pieces) == 5
    assert any("\ufffd" in piece.decode(errors="replace") for piece in pieces)


def test_openrouter_has_noise_of_its_own(desk: Desks) -> None:
    """Its comment is the one that its clients know."""
    asked = desk("default?profile=openrouter")
    got = asked.chat("[[fault:keep-alive]]", stream=True)
    assert got.text.startswith(": OPENROUTER PROCESSING\n\n" * 3)


def test_blank_lines_come_before_a_whole_answer(desk: Desks) -> None:
    """The head comes at once, blank lines fill the wait, and the length is not told."""
    got = desk("default?latency=4").chat("[[fault:keep-alive]]")
    assert got.reply.head_delay == 0
    assert got.reply.duration == 4
    assert got.text.startswith("\n\n\n{")
    assert "content-length" not in got.headers
    assert got.json["object"] == "chat.completion"


def test_a_stream_takes_its_time(desk: Desks) -> None:
    """The first byte comes after the latency, each token takes its share after it."""
    got = desk("default?latency=2&per_token=0.5").chat("[[answer:a b c d]]", stream=True)
    assert got.reply.head_delay == 2
    assert got.reply.duration == 2 + 4 * 0.5
    whole = desk("default?latency=2&per_token=0.5").chat("[[answer:a b c d]]")
    assert whole.reply.duration == 2 + 2 * 0.5


@pytest.mark.parametrize("stream", [True, False])
def test_usage_can_be_missing(desk: Desks, stream: bool) -> None:
    """The answer is there and its usage is not."""
    got = desk().chat("[[fault:no-usage]]", stream=stream, stream_options={"include_usage": True})
    assert '"total_tokens"' not in got.text
    assert "stop" in got.text


def test_a_stream_can_end_without_its_end(desk: Desks) -> None:
    """Neither a reason to finish nor `[DONE]` comes."""
    got = streamed(desk, "no-terminal")
    assert text_of(got.events) == "one two — “drei” vier fünf"
    assert "[DONE]" not in got.text
    assert '"finish_reason": "stop"' not in got.text


def test_a_stream_can_break_off_with_an_error(desk: Desks) -> None:
    """Half of the answer comes, then an error object, at status 200."""
    got = streamed(desk, "stream-error")
    assert got.status == 200
    assert got.events[-1][1]["error"]["code"] == "server_is_overloaded"
    assert "[DONE]" not in got.text


@pytest.mark.parametrize("fault", ["error-200", "stream-error"])
def test_an_error_can_come_with_status_200(desk: Desks, fault: str) -> None:
    """The body is an error although the status is not."""
    got = desk().chat(f"[[fault:{fault}]]")
    assert got.status == 200
    assert "error" in got.json


@pytest.mark.parametrize("stream", [True, False])
def test_a_body_can_be_malformed(desk: Desks, stream: bool) -> None:
    """The JSON of the reply cannot be read."""
    got = desk().chat("[[fault:malformed-body]]", stream=stream)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        assert got.events if stream else got.json


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("502-html", 502, "text/html"),
        ("200-html", 200, "text/html"),
        ("empty-body", 200, "application/json"),
        ("redirect", 307, "application/json"),
    ],
)
def test_a_page_can_come_in_place_of_an_answer(
    desk: Desks, fault: str, status: int, kind: str
) -> None:
    """A page comes as a proxy would send it."""
    got = desk().chat(f"[[fault:{fault}]]")
    assert (got.status, got.headers["content-type"]) == (status, kind)
    assert got.headers["content-length"] == str(len(got.raw))


def test_a_redirect_names_its_target(desk: Desks) -> None:
    """The argument is where to go."""
    got = desk().chat("[[fault:redirect=http://127.0.0.1:9/x]]")
    assert got.headers["location"] == "http://127.0.0.1:9/x"


def test_the_date_can_be_wrong(desk: Desks) -> None:
    """Ten minutes off unless told otherwise."""
    assert desk().chat("[[fault:wrong-date]]").headers["date"].endswith("00:10:00 GMT")
    assert desk().chat("[[fault:wrong-date=60]]").headers["date"].endswith("00:01:00 GMT")


@pytest.mark.parametrize(
    ("fault", "ending", "sends_head", "size"),
    [
        ("connect", Ending.DISCONNECT, False, 0),
        ("disconnect", Ending.DISCONNECT, False, 0),
        ("disconnect-body=7", Ending.DISCONNECT, True, 7),
        ("disconnect-body=0", Ending.DISCONNECT, True, 0),
        ("stall", Ending.STALL, True, 0),
        ("stall-head", Ending.STALL, False, 0),
        ("stall-body=7", Ending.STALL, True, 7),
    ],
)
def test_a_connection_can_fail(
    desk: Desks, fault: str, ending: Ending, sends_head: bool, size: int
) -> None:
    """It ends as asked after as many bytes as asked."""
    got = desk().chat(f"[[fault:{fault}]]")
    assert (got.reply.ending, got.reply.sends_head, len(got.raw)) == (ending, sends_head, size)
    assert got.reply.connects is (fault != "connect")


def test_half_of_a_body_comes_unless_told(desk: Desks) -> None:
    """Without an argument a connection breaks in the middle."""
    got = desk().chat("[[fault:disconnect-body]]")
    assert len(got.raw) == int(got.headers["content-length"]) // 2


@pytest.mark.parametrize(
    ("fault", "finish"),
    [
        ("empty", "stop"),
        ("content-filter", "content_filter"),
        ("length", "length"),
        ("refusal", "stop"),
        ("unknown-finish", "stopped_for_a_new_reason"),
    ],
)
def test_an_answer_can_be_cut_short(desk: Desks, fault: str, finish: str) -> None:
    """The reason to finish fits what was done to the answer."""
    choice = desk().chat(ANSWER + f"[[fault:{fault}]]").json["choices"][0]
    said, refused = choice["message"]["content"], choice["message"]["refusal"]
    assert choice["finish_reason"] == finish
    assert (refused is not None) == (fault == "refusal")
    assert bool(said) == (fault in {"length", "unknown-finish"})


def test_an_answer_in_words_can_be_spoilt_when_it_is_json(desk: Desks) -> None:
    """Without a schema a JSON answer is spoilt too, and other words are left alone."""
    asked = desk()
    spoilt = asked.chat('[[fault:fenced]][[answer:{"a": 1}]]').text
    assert "```json" in spoilt
    assert "```" not in asked.chat("[[fault:fenced]][[answer:plain words]]").text
