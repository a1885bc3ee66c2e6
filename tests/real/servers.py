"""The servers of the scenarios: mocklimit, a LiteLLM gateway, nginx before a simulator."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

import batchllm
from tests.real.mocklimit import MockLimits, write_files
from tests.real.process import Command, Server, executable, running

__all__ = ["Front", "Gateway", "ServerKind", "started"]

_CONFIGS: Final = Path(__file__).parent / "configs"


@frozen
class Gateway:
    """LiteLLM with the models and keys of ``configs/litellm.yaml``."""


@frozen
class Front:
    """nginx by ``configs/nginx.conf``, before a simulator.

    Attributes:
        scenario: What the simulator is like.
        too_many_calls: The status above 8 calls at once.
    """

    scenario: str
    too_many_calls: int = 503


ServerKind: TypeAlias = MockLimits | Gateway | Front
"""Equal values mean the same server, so that scenarios can share a running one."""


@contextmanager
def started(kind: ServerKind, folder: Path) -> Generator[Server]:
    """Run a server until the block is left.

    Args:
        kind: Which one, and how it is set up.
        folder: An empty folder for its files.

    Raises:
        MissingServerError: It is not installed.
        RuntimeError: It did not start.
    """
    match kind:
        case MockLimits():
            with running(_mocklimit(kind, folder), folder) as server:
                yield server
        case Gateway():
            with running(_gateway(folder), folder) as server:
                _warm_up(server)
                yield server
        case Front():
            behind = folder / "behind"
            behind.mkdir()
            with (
                running(_simulator(kind.scenario), behind) as upstream,
                running(_nginx(kind, upstream, folder), folder) as server,
            ):
                yield server


def _mocklimit(limits: MockLimits, folder: Path) -> Command:
    program = executable("mocklimit/bin/mocklimit", "mocklimit")
    api, rates = write_files(limits, folder)
    files = ("--spec", api, "--rate-config", rates)
    return Command(
        arguments=lambda port: (
            *(program, "serve", *files, "--host", "127.0.0.1", "--port", str(port)),
            *("--log-level", "WARNING"),
        ),
        ready="/mocklimit/stats",
    )


def _gateway(folder: Path) -> Command:
    program = executable("litellm/bin/litellm", "litellm")
    config = Path(shutil.copy(_CONFIGS / "litellm.yaml", folder))
    shutil.copy(_CONFIGS / "gateway_keys.py", folder)  # imported from the folder of the config
    return Command(
        arguments=lambda port: (
            *(program, "--config", config, "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", "1"),
        ),
        ready="/health/liveliness",
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices come from the package, not the network
            "LITELLM_MODE": "PRODUCTION",
        },
    )


def _warm_up(server: Server) -> None:
    """Have LiteLLM import what it needs: its first answer and its first error take 3 s each."""
    for model in ("plain", "always500"):
        body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
        request = urllib.request.Request(
            f"{server.url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"authorization": "Bearer sk-free", "content-type": "application/json"},
        )
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=60).close()


def _nginx(front: Front, upstream: Server, folder: Path) -> Command:
    program = executable("nginx/usr/sbin/nginx", "nginx")
    text = (_CONFIGS / "nginx.conf").read_text()
    config = folder / "nginx.conf"

    def arguments(port: int) -> tuple[str | Path, ...]:
        values = {
            "FOLDER": str(folder),
            "PORT": str(port),
            "TOO_MANY_CALLS": str(front.too_many_calls),
            "UPSTREAM": upstream.url.rpartition(":")[2],
        }
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        filled = "\n".join(lines)
        for name, value in values.items():
            filled = filled.replace(name, value)
        config.write_text(filled)
        return program, "-c", config, "-e", folder / "error.log"

    return Command(arguments=arguments, ready="/nginx_status", record=folder / "access.log")


def _simulator(scenario: str) -> Command:
    return Command(
        arguments=lambda port: (
            *(sys.executable, "-m", "batchllm", "serve-sim", scenario),
            *("--port", str(port)),
        ),
        ready="/__sim/stats",
        environment={"PYTHONPATH": str(Path(batchllm.__file__).parents[1])},
    )
