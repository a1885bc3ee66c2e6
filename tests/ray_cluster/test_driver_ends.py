"""Programs that are ended in the middle, by Ctrl-C and by SIGKILL, and go on from their journal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray_cluster.conftest import ROOT, simulated, wait_until

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 300
IN_FLIGHT = 2 * 5
"""Two workers with five calls each."""
UNWRITTEN = 10
"""Calls that 900 a minute let start in the time of one group, twice over."""
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_is_ended_goes_on_from_its_journal(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Ctrl-C goes to all processes of the terminal; SIGKILL leaves the driver no time at all."""
    program = [sys.executable, str(ROOT / "tests" / "ray_cluster" / "driven.py")]
    with simulated("quota-noheaders?rpm=900&latency=0.5") as server:
        log = server.simulator.log
        command = [*program, server.url, str(tmp_path / "run")]
        environment = {**os.environ, **ENVIRONMENT}
        with subprocess.Popen(
            command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
        ) as first:
            wait_until(lambda: len(log) > ROWS / 3, 300)
            if how is signal.SIGINT:
                os.killpg(first.pid, how)
            else:
                first.kill()
            _, complaints = first.communicate(timeout=120)
        assert first.returncode == (1 if how is signal.SIGINT else -how) or (
            first.returncode == -signal.SIGINT
        )
        if how is signal.SIGINT:
            assert "KeyboardInterrupt" in complaints
        before = len(log)
        assert before < ROWS
        again = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=400
        )
        assert re.search(rf"^rows {ROWS}$", again.stdout, re.MULTILINE)
        asked = [entry.prompt for entry in log.entries]
        assert len(set(asked)) == ROWS
        print(f"\n{how.name}: {before} before, {len(asked) - ROWS} repeated")
        assert len(asked) <= ROWS + IN_FLIGHT + UNWRITTEN
