"""The servers of the scenarios: mocklimit, llmock, LiteLLM, and nginx and HAProxy as fronts."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from attrs import frozen

import batchllm
from tests.real.mocklimit import MockLimits, write_files
from tests.real.process import Command, Server, executable, running

__all__ = ["Balancer", "Chaos", "Front", "Gateway", "ServerKind", "started"]

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


@frozen
class Balancer:
    """HAProxy by ``configs/haproxy.cfg``, before a simulator: 8 calls at once, others queue 2 s.

    Attributes:
        scenario: What the simulator is like.
        rate: Requests in two seconds, refused ones too, above which it answers 429.
    """

    scenario: str
    rate: int


@frozen
class Chaos:
    """llmock, which speaks for ten providers, refuses by quotas or at random, and judges clients.

    Attributes:
        options: Of its command line.
    """

    options: tuple[str, ...]


ServerKind: TypeAlias = MockLimits | Gateway | Front | Balancer | Chaos
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
        case Chaos():
            with running(_llmock(kind), folder) as server:
                yield server
        case Front() | Balancer():
            behind = folder / "behind"
            behind.mkdir()
            with running(_simulator(kind.scenario), behind) as upstream:
                front = _nginx if isinstance(kind, Front) else _haproxy
                with running(front(kind, upstream, folder), folder) as server:
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

    def arguments(port: int) -> tuple[str | Path, ...]:
        values = {
            "FOLDER": str(folder),
            "PORT": str(port),
            "TOO_MANY_CALLS": str(front.too_many_calls),
            "UPSTREAM": upstream.url.rpartition(":")[2],
        }
        config = _fill("nginx.conf", values, folder)
        return program, "-c", config, "-e", folder / "error.log"

    return Command(arguments=arguments, ready="/nginx_status", record=folder / "access.log")


def _haproxy(balancer: Balancer, upstream: Server, folder: Path) -> Command:
    program = executable("haproxy/usr/sbin/haproxy", "haproxy")

    def arguments(port: int) -> tuple[str | Path, ...]:
        values = {
            "PORT": str(port),
            "RATE": str(balancer.rate),
            "UPSTREAM": upstream.url.rpartition(":")[2],
        }
        return program, "-db", "-f", _fill("haproxy.cfg", values, folder)

    libraries = program.parents[1] / "lib" / "x86_64-linux-gnu"  # of a package that was unpacked
    return Command(
        arguments=arguments,
        ready="/haproxy_status",
        environment={"LD_LIBRARY_PATH": str(libraries)},
    )


def _fill(name: str, values: Mapping[str, str], folder: Path) -> Path:
    """Write the configuration *name* into *folder* with its words in capitals replaced."""
    lines = (_CONFIGS / name).read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    for word, value in values.items():
        text = text.replace(word, value)
    config = folder / name
    config.write_text(f"{text}\n")
    return config


def _llmock(chaos: Chaos) -> Command:
    program = executable("llmock/bin/llmock", "llmock")
    return Command(
        arguments=lambda port: (program, "serve", "--port", str(port), *chaos.options),
        ready="/health",
        judges=True,
    )


def _simulator(scenario: str) -> Command:
    return Command(
        arguments=lambda port: (
            *(sys.executable, "-m", "batchllm", "serve-sim", scenario),
            *("--port", str(port)),
        ),
        ready="/__sim/stats",
        environment={"PYTHONPATH": str(Path(batchllm.__file__).parents[1])},
    )
