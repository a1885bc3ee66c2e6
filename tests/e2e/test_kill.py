"""A process that is killed, at each named point and at random moments, and the same command again.

``BATCHLLM_KILLS`` raises the number of random kills (``nox -s kills``).
"""

from __future__ import annotations

import os
import random
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.kill_kit import Forks, Run, forks, witness
from tests.e2e.killed import POINTS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL here either")

BACKENDS = ("asyncio", "trio")
KILLS = int(os.environ.get("BATCHLLM_KILLS", "3"))
REWRITES = ("replace", "replaced")


@pytest.fixture(scope="module", name="made")
def forks_of_the_module() -> Generator[Forks]:
    """One process with everything imported, for all that are killed."""
    with forks() as made:
        yield made


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("point", [point for point in POINTS if point not in REWRITES])
def test_killed_at_each_point(tmp_path: Path, made: Forks, backend: str, point: str) -> None:
    """At its second passing, then at its first when the run goes on, and whole at the end."""
    with witness() as seen:
        run = Run(tmp_path, made, seen, backend)
        for number in (2, 1):
            assert run.kill_at(point, 1 if point == "opened" else number)
        run.finish()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("point", REWRITES)
def test_killed_while_the_output_is_replaced(
    tmp_path: Path, made: Forks, backend: str, point: str
) -> None:
    """Edited lines supersede rows, so that the file is written anew at the end."""
    with witness() as seen:
        run = Run(tmp_path, made, seen, backend)
        run.finish()
        run.input.write_text(run.input.read_text().replace("Say", "Say, edited,"))
        run.finished = set()  # they run again
        assert run.kill_at(point, 1)
        made.wait(made.start(run.words, run.notes, None, 0))
        assert all("edited" in row["prompt"] for row in run.check_rows() if row["id"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random_moments(tmp_path: Path, made: Forks, backend: str) -> None:
    """Between its first step and its last, and again and again on one output."""
    chance = random.Random(f"kills {backend}")
    kills, number, seconds = 0, 0, 0.4
    while kills < KILLS:
        folder, number = tmp_path / str(number), number + 1
        folder.mkdir()
        with witness() as seen:
            run, finished = Run(folder, made, seen, backend), False
            while not finished and kills + run.kills < KILLS:
                finished = not run.kill_after(chance.uniform(0.1, 1.0) * seconds)
                if not run.output.exists() or not run.output.stat().st_size:
                    seconds *= 1.3  # it was hardly begun
            kills += run.kills
            run.finish()
