"""The server of the HTTP benchmarks, in a process of its own.

In C if there is a compiler, so that it costs less than any client; else the same in Python on
uvloop, which costs about as much as the hand-written client: its figure is printed, so that one
sees whether the server or the client was the limit. A path of ``/d/100/v1/…`` is answered after
100 ms; a request for a stream gets 50 events, one every 2 ms from then on. One of ``/d/100/h/v1/…``
is answered as hosted APIs do, in a chunk and with some 25 headers, limits and cookies among them.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import frozen

__all__ = ["ChatServer", "chat_server"]

_SOURCE = Path(__file__).with_name("_chat_server.c")
_EVENTS = 50
_GAP = 0.002


@frozen
class ChatServer:
    """A server that runs.

    Attributes:
        kind: What it is written in.
        plain: Its port for HTTP.
        secure: Its port for HTTPS; 0 if there is no OpenSSL to make a certificate.
        certificate: The authority that a client has to trust.
    """

    kind: str
    plain: int
    secure: int
    certificate: Path

    def base_url(self, delay: float, *, tls: bool, hosted: bool = False) -> str:
        """Give the address under which replies take *delay* seconds."""
        scheme, port = ("https", self.secure) if tls else ("http", self.plain)
        return f"{scheme}://127.0.0.1:{port}/d/{delay * 1000:g}/{'h/' if hosted else ''}v1"

    def context(self) -> ssl.SSLContext:
        """Make an SSL context of a client's that trusts the server."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def stats(self) -> dict[str, Any]:
        """Read the connections opened, the requests answered and the CPU seconds used so far."""
        with urlopen(f"http://127.0.0.1:{self.plain}/stats", timeout=30) as reply:
            found: dict[str, Any] = json.loads(reply.read())
        return found


