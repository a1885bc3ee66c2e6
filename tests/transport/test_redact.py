"""Keys are taken out of texts, whatever is round them."""

import base64
import copy
import html
import json
import pickle
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchllm.core import MalformedResponseError
from batchllm.providers.wire import not_readable
from batchllm.transport import Cleaner, HttpClient, Redactor, Secret, WithoutKeys, beginning, redact

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


ENCODINGS = {
    "percent-encoded, in small letters": lambda key: re.sub(
        "%..", lambda found: found.group().lower(), quote(key, safe="")
    ),
    "percent-encoded, slashes kept": quote,
    "percent-encoded twice": lambda key: quote(quote(key, safe=""), safe=""),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON in JSON": lambda key: json.dumps(json.dumps(key))[3:-3],
    "JSON without a slash, in small letters": lambda key: key.replace("/", r"\u002f"),
    "HTML": html.escape,
    "HTML by numbers": lambda key: re.sub(r"[^\w.-]", lambda one: f"&#{ord(one[0])};", key),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@given(before=TEXT, key=KEYS, after=TEXT)
def test_no_encoding_hides_a_known_secret(
    encode: Callable[[str], str], before: str, key: str, after: str
) -> None:
    """A server may repeat a key in the encoding of its page, its log or its address."""
    clean, spelling = Cleaner([Secret(key)]), encode(key)
    assert spelling not in clean(before + spelling + after)
    body = clean.body((before + spelling + after).encode("utf-8", "surrogatepass"))
    assert spelling.encode() not in body


@given(st.binary(max_size=5), KEYS, st.binary(max_size=5))
def test_base64_of_more_than_the_key_does_not_hide_it(
    before: bytes, key: str, after: bytes
) -> None:
    """As in a header with a scheme or a user before it, or a whole request that is repeated.

    What is left are bits at the edges, which others share.
    """
    text = base64.b64encode(before + key.encode() + after).decode()
    left = Redactor([Secret(key)])(f"refused: {text}.").removeprefix("refused: ")
    assert len(left) - len("***.") <= 4 * (len(before + after) // 3 + 2)


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
        "AQ.Ab8RN6I0123456789abcdefghij_-klmnop",
        "xai-0123456789abcdefABCDEF",
        "pplx-0123456789abcdefABCDEF",
        "csk-0123456789abcdefABCDEF",
        "nvapi-0123456789abc_def-ABCDEF",
        "hf_0123456789abcdefABCDEF",
        "r8_0123456789abcdefABCDEF",
        "fw_0123456789abcdefABCDEF",
        "ghp_0123456789abcdefABCDEF",
        "github_pat_0123456789_abcdefABCDEF",
        "tgp_v1_0123456789-abcdefABCDEF",
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


ODD_KEY = "0f9e8d7c6b5a49382716abcdefabcdef1234"
"""Of no provider's shape, so that half of it is not known for one."""


@pytest.mark.parametrize("before", range(40, 90, 7))
@pytest.mark.parametrize("of", [str, str.encode])
def test_the_beginning_of_a_body_shows_no_half_of_a_key(
    before: int, of: Callable[[str], str | bytes]
) -> None:
    """Wherever the text is cut for a message."""
    body = "x" * before + " " + ODD_KEY + " and more"
    shown = beginning(of(body), Redactor([Secret(ODD_KEY)]))
    assert shown.startswith("x" * 40)
    assert len(shown) <= 80
    assert ODD_KEY[:4] not in shown


def test_a_body_that_is_no_json_shows_no_half_of_the_clients_key() -> None:
    """Neither in our own client's error nor in that of an SDK."""
    body = ("x" * 55 + " " + ODD_KEY).encode()
    client = HttpClient(base_url="http://127.0.0.1:9", secrets=[Secret(ODD_KEY)])
    ours = not_readable(body, client, "JSON object", "it begins with x")

    class Sdk:
        api_key = ODD_KEY

    with pytest.raises(MalformedResponseError) as raised, WithoutKeys(Sdk()):
        json.loads(body)
    assert ODD_KEY[:4] not in f"{ours} {raised.value}"
