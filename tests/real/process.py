"""A server as a process of its own: started on a free port, ready, counted, ended by its pid."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, frozen

__all__ = ["FOLDER_VARIABLE", "Command", "MissingServerError", "Server", "executable", "running"]

FOLDER_VARIABLE: Final = "BATCHLLM_REAL_SERVERS"
"""Names the folder that ``python -m tests.real.install`` filled; without it no server is run."""

_STARTS: Final = 3
"""Starts of a server: another process may take the free port before the server listens there."""
_READY_WITHIN: Final = 120.0
"""Seconds from the start to the first answer; LiteLLM takes 10-30 s, more on a busy machine."""
_LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at a server that starts."""
_ENDS_WITHIN: Final = 10.0
"""Seconds for a server to end when it is asked to, before it is killed."""
_TAIL: Final = 2_000
"""Characters of a server's output that an error shows."""

# An access log's line, as uvicorn and nginx write it: "POST /v1/messages HTTP/1.1" 429
_ACCESS: Final = re.compile(r'"POST [^"]*" (\d{3})\b')
# A line of `batchllm serve-sim --log`, one request each.
_RECORD: Final = re.compile(r'"method": ?"POST".*?"status": ?(\d{3})\b')


class MissingServerError(Exception):
    """A server is not installed; the message says what to do."""


@frozen(kw_only=True)
class Command:
    """The command that runs one server.

    Attributes:
        arguments: The program and its arguments, for a port.
        ready: The path that answers 200 as soon as the server can be used.
        record: The file in which the server notes its requests; ``None`` is its output.
        environment: Variables beside those of this process.
        judges: Whether it is an llmock, which judges its clients.
    """

    arguments: Callable[[int], Sequence[str | Path]]
    ready: str
    record: Path | None = None
    environment: Mapping[str, str] = {}
    judges: bool = False


@define(eq=False)
class Server:
    """A server, from its start to its end.

    Attributes:
        url: Its address, without a path.
        record: The file in which it notes each request and how it was answered.
    """

    url: str
    record: Path
    _command: Command
    _process: subprocess.Popen[bytes]
    _output: Path

    def statuses(self) -> Counter[int]:
        """Return how many requests the server answered with each status, by its own record."""
        text = self.record.read_text(errors="replace") if self.record.exists() else ""
        found = _RECORD.findall(text) or _ACCESS.findall(text)
        return Counter(map(int, found))

    def forget(self) -> None:
        """Have a server that judges its clients forget the calls so far."""
        if self._command.judges:
            _ask(f"{self.url}/_llmock/requests", "DELETE")

    def verdict(self) -> list[str]:
        """Return what a server that judges its clients found wrong with them."""
        if not self._command.judges:
            return []
        findings = json.loads(_ask(f"{self.url}/_llmock/verdict"))["findings"]
        wrong = Counter(one["code"] for one in findings if one["severity"] == "error")
        return [f"{code} ({count})" for code, count in wrong.items()]

    def stop(self) -> None:
        """End the process; connections are refused from now on."""
        _end(self._process)

    def start_again(self) -> None:
        """Listen at the same address again, after ``stop``."""
        port = int(self.url.rpartition(":")[2])
        self._process = _start(self._command, port, self._output)


def executable(*places: str) -> Path:
    """Return the program that lies at the first of *places* that exists.

    Args:
        places: Paths below the folder of the installed servers, or names to look for on PATH.

    Raises:
        MissingServerError: There is no such program.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    for place in places:
        path = Path(folder, place) if folder else None
        if path is not None and path.is_file():
            return path.resolve()
        found = shutil.which(place) if os.sep not in place else None
        if found:
            return Path(found)
    msg = (
        f"{Path(places[0]).name} is not installed; run `python -m tests.real.install FOLDER` and "
        f"set {FOLDER_VARIABLE} to that folder"
    )
    raise MissingServerError(msg)


@contextmanager
def running(command: Command, folder: Path) -> Generator[Server]:
    """Run a server until the block is left.

    Args:
        command: How to run it.
        folder: An empty folder for its output.

    Raises:
        RuntimeError: It did not start; the message ends with what it wrote.
    """
    output = folder / "output.log"
    process, url = _started(command, output)
    server = Server(url, command.record or output, command, process, output)
    try:
        yield server
    finally:
        server.stop()


def _started(command: Command, output: Path) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(_STARTS):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        process = _start(command, port, output)
        try:
            if _is_ready(process, url + command.ready):
                return process, url
        except BaseException:
            _end(process)
            raise
        _end(process)
    msg = f"the server did not start:\n{output.read_text(errors='replace')[-_TAIL:]}"
    raise RuntimeError(msg)


def _start(command: Command, port: int, output: Path) -> subprocess.Popen[bytes]:
    # A server in an environment of its own must not import the packages of this one.
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", **command.environment}
    with output.open("ab") as file:
        return subprocess.Popen(
            list(map(str, command.arguments(port))),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=output.parent,
        )


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until *url* answers; return ``False`` if the process ended or the time is over."""
    until = time.monotonic() + _READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            time.sleep(_LOOK_AGAIN)
    return False


def _ask(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as reply:
        return bytes(reply.read())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
