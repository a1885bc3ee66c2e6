"""The proxy that an address gets."""

import pytest

from batchllm.llm_strategies.proxies import proxy_for

ALL = {"HTTPS_PROXY": "http://secure:1", "http_proxy": "plain:2", "ALL_PROXY": "http://all:3"}


@pytest.mark.parametrize(
    ("address", "environment", "proxy"),
    [
        ("https://api.test/v1", {}, None),
        ("https://api.test/v1", ALL, "http://secure:1"),
        ("http://api.test/v1", ALL, "http://plain:2"),
        ("http://api.test", {"ALL_PROXY": "http://all:3"}, "http://all:3"),
        ("https://api.test", {"HTTPS_PROXY": ""}, None),
        ("https://api.test", {"https_proxy": "http://low:1", **ALL}, "http://low:1"),
        ("http://localhost:11434/v1", ALL, None),
        ("http://a.localhost", ALL, None),
        ("http://127.0.0.1:8000", ALL, None),
        ("http://[::1]:8000", ALL, None),
        ("http://10.0.0.1:8000", ALL, "http://plain:2"),
        ("https://api.test", {**ALL, "NO_PROXY": "other.test, api.test"}, None),
        ("https://sub.api.test", {**ALL, "no_proxy": "api.test"}, None),
        ("https://sub.api.test", {**ALL, "no_proxy": ".api.test"}, None),
        ("https://sub.api.test", {**ALL, "no_proxy": "*.api.test"}, None),
        ("https://myapi.test", {**ALL, "no_proxy": "api.test,,"}, "http://secure:1"),
        ("https://api.test", {**ALL, "no_proxy": "*"}, None),
        ("https://api.test:8443", {**ALL, "no_proxy": "api.test:8443"}, None),
        ("https://api.test", {**ALL, "no_proxy": "api.test:8443"}, "http://secure:1"),
    ],
)
def test_the_customary_variables_count(
    address: str, environment: dict[str, str], proxy: str | None
) -> None:
    """Scheme, exceptions and this machine itself decide, as tools of the field do it."""
    assert proxy_for(address, environment) == proxy
