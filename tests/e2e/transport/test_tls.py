"""TLS: who is trusted, and what an error says."""

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from batchllm.core import ConfigError, TransportError
from batchllm.transport import HttpClient, HttpTransport
from batchllm.transport.dialling import encrypt, usual_context
from tests.e2e.transport.rude_server import BODY, RudeServer, Talk, polite, rude

trustme = pytest.importorskip("trustme")

pytestmark = pytest.mark.anyio

KEY = "canary-0123456789"


@pytest.fixture(scope="module")
def authority() -> Any:
    """Give a certificate authority of a company's own."""
    return trustme.CA()


def server_context(cert: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def client_context(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def ask(server: RudeServer, http: HttpTransport, body: bytes = b"{}") -> bytes:
    client = HttpClient(http, base_url=server.url, headers={"authorization": f"Bearer {KEY}"})
    return (await client.request_json("POST", "/v1/x", body)).body


async def test_a_private_authority_is_trusted_when_it_is_given(
    authority: Any, tmp_path: Path
) -> None:
    """A context or a file of certificates makes the company's server known."""
    context = server_context(authority.issue_cert("localhost"))
    with anyio.fail_after(20):
        async with (
            rude(polite, context=context) as server,
            HttpTransport(verify=client_context(authority)) as http,
        ):
            for _ in range(3):
                assert await ask(server, http) == BODY
            assert (http.statistics().opened, http.statistics().reused) == (1, 2)
            path = tmp_path / "ca.pem"
            authority.cert_pem.write_to_path(str(path))
            async with HttpTransport(verify=str(path)) as by_path:
                assert await ask(server, by_path) == BODY
            client = HttpClient(base_url=server.url, verify=str(path))
            assert (await client.request_json("POST", "/", b"{}")).status == 200
            await client.aclose()


async def test_an_unknown_authority_is_refused(authority: Any) -> None:
    """By default only well-known authorities count, and nothing is sent to another's server."""
    context = server_context(authority.issue_cert("localhost"))
    with anyio.fail_after(20):
        async with rude(polite, context=context) as server, HttpTransport() as http:
            with pytest.raises(TransportError, match="certificate of localhost is not") as caught:
                await ask(server, http)
            assert not caught.value.sent
            assert not server.requests
            assert http.statistics().open == 0


async def test_a_certificate_for_another_host_is_refused(authority: Any) -> None:
    """The name in the certificate has to be the one that was asked for."""
    context = server_context(authority.issue_cert("elsewhere.test"))
    with anyio.fail_after(20):
        async with (
            rude(polite, context=context) as server,
            HttpTransport(verify=client_context(authority)) as http,
        ):
            with pytest.raises(TransportError, match=r"is not accepted.*[Hh]ostname mismatch"):
                await ask(server, http)
            assert not server.requests


async def test_an_expired_certificate_is_refused(authority: Any) -> None:
    """A certificate counts until its end."""
    cert = authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with anyio.fail_after(20):
        async with (
            rude(polite, context=server_context(cert)) as server,
            HttpTransport(verify=client_context(authority)) as http,
        ):
            with pytest.raises(TransportError, match=r"is not accepted.*expired"):
                await ask(server, http)
            assert not server.requests


async def test_a_server_without_tls_is_named_as_such(authority: Any) -> None:
    """A plain server behind an https address is a failed handshake."""

    async def plain(talk: Talk) -> None:
        await talk.stream.receive()
        await talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with anyio.fail_after(20):
        async with rude(plain) as server, HttpTransport() as http:
            client = HttpClient(http, base_url=server.url.replace("http:", "https:"))
            with pytest.raises(TransportError, match=r"TLS handshake failed.*http://"):
                await client.request_json("POST", "/", b"{}")


async def test_long_bodies_and_surplus_bytes_over_tls(authority: Any) -> None:
    """Bytes that OpenSSL holds are read, and those that belong to no request are seen."""
    body = b"0123456789" * 200_000

    async def echo_and_more(talk: Talk) -> None:
        for number in range(9):
            asked = await talk.request()
            await talk.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(asked) + asked)
            if number:
                await talk.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")

    context = server_context(authority.issue_cert("localhost"))
    with anyio.fail_after(20):
        async with (
            rude(echo_and_more, context=context) as server,
            HttpTransport(verify=client_context(authority)) as http,
        ):
            assert await ask(server, http, body) == body
            assert await ask(server, http, b"2") == b"2"
            await anyio.sleep(0.05)
            assert await ask(server, http, b"3") == b"3"
            assert http.statistics().discarded == {"surplus bytes": 1}


async def test_a_close_while_idle_is_noticed_over_tls(authority: Any) -> None:
    """The end of an idle connection is seen behind its encryption, without a replay."""

    async def once(talk: Talk) -> None:
        await talk.request()
        await talk.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    context = server_context(authority.issue_cert("localhost"))
    with anyio.fail_after(20):
        async with (
            rude(once, context=context) as server,
            HttpTransport(verify=client_context(authority)) as http,
        ):
            await ask(server, http)
            await anyio.sleep(0.05)
            assert await ask(server, http) == b"ok"
            assert (http.statistics().replayed, http.statistics().opened) == (0, 2)


async def test_the_context_is_made_once_and_only_for_https(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading the well-known authorities takes 30 ms, which a plain address never costs."""
    assert await usual_context() is await usual_context()

    def never(**settings: object) -> ssl.SSLContext:
        raise AssertionError("a context was made")

    monkeypatch.setattr(httpx, "create_ssl_context", never)
    monkeypatch.setattr(ssl, "create_default_context", never)
    async with rude(polite) as server, HttpTransport() as http:
        assert await ask(server, http) == BODY


def test_verification_cannot_be_switched_off() -> None:
    """A key goes to no server whose name is not proved."""
    with pytest.raises(ConfigError, match="verify is False"):
        HttpTransport(verify=False)


async def test_a_socket_whose_encryption_fails_is_closed() -> None:
    """No failure of the encryption leaves a descriptor open."""

    class Broken(ssl.SSLContext):
        def wrap_socket(self, *args: Any, **settings: Any) -> Any:
            raise KeyboardInterrupt

    one, other = socket.socketpair()
    with other:
        with pytest.raises(KeyboardInterrupt):
            await encrypt(one, Broken(ssl.PROTOCOL_TLS_CLIENT), "localhost")
        assert one.fileno() == -1


async def test_ipv6_and_names(authority: Any) -> None:
    """An address in brackets and a name with several addresses both connect."""
    with anyio.fail_after(20):
        try:
            async with rude(polite, host="::1") as server, HttpTransport() as http:
                assert await ask(server, http) == BODY
        except OSError:
            pytest.skip("there is no IPv6 here")
        async with rude(polite) as server, HttpTransport() as http:
            # "localhost" may be ::1 first, which does not listen.
            client = HttpClient(http, base_url=f"http://localhost:{server.port}")
            assert (await client.request_json("POST", "/", b"{}")).status == 200
