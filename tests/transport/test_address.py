"""Addresses: a plain one means what httpx reads in it."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.core import ConfigError
from batchllm.transport.address import Address, _read_base_url, _read_plain

PLAIN = st.from_regex(
    r"https?://([a-z0-9_-]{1,4}|127\.0\.0\.1|(xn--)?a\.b\.?)(:[0-9]{2,5})?"
    r"(/[A-Za-z0-9._~-]{0,4}){0,3}(\?[a-z-]{1,4}=[0-9.~-]{0,4}(&key=1)?)?",
    fullmatch=True,
)
ODD = st.sampled_from(["", "", "A", ".", "..", "/", ":", "@", "#", "?", "%41", "[", " ", "é", "\\"])


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Draw an address that is plain, or is but for a few characters somewhere in it."""
    address, odd = draw(PLAIN), draw(ODD)
    at = draw(st.integers(0, len(address)))
    return f"{address[:at]}{odd}{address[at:]}"


@given(addresses())
@example("http://h:80/a/../b")
@example("https://h:443/.hidden//?key=1")
@example("https://h:080?a=b&sig=c")
def test_a_plain_address_is_read_as_httpx_reads_it(address: str) -> None:
    """Server, host header and path are the same, and nothing passes that is wrong."""
    plain = _read_plain(address)
    if plain is None:  # so httpx reads it
        return
    origin, name, path = _read_base_url(address)
    assert (*plain[:2], plain[2].rstrip("/")) == (origin, name, path.rstrip("/"))


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000/v1",
        "https://api.openai.com/v1",
        "https://my-name.openai.azure.com/openai/deployments/gpt-4.1?api-version=2024-10-21",
        "https://generativelanguage.googleapis.com/v1beta/",
        "http://my_container",
    ],
)
def test_usual_addresses_are_plain(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read without httpx."""
    monkeypatch.setattr(httpx, "URL", None)
    assert Address(address).url("").startswith(address.partition("?")[0].rstrip("/"))


@pytest.mark.parametrize("address", ["http://h?key=1", "http://h:0", "http://a..b", "http://1.2"])
def test_what_is_wrong_is_not_plain(address: str) -> None:
    """So that there is one place that says what it is."""
    with pytest.raises(ConfigError):
        Address(address)
