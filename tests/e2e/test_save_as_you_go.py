"""The example that saves answers in a file of its own, killed again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from batchllm.simulator import Simulator, serve
from tests.e2e.patience import PATIENCE

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "save_as_you_go.py"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_no_answer_with_a_whole_row_is_asked_for_again(tmp_path: Path) -> None:
    """Killed while it writes, twice, once with half a row; then it gets to its end."""
    simulator, saved = Simulator("default?latency=0.05"), tmp_path / "saved.jsonl"
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(simulator)) as server,
    ):
        env = {
            **os.environ,
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_API_KEY": "sk-simulated",
            "PYTHONPATH": str(EXAMPLE.parents[2]),
        }

        def asked() -> Counter[str]:
            return Counter(portal.call(lambda: [one.prompt for one in simulator.log if one.prompt]))

        kept, before = set[str](), asked()
        for rows in (5, 20, None):
            with subprocess.Popen([sys.executable, EXAMPLE], cwd=tmp_path, env=env) as process:
                if rows is None:
                    assert process.wait(PATIENCE) == 0
                else:
                    wait_for(saved, rows)
                    process.kill()
            now = asked()
            for name in kept:
                prompt = f"What happened in {name}?"
                assert now[prompt] == before[prompt], f"{name} was asked for again"
            kept, before = whole_rows(saved), now
            if rows == 20:
                with saved.open("ab") as file:
                    file.write(b'{"id": "year-19')
    names = [json.loads(line)["id"] for line in saved.read_text().splitlines()]
    assert sorted(names) == [f"year-{year}" for year in range(1900, 2000)]


def whole_rows(path: Path) -> set[str]:
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return {json.loads(line)["id"] for line in lines}


def wait_for(path: Path, rows: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or path.read_bytes().count(b"\n") < rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)
