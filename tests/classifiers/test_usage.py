"""Tokens that failed attempts were billed for."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.classifiers import failed_usage, is_unconnected, may_be_billed
from batchllm.core import (
    EmptyResponseError,
    InvalidItemError,
    ProviderError,
    TokenTrackingError,
    TransportError,
)

USAGE: Any = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def billed(**attributes: Any) -> Exception:
    error = Exception("failed")
    error.__dict__.update(attributes)
    return error


@pytest.mark.parametrize("name", ["_failed_token_usage", "token_usage", "usage"])
def test_is_found_under_each_name(name: str) -> None:
    """The names that strategies and SDKs give it."""
    assert failed_usage(billed(**{name: USAGE})) == USAGE


def test_reads_a_providers_own_counts() -> None:
    """Prompt and completion tokens are input and output."""
    counts = {"prompt_tokens": 3, "completion_tokens": 4}

    assert failed_usage(billed(usage=counts)) == USAGE


def test_reads_our_own_exceptions() -> None:
    """A wrapper for tokens, and the attribute that every CallError has."""
    blocked = EmptyResponseError("blocked")
    blocked.usage = USAGE

    assert failed_usage(TokenTrackingError("no", token_usage=USAGE)) == USAGE
    assert failed_usage(blocked) == USAGE
    assert failed_usage(EmptyResponseError("blocked")) is None


def test_is_looked_for_behind_the_exception() -> None:
    """A cause may know, and so may what was being handled; a hidden one is left alone."""
    caused, handled, hidden = Exception("a"), Exception("b"), Exception("c")
    caused.__cause__ = billed(usage=USAGE)
    handled.__context__ = billed(usage=USAGE)
    hidden.__context__ = billed(usage=USAGE)
    hidden.__suppress_context__ = True

    assert failed_usage(caused) == USAGE
    assert failed_usage(handled) == USAGE
    assert failed_usage(hidden) is None


def test_the_outer_one_is_not_counted_twice() -> None:
    """A wrapper repeats what its cause says."""
    outer = billed(token_usage=USAGE)
    outer.__cause__ = billed(usage=USAGE)

    assert failed_usage(outer) == USAGE


def test_the_members_of_a_group_add_up() -> None:
    """Each was a call of its own."""
    group = ExceptionGroup("g", [billed(usage=USAGE), ValueError("no"), billed(usage=USAGE)])
    silent = ExceptionGroup("g", [ValueError("no")])
    silent.__cause__ = billed(usage=USAGE)

    assert failed_usage(group) == {"input_tokens": 6, "output_tokens": 8, "total_tokens": 14}
    assert failed_usage(silent) == USAGE


def test_circles_end() -> None:
    """Each exception is looked at once."""
    one, two = Exception("one"), Exception("two")
    one.__cause__, two.__cause__ = two, one

    assert failed_usage(one) is None


class Hostile(Exception):
    """Its attributes raise."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class Rude:
    """A usage whose counts raise."""

    @property
    def input_tokens(self) -> int:
        raise ZeroDivisionError


def test_strangers_do_no_harm() -> None:
    """An attribute that raises when it is read is unknown, and so is a method."""
    assert failed_usage(Hostile()) is None
    assert failed_usage(billed(usage=Rude())) is None
    assert failed_usage(billed(usage=lambda: USAGE)) is None


@given(
    st.none()
    | st.text()
    | st.floats()
    | st.lists(st.integers())
    | st.dictionaries(
        st.sampled_from(["input_tokens", "total_tokens", "prompt_tokens"]),
        st.none() | st.integers() | st.floats() | st.text(),
    )
)
def test_anything_may_be_called_usage(usage: Any) -> None:
    """Counts that come back are whole numbers from 0 up."""
    found = failed_usage(billed(usage=usage))

    assert found is None or all(isinstance(n, int) and n >= 0 for n in found.values())


def caused_by(cause: Exception) -> Exception:
    """An SDK's error as it wraps that of its HTTP library."""
    error = RuntimeError("Connection error.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (ProviderError("busy", status=429), False),
        (ProviderError("broken", status=500), False),
        (ProviderError("an answer that cannot be read", status=200), True),
        (TransportError("no connection", sent=False), False),
        (TransportError("lost"), True),
        (ConnectionRefusedError(), False),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ValueError("nonsense"), True),
        (InvalidItemError("never sent"), False),
        (caused_by(httpx.ConnectError("refused")), False),
        (caused_by(httpx.ConnectTimeout("slow")), False),
        (caused_by(httpx.ReadTimeout("slow")), True),
        (caused_by(TransportError("no connection", sent=False)), False),
    ],
)
def test_what_was_refused_or_never_sent_is_not_billed(error: Exception, billed: bool) -> None:
    """Of all else, one has to fear that it was."""
    assert may_be_billed(error) is billed


def test_a_ring_of_causes_has_an_end() -> None:
    """Errors may name each other as their cause."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert may_be_billed(first)


@pytest.mark.parametrize(
    ("error", "unconnected"),
    [
        (TransportError("refused", sent=False, connected=False), True),
        (TransportError("a header cannot be sent", sent=False), False),
        (TransportError("broke"), False),
        (ConnectionRefusedError(), False),
        (ConnectionResetError(), False),
        (httpx.ConnectError("refused"), False),
        (httpx.ReadError("broke"), False),
        (ValueError("mine"), False),
    ],
)
def test_a_call_without_a_connection_is_known_from_one_that_broke(
    error: Exception, unconnected: bool
) -> None:
    """Only our own transport is believed: a user may connect to another host for each item."""
    assert is_unconnected(error) is unconnected
    wrapped = RuntimeError("of an SDK")
    wrapped.__cause__ = error
    assert is_unconnected(wrapped) is unconnected
