"""The command line in processes that begin at once: they are forked from one that has imported it.

    python -m tests.e2e.fork_server DESCRIPTOR

Most of what a short command takes is its imports. What is forked is the program in all else: it has
the files, folder, environment and words that it was asked to have, gets real signals, and ends as
any interpreter does. ``tests/e2e/forked.py`` asks for it over the socket *DESCRIPTOR*.
"""

from __future__ import annotations

import gc
import json
import os
import random
import socket
import sys
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pkgutil import iter_modules
from typing import Any, NoReturn

import anyio._backends._asyncio
import anyio._backends._trio  # noqa: F401
import trio._core._run as trio_scheduler

import batchllm.api.batch_mode
import batchllm.cli
import batchllm.providers.openai
import batchllm.simulator.batches
import batchllm.simulator.server
from batchllm.cli import main

# What runs import when they need it, some of which are extras.
for _name in (
    *(f"batchllm.cli.{_found.name}" for _found in iter_modules(batchllm.cli.__path__)),
    "genai_prices.data_snapshot",
    "httpx2",
    "rich.live",
    "rich.progress",
    "uvloop",
):
    with suppress(ImportError):
        import_module(_name)


def become_the_program(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """Take over what a process gets at its start, and run the program to the interpreter's end."""
    for descriptor, file in enumerate(files):
        os.dup2(file, descriptor)
    os.closerange(3, max(files) + 1)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[0] = asked["cwd"]
    sys.argv = ["batchllm", *asked["words"]]
    for descriptor, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        stream = _standard(descriptor, mode)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    random.seed()
    trio_scheduler._r.seed()  # else all would shuffle their tasks in the same way
    for place, arguments in asked["before"]:
        module, _, function = place.partition(":")
        getattr(import_module(module), function)(*arguments)
    sys.exit(main())


def _standard(descriptor: int, mode: str) -> TextIOWrapper:
    """Open one of the standard files as the interpreter does."""
    is_error = descriptor == 2
    like = sys.__stderr__ if is_error else sys.__stdout__
    assert like is not None
    return open(
        descriptor,
        mode,
        buffering=1 if is_error or (mode == "w" and os.isatty(descriptor)) else -1,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n" if mode == "w" else None,
        closefd=False,
    )


def serve(link: socket.socket) -> None:
    """Fork for each command, and say how each ended to who asks; until nobody is left to ask."""
    lines = link.makefile("rb", buffering=0)
    while True:
        mark, files, _, _ = socket.recv_fds(link, 1, 3)
        if not mark:
            return
        asked = json.loads(lines.readline())
        if "wait" in asked:
            number, answer = os.waitpid(asked["wait"], os.WNOHANG)
            link.sendall(f"{number} {answer}\n".encode())
            continue
        number = os.fork()
        if number == 0:
            lines.close()
            link.close()
            become_the_program(asked, files)
        for file in files:
            os.close(file)
        link.sendall(f"{number} 0\n".encode())


if __name__ == "__main__":
    gc.collect()
    gc.freeze()  # so that no collection in a process copies what it shares with this one
    with socket.socket(fileno=int(sys.argv[1])) as _link:
        serve(_link)
