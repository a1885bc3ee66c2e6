"""Processes of the command line as ``subprocess.Popen`` has them, forked from a ready one."""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.e2e.patience import PATIENCE

ROOT = Path(__file__).parents[2]
REAL = "BATCHLLM_TEST_REAL_STARTS"
"""With this variable, every process of the suite starts as its users start it."""
Before = Sequence[tuple[str, Sequence[Any]]]
"""Calls made in a process before the program: ``"module:function"`` and arguments."""

_OF_THE_START = ("PYTHON", "LC_", "LANG", "MALLOC_")
"""Beginnings of the names of variables that are read once, when an interpreter starts."""
_OFTEN = 0.005
"""Seconds between two looks at whether a process has ended."""


@define(eq=False)
class ForkServer:
    """Asks for processes, from a server that is started for the first of them."""

    _server: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _link: socket.socket = field(init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def start(self, files: Sequence[int], **asked: Any) -> int:
        """Start a process with these standard files; return its number."""
        return self._ask(files, **asked)[0]

    def look(self, process: int) -> tuple[int, int]:
        """Look whether a process has ended, as ``os.waitpid`` with ``os.WNOHANG``."""
        return self._ask((), wait=process)

    def _ask(self, files: Sequence[int], **asked: Any) -> tuple[int, int]:
        with self._lock:
            if self._server is None:
                self._open()
            socket.send_fds(self._link, [b"-"], list(files))
            self._link.sendall(json.dumps(asked).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                more = self._link.recv(64)
                if not more:
                    raise ConnectionError("the server of forks has ended")
                answer += more
        number, status = answer.split()
        return int(number), int(status)

    def _open(self) -> None:
        self._link, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONWARNINGS": "error"},
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End the server; it waits for none of its processes, which no test leaves behind."""
        if self._server is not None:
            self._link.close()
            self._server.wait(PATIENCE)
            self._server = None


SERVER = ForkServer()
"""The one of this process, which ``conftest.py`` closes at the end of the session."""


def can_fork(environment: dict[str, str]) -> bool:
    """Return whether a process may be forked that is to have *environment*."""
    names = {*environment, *os.environ} - {"PYTHONWARNINGS"}
    return (
        hasattr(socket, "send_fds")
        and REAL not in os.environ
        and not any(
            environment.get(name) != os.environ.get(name)
            for name in names
            if name.startswith(_OF_THE_START)
        )
    )


class Forked(subprocess.Popen[bytes]):
    """A process of the command line; only its start and its parent are others than usual.

    Args:
        words: The arguments of the program.
        before: Calls to make in the process before the program.
        options: As of ``subprocess.Popen``.
    """

    def __init__(self, words: Sequence[str], *, before: Before = (), **options: Any) -> None:
        self._before = before
        super().__init__(words, **options)

    def _execute_child(self, *given: Any) -> None:
        named = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments  # type: ignore[attr-defined]
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        theirs = [named["p2cread"], named["c2pwrite"], named["errwrite"]]
        self.pid = SERVER.start(
            [own if file == -1 else file for own, file in enumerate(theirs)],
            words=list(named["args"]),
            cwd=os.path.abspath(named["cwd"] or os.curdir),
            env=dict(os.environ if named["env"] is None else named["env"]),
            before=self._before,
        )
        self._child_created = True
        self._close_pipe_fds(*(named[name] for name in pipes))  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        if self.returncode is None:
            number, status = SERVER.look(self.pid)
            if number == self.pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        while True:
            number, status = SERVER.look(self.pid)
            if number or wait_flags & os.WNOHANG:
                return number, status
            time.sleep(_OFTEN)
