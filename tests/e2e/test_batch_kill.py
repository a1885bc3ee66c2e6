"""Batch mode in a process that is killed at random moments, and the same command typed again.

The simulator outlives it in a process of its own, with a calendar that goes a hundred times faster
than ours, and its invoice says what was executed. ``BATCHLLM_KILLS`` raises the number of kills
(``nox -s kills``).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.cli_kit import PROGRAM, finish, program, read_rows, run_program, simulator

KILLS = int(os.environ.get("BATCHLLM_KILLS", "5"))
LINES = 40
SLOWEST = 2.5
"""Seconds after which a process is killed at most: by then it has fetched what there is."""
WIRES = {
    "openai": ("openai:gpt-5-mini", "OPENAI", "/v1"),
    "anthropic": ("anthropic:claude-sonnet-5", "ANTHROPIC", ""),
}


def invoice(url: str) -> list[dict[str, Any]]:
    with urlopen(f"{url}/__sim/invoice") as reply:
        lines: list[dict[str, Any]] = json.loads(reply.read())
    return lines


def write_lines(path: Path) -> Path:
    rows = [{"id": f"p{number}", "prompt": f"Say number {number}."} for number in range(LINES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(path: Path) -> dict[str, Any]:
    rows = read_rows(path)
    found = {row["id"]: row["output"] for row in rows}
    assert len(found) == len(rows)
    return found


NO_PRICE = "-m openai-compatible:x --base-url http://x/v1"


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_kills_at_random_moments_lose_and_repeat_nothing(
    tmp_path: Path, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name, path = WIRES[wire]
    rng = random.Random(wire)
    given, output = write_lines(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    with simulator("instant", "--calendar", "100") as url:
        monkeypatch.setenv(f"{name}_API_KEY", "sim-key")
        monkeypatch.setenv(f"{name}_BASE_URL", url + path)
        words = ["run", given, "-m", model, "--quiet", "--mode", "batch", "--chunk-size", "25"]
        words += ["--on-ambiguous", "resubmit", "-o", output]
        for _ in range(KILLS):
            command = [*PROGRAM, *map(str, words)]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
                time.sleep(rng.uniform(0.3, SLOWEST))
                process.kill()
        code, _, err = run_program(*words)
        assert code == 0, err
        online = tmp_path / "online.jsonl"
        assert run_program("run", given, "-m", model, "--quiet", "-o", online)[0] == 0
        billed = [line["custom_id"] for line in invoice(url)]
    assert answers(output) == answers(online)
    assert len(billed) == len(set(billed)) == LINES
    left = {one.name for one in tmp_path.iterdir()}
    assert left == {"in.jsonl", "out.jsonl", "out.jsonl.journal"} | {
        "online.jsonl",
        "online.jsonl.journal",
    }


def test_a_run_is_detached_from_looked_at_cancelled_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, output = write_lines(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    with simulator("instant", "--calendar", "20") as url:
        monkeypatch.setenv("OPENAI_API_KEY", "sim-key")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        words = ["run", given, "-m", "openai:m", "--mode", "batch", "-o", output]
        code, _, err = run_program(*words, "--detach")
        assert code == 3
        assert "40 requests are in 1 batch at openai; the same typed again goes on" in err
        code, out, _ = run_program("jobs", output)
        assert code == 0
        assert "running" in out
        assert "batch_" in out
        code, out, _ = run_program("jobs", output, "--json")
        (job,) = json.loads(out)
        assert (job["number"], job["requests"], job["provider"]) == (1, LINES, "openai")
        code, out, _ = run_program("jobs", output, "show", "1")
        assert "created: batch_" in out
        code, out, err = run_program("jobs", output, "cancel")
        assert code == 0, err
        # On a slow machine it may be over by then.
        assert "is being cancelled" in out or "has ended already" in out
        code, _, err = run_program(*words)
        assert code == 0, err
        billed = [line["custom_id"] for line in invoice(url)]
        code, out, err = run_program("jobs", output, "gc")
        assert "files were deleted" in out
    assert len(answers(output)) == LINES
    assert len(billed) == len(set(billed)) == LINES


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "What is it?", "-m", "sim:default", "--mode", "batch"], "takes a file of prompts"),
        ("run in.jsonl -m sim:default --mode batch", "needs a journal"),
        ("run in.jsonl -m sim:default --detach -o o.jsonl", "give --mode batch too"),
        (
            "run in.jsonl -m sim:default -m sim:instant --mode batch -o o.jsonl",
            "decides by an answer what it asks next",
        ),
        (
            f"run in.jsonl {NO_PRICE} --mode batch -o o.jsonl --max-cost 3",
            "--max-cost needs a price, and none is known for openai-compatible:x",
        ),
        (
            "run in.jsonl -m sim:default --mode batch -o o.jsonl --hedge-budget 3",
            "--hedge-budget is 3.0, and it is for items that would miss a --deadline",
        ),
        (
            f"run in.jsonl {NO_PRICE} --mode batch -o o.jsonl --deadline 2h --hedge-budget 3",
            "no price is known for openai-compatible:x",
        ),
        ("jobs nothing.jsonl", "there is no journal nothing.jsonl"),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, words: str | list[str], said: str) -> None:
    write_lines(tmp_path / "in.jsonl")
    words = words.split() if isinstance(words, str) else words
    with program(words, cwd=tmp_path) as process:
        code, _, err = finish(process)
    assert code == 2
    assert said in err
    assert not (tmp_path / "o.jsonl").exists()


def test_the_end_of_the_budget_is_said_with_what_goes_on(tmp_path: Path) -> None:
    """All runs on one journal have one budget, so the same command needs a larger one."""
    write_lines(tmp_path / "in.jsonl")
    model = "sim:default?input_price=1&output_price=4"
    words = ["run", "in.jsonl", "-m", model, "--mode", "batch", "-o", "o.jsonl"]
    with program([*words, "--max-cost", "0.0001"], cwd=tmp_path) as process:
        code, _, err = finish(process)
    assert code == 3
    assert "the next line of a batch may take" in err
    assert "The same command goes on with a larger --max-cost" in err
    assert "as much again" not in err