@contextmanager
def chat_server() -> Generator[ChatServer]:
    """Run the server; it ends with the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = _certificate(folder)
        kind, command = _build(folder)
        command += pair
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_SOURCE.parents[1]
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            plain, secure = map(int, process.stdout.readline().split())
            try:
                yield ChatServer(kind, plain, secure, folder / "certificate.pem")
            finally:
                process.stdin.close()


def _build(folder: Path) -> tuple[str, list[str]]:
    compiler, program = shutil.which("cc"), folder / "server"
    if compiler is not None:
        for flags in (["-DWITH_TLS", "-lssl", "-lcrypto"], []):
            command = [compiler, "-O2", str(_SOURCE), "-o", str(program), *flags]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return "C with TLS" if flags else "C", [str(program)]
    return "Python", [sys.executable, "-m", "benchmarks._chat_server"]


def _certificate(folder: Path) -> list[str]:
    if shutil.which("openssl") is None:
        return []
    files = [str(folder / "certificate.pem"), str(folder / "key.pem")]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", files[1], "-out", files[0]),
        ],
        check=True,
        capture_output=True,
    )
    return files


# The same server in Python.

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "The quick brown fox jumps over the lazy dog, and then it does so "
                    "once more.",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 17,
            "total_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
).encode()
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nserver: bench\r\n\r\n"
)
_HOSTED_HEAD = (
    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n"
    "access-control-expose-headers: X-Request-ID\r\nopenai-organization: user-abcdefghijklmnop\r\n"
    "openai-processing-ms: {ms}\r\nopenai-project: proj_abcdefghijklmnop\r\n"
    "openai-version: 2020-10-01\r\nx-envoy-upstream-service-time: {ms}\r\n"
    "x-ratelimit-limit-requests: 1000000\r\nx-ratelimit-limit-tokens: 500000000\r\n"
    "x-ratelimit-remaining-requests: {left}\r\nx-ratelimit-remaining-tokens: {left}000\r\n"
    "x-ratelimit-reset-requests: {ms}ms\r\nx-ratelimit-reset-tokens: {ms}ms\r\n"
    "x-request-id: req_{number:032x}\r\nx-openai-proxy-wasm: v0.1\r\ncf-cache-status: DYNAMIC\r\n"
    "Set-Cookie: __cf_bm={number:064x}; path=/; expires=Thu, 01-Jan-26 00:30:00 GMT; "
    "domain=.api.example.com; HttpOnly; Secure; SameSite=None\r\n"
    "Set-Cookie: _cfuvid={number:048x}-0.0.1.1-604800000; path=/; domain=.api.example.com; "
    "HttpOnly; Secure; SameSite=None\r\n"
    "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"
    "X-Content-Type-Options: nosniff\r\nServer: cloudflare\r\nCF-RAY: {number:016x}-FRA\r\n"
    'alt-svc: h3=":443"; ma=86400\r\n\r\n'
)
_COUNTS: dict[str, float] = {"connections": 0, "requests": 0, "cpu": 0.0}


def _reply(body: bytes) -> bytes:
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nserver: bench"
    return b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head.encode(), body)


def _hosted_reply(body: bytes, number: int) -> bytes:
    head = _HOSTED_HEAD.format(number=number, ms=number % 50, left=499_999 - number % 50)
    return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head.encode(), len(body), body)


def _event(number: int) -> bytes:
    common = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"m"'
    if number == _EVENTS - 1:
        usage = '{"prompt_tokens":19,"completion_tokens":48,"total_tokens":67}'
        data = f'data: {common},"choices":[],"usage":{usage}}}\n\ndata: [DONE]\n\n'
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data.encode())
    reason = '"stop"' if number == _EVENTS - 2 else "null"
    delta = f'"delta":{{"content":"word "}},"logprobs":null,"finish_reason":{reason}'
    data = f'data: {common},"choices":[{{"index":0,{delta}}}],"usage":null}}\n\n'
    return b"%x\r\n%b\r\n" % (len(data), data.encode())


class _Answering(asyncio.Protocol):
    """One connection; requests follow one another."""

    def connection_made(self, transport: Any) -> None:
        _COUNTS["connections"] += 1
        self.transport, self.loop, self.received = transport, asyncio.get_running_loop(), b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        fields = head.lower().partition(b"content-length:")[2]
        if not end or len(body) < int(fields.partition(b"\r\n")[0] or 0):
            return
        self.received = b""
        target = head.split(b" ", 2)[1]
        if target == b"/stats":
            used = resource.getrusage(resource.RUSAGE_SELF)
            _COUNTS["cpu"] = used.ru_utime + used.ru_stime
            self.transport.write(_reply(json.dumps(_COUNTS).encode()))
            return
        delay = float(target.split(b"/")[2]) / 1000 if target.startswith(b"/d/") else 0.0
        if b'"stream":true' in body or b'"stream": true' in body:
            self.loop.call_later(delay, self.stream, 0)
        else:
            self.loop.call_later(delay, self.answer, b"/h/" in target)

    def answer(self, hosted: bool) -> None:
        """Send the whole answer."""
        _COUNTS["requests"] += 1
        number = int(_COUNTS["requests"])
        self.transport.write(_hosted_reply(_ANSWER, number) if hosted else _reply(_ANSWER))

    def stream(self, number: int) -> None:
        """Send the next event."""
        if self.transport.is_closing():
            return
        self.transport.write((_STREAM_HEAD if number == 0 else b"") + _event(number))
        if number == _EVENTS - 1:
            _COUNTS["requests"] += 1
        else:
            self.loop.call_later(_GAP, self.stream, number + 1)


async def _serve(certificate: list[str]) -> None:
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(_Answering, "127.0.0.1", 0, backlog=4096)
    ports = [plain.sockets[0].getsockname()[1], 0]
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        secure = await loop.create_server(_Answering, "127.0.0.1", 0, backlog=4096, ssl=context)
        ports[1] = secure.sockets[0].getsockname()[1]
    print(*ports, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(sys.argv[1:]))
    else:
        uvloop.run(_serve(sys.argv[1:]))
