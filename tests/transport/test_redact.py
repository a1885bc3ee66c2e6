"""Keys are taken out of texts, whatever is round them."""

import base64
import copy
import json
import pickle
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchllm.transport import Redactor, Secret, redact

TEXT = st.text(max_size=40)
KEYS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cs"]),
    min_size=8,
    max_size=30,
).filter(lambda key: key == key.strip() and key.strip("*"))


@given(TEXT, KEYS, TEXT)
def test_no_text_keeps_a_known_secret(before: str, key: str, after: str) -> None:
    """A known key is gone, as it is, URL-encoded and in base64, and twice is as once."""
    clean = Redactor([Secret(key)])
    in_base64 = base64.b64encode(key.encode()).decode().rstrip("=")
    for spelling in (key, quote(key, safe=""), in_base64):
        out = clean(before + spelling + after)
        assert spelling not in out
        assert clean(out) == out


@given(st.text(max_size=200))
def test_any_text_is_accepted_and_settles(text: str) -> None:
    """Nothing is raised for any text, and a second pass changes nothing."""
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcDEF123_456-xyz",
        "sk-ant-api03-AAAAbbbbCCCC",
        "sk-or-v1-0123456789abcdef",
        "gsk_0123456789abcdefABCDEF",
        "AIzaSyA0123456789abcdefghijklmnopqrstuv",
        "AKIAIOSFODNN7EXAMPLE",
        "ya29.a0AfH6SMBx-1234567",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_keys_are_known_by_their_shape(key: str) -> None:
    """A key that was never told is masked, and the words round it stay."""
    assert redact(f"Incorrect API key provided: {key}.") == "Incorrect API key provided: ***."


def test_what_follows_bearer_is_masked() -> None:
    """A bearer token of no known shape is masked in a header dump."""
    assert (
        redact("{'authorization': 'Bearer abcdef0123456789'}") == "{'authorization': 'Bearer ***'}"
    )


def test_plain_words_stay() -> None:
    """Texts without keys come back as they are, placeholders for keys included."""
    text = "the risk-free task of ollama: skip 12 of 40"
    assert Redactor([Secret("ollama"), Secret("********")])(text) == text


def test_a_mask_does_not_make_a_secret() -> None:
    """Text left round a mask that spells a secret again is masked, too."""
    inner, outer = "innersecret", "ab***cd99"
    out = Redactor([Secret(inner), Secret(outer)])("ab" + inner + "cd99")
    assert out == "***"


@given(st.text(max_size=30))
def test_a_secret_shows_nowhere(key: str) -> None:
    """Neither repr nor str nor format shows a key; reveal gives it."""
    assume(key.strip())
    secret = Secret(key)
    assert repr(secret) == "Secret('***')"
    assert str(secret) == f"{secret}" == "***"
    assert f"{secret:>5}" == "  ***"
    assert secret.reveal() == key.strip()


def test_a_secret_is_not_written_out() -> None:
    """Pickle, copy and JSON refuse a key instead of storing it."""
    secret = Secret("sk-12345678")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_fingerprints_tell_accounts_apart() -> None:
    """Equal keys have equal fingerprints of eight digits, others have others."""
    one, same, other = Secret("key-one-1"), Secret(Secret("key-one-1")), Secret("key-two-2")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "key-one-1"
    assert one.fingerprint() != other.fingerprint()
    assert len(one.fingerprint()) == 8
