"""Batch mode in a process that is killed at random moments, and the same command typed again.

The simulator outlives it in a process of its own, with a calendar that goes a hundred times faster
than ours, and its invoice says what was executed. ``BATCHLLM_BATCH_KILLS`` raises the number of
kills (``nox -s kills``); a run that has got to its end is followed by another.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from attrs import frozen

from batchllm.cli import main
from tests.e2e.cli_kit import finish, program, read_rows, run_program, simulator
from tests.e2e.kill_kit import Forks, forks

KILLS = int(os.environ.get("BATCHLLM_BATCH_KILLS", "5"))
LINES = 40
LONGEST = 0.6
"""The life of a process at most, in times of a run that nobody kills: each has a part left."""
WIRES = {
    "openai": ("openai:gpt-5-mini", "OPENAI", "/v1"),
    "anthropic": ("anthropic:claude-sonnet-5", "ANTHROPIC", ""),
    "gemini": ("gemini:gemini-2.5-flash", "GEMINI", "/v1beta"),
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
    given, online = write_lines(tmp_path / "in.jsonl"), tmp_path / "online.jsonl"
    with simulator("instant", "--calendar", "100") as url:
        monkeypatch.setenv(f"{name}_API_KEY", "sim-key")
        monkeypatch.setenv(f"{name}_BASE_URL", url + path)
        with forks() as made:
            typed = Typed(made, tmp_path / "notes.txt")
            words = ["run", str(given), "-m", model, "--quiet"]
            typed.to_the_end([*words, "-o", str(online)])
            words += ["--mode", "batch", "--chunk-size", "25", "--on-ambiguous", "resubmit"]
            kills = runs = lines = 0
            longest = 0.0  # seconds of a life; the first run shows how long one takes here and now
            while kills < KILLS:
                folder = tmp_path / f"{runs}"
                folder.mkdir()
                output = folder / "out.jsonl"
                most = KILLS - kills if runs else 0
                lives = (rng.uniform(0.05, 1.0) * longest for _ in range(most))
                kills += typed.kill_until_it_ends([*words, "-o", str(output)], lives)
                seconds = typed.to_the_end([*words, "-o", str(output)])
                longest = longest or LONGEST * seconds
                assert answers(output) == answers(online)
                assert {one.name for one in folder.iterdir()} == {"out.jsonl", "out.jsonl.journal"}
                billed = [line["custom_id"] for line in invoice(url)]
                assert len(billed) == len(set(billed)) == lines + LINES
                runs, lines = runs + 1, len(billed)
    print(f"{wire}: {kills} kills in {runs} runs; {lines} lines billed, each once")


@frozen
class Typed:
    """Types a command, in processes that have nothing to import: that takes longer than a run."""

    forks: Forks
    notes: Path

    def to_the_end(self, words: list[str]) -> float:
        """Return the seconds that it took."""
        began = time.monotonic()
        code = self.forks.wait(self.forks.start(words, self.notes, None, 0))
        assert code == 0, self.notes.read_text()
        return time.monotonic() - began

    def kill_until_it_ends(self, words: list[str], lives: Iterable[float]) -> int:
        """Kill it after so many seconds each time; return the number of kills."""
        kills = 0
        for seconds in lives:
            process = self.forks.start(words, self.notes, None, 0)
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)  # if it has ended, it is not waited for yet
            code = self.forks.wait(process)
            if code != -signal.SIGKILL:
                assert code == 0, self.notes.read_text()
                break
            kills += 1
        return kills


@pytest.mark.parametrize("wire", ["gemini", "openai"])
def test_a_run_is_detached_from_looked_at_cancelled_and_gone_on_with(
    tmp_path: Path, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name, path = WIRES[wire]
    given, output = write_lines(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    with simulator("instant", "--calendar", "20") as url:
        monkeypatch.setenv(f"{name}_API_KEY", "sim-key")
        monkeypatch.setenv(f"{name}_BASE_URL", url + path)
        words = ["run", given, "-m", model, "--mode", "batch", "-o", output]
        code, _, err = run_program(*words, "--detach")
        assert code == 3
        assert f"40 requests are in 1 batch at {wire}; the same typed again goes on" in err
        code, out, _ = run_program("jobs", output)
        assert code == 0
        assert "running" in out
        assert "batch" in out.splitlines()[-1]
        code, out, _ = run_program("jobs", output, "--json")
        (job,) = json.loads(out)
        assert (job["number"], job["requests"], job["provider"]) == (1, LINES, wire)
        code, out, _ = run_program("jobs", output, "show", "1")
        assert "created: batch" in out
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


def test_what_an_interrupt_did_about_batches_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, output = write_lines(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    with simulator("instant") as url:
        monkeypatch.setenv("OPENAI_API_KEY", "sim-key")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        words = ["run", given, "-m", "openai:gpt-5-mini", "--mode", "batch", "-o", output]
        with program([*words, "--on-cancel", "cancel"]) as process:
            while "running" not in run_program("jobs", output)[1]:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            code, _, err = finish(process)
        assert code == 130
        assert "Warnings\n  1 batch is being cancelled at openai; the same typed again" in err
        assert "cancelling" in run_program("jobs", output)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "What is it?", "-m", "sim:default", "--mode", "batch"], "takes a file of prompts"),
        ("run in.jsonl -m sim:default --mode batch", "needs a journal"),
        ("run in.jsonl -m sim:default --detach -o o.jsonl", "give --mode batch too"),
        (
            "run in.jsonl -m ollama:g -m sim:instant --mode batch -o o.jsonl",
            "ollama has no batches in this version; leave --mode batch out to run online",
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
def test_what_cannot_work_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str | list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "in.jsonl")
    assert main(words.split() if isinstance(words, str) else words) == 2
    assert said in capsys.readouterr().err
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
