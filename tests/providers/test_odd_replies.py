"""Valid replies, as servers, gateways and lines change them: an answer, or an error of ours.

``pytest --hypothesis-profile=search`` draws 2,000 replies of each wire for each test.
"""

import copy
from functools import cache
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import CallError, LLMResponse, ProviderError
from tests.providers.lines import Line, Server, broken_lines, examples, lines
from tests.providers.mutations import (
    CHARSETS,
    DEEP,
    Change,
    Path,
    carries_text,
    changes_of,
    dump,
    ends,
    layouts,
)
from tests.providers.valid_replies import HIDDEN, REPLIES, TEXT, Reply
from tests.providers.wire_kit import MODELS

pytestmark = pytest.mark.anyio

# A change of these says something else than before, so that it is no oddity.
MEANINGS = frozenset({"type", "index", "status", "finish_reason", "stop_reason", "finishReason"})
NEVER = frozenset({"error", "text", "content", "thought"})


def harmless(path: Path, here: Any, to: Any) -> bool:
    """Return whether a change leaves what a reply says as it is."""
    name = path[-1]
    if carries_text(here) or ends(here) or to in DEEP or name in NEVER:
        return False
    if name in MEANINGS:
        return name in ("type", "index", "status") and not isinstance(to, str | int)
    # A text in a list of parts is one of the answer, and so is a part with a text.
    return not (isinstance(name, int) and isinstance(to, str)) and not _has_text(to)


def _has_text(value: Any) -> bool:
    return isinstance(value, dict) and "text" in value


def anything(path: Path, here: Any, to: Any) -> bool:
    return True


@cache
def every_change(position: int, as_events: bool, allowed: Any) -> list[Change]:
    reply = REPLIES[position]
    return changes_of(reply.events if as_events else reply.whole, allowed)


@frozen
class Oddity:
    """A valid reply with changes, written down."""

    reply: Reply
    changes: list[Change]
    body: bytes
    is_streamed: bool


@st.composite
def oddities(draw: Any, allowed: Any) -> Oddity:
    position, as_events = draw(st.integers(0, len(REPLIES) - 1)), draw(st.booleans())
    reply = REPLIES[position]
    value: Any = copy.deepcopy(reply.events if as_events else reply.whole)
    drawn: list[Change] = []
    if allowed is not None:
        every = every_change(position, as_events, allowed)
        drawn = draw(st.lists(st.sampled_from(every), min_size=1, max_size=3))
    for change in drawn:
        change.apply(value)
    if as_events:
        body = draw(layouts(reply)).write(value)
    else:
        charset = draw(st.sampled_from(CHARSETS))
        blanks = draw(st.sampled_from(["", "\n", "\r\n  \n"])) if charset == "utf-8" else ""
        body = (blanks + dump(value) + blanks).encode(charset)
    return Oddity(reply, drawn, body, draw(st.booleans()))


async def ask(oddity: Oddity, server: Server) -> LLMResponse | CallError:
    """Give the answer, or the error if it is one of ours; any other fails the test."""
    asked = MODELS[oddity.reply.wire](server, stream=oddity.is_streamed)
    try:
        answer = await asked.generate("x")
    except CallError as error:
        return error
    assert isinstance(answer, LLMResponse)
    assert isinstance(answer.text, str)
    return answer


@given(oddity=oddities(None), line=lines)
@examples
async def test_a_valid_reply_is_read_under_any_header(oddity: Oddity, line: Line) -> None:
    """However it is labelled, packed, laid out and cut into pieces."""
    answer = await ask(oddity, line.carry(oddity.body))
    assert isinstance(answer, LLMResponse), answer
    assert answer.text == TEXT


@given(oddity=oddities(harmless), line=lines)
@examples
async def test_oddities_beside_a_whole_text_do_no_harm(oddity: Oddity, line: Line) -> None:
    """Fields that lack, that are new, or that are of another type."""
    answer = await ask(oddity, line.carry(oddity.body))
    assert isinstance(answer, LLMResponse), answer
    assert answer.text == TEXT


@given(oddity=oddities(anything), line=lines)
@examples
async def test_no_oddity_raises_anything_but_our_errors(oddity: Oddity, line: Line) -> None:
    """And nothing becomes an answer that was a thought, an argument or a quotation."""
    answer = await ask(oddity, line.carry(oddity.body))
    if isinstance(answer, LLMResponse):
        touched = {change.path[-1] for change in oddity.changes}
        if touched.isdisjoint(MEANINGS | NEVER):
            assert not any(word in answer.text for word in HIDDEN)


@given(oddity=oddities(harmless), line=broken_lines)
@examples
async def test_what_is_cut_off_is_no_answer(oddity: Oddity, line: Line) -> None:
    """Wherever a body of unknown length ends, its text is whole, or none is given."""
    answer = await ask(oddity, line.carry(oddity.body))
    if isinstance(answer, LLMResponse):
        assert answer.text == TEXT


@given(
    oddity=oddities(anything),
    line=lines | broken_lines,
    status=st.sampled_from(
        [300, 400, 401, 403, 404, 408, 409, 413, 422, 429, 498, 500, 502, 503, 504, 529]
    ),
)
@examples
async def test_a_status_outranks_any_body(oddity: Oddity, line: Line, status: int) -> None:
    """Also one that looks like an answer, or that cannot be unpacked or read."""
    answer = await ask(oddity, line.carry(oddity.body, status))
    assert isinstance(answer, ProviderError), answer
    assert answer.status == status
