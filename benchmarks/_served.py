"""A simulated provider in a process of its own, and what its log counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen


@contextmanager
def served(scenario: str, *options: str) -> Generator[str]:
    """Run ``batchllm serve-sim`` with *scenario*; gives its address."""
    command = [sys.executable, "-m", "batchllm", "serve-sim", scenario, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def stats_of(url: str) -> dict[str, Any]:
    """Return the counts of the server at *url*."""
    with urlopen(f"{url}/__sim/stats", timeout=60) as reply:
        found: dict[str, Any] = json.loads(reply.read())
    return found
