"""The cost of a row of a file: ``python -m benchmarks.cli_rows``.

``batchllm run rows.jsonl -m openai-compatible:m -o answers.jsonl`` on a file of 20,000 rows, as one
types it, against a server in a process of its own that answers after 100 ms. Rows per second and
CPU per row of the whole command, start-up included; start-up is measured apart, with one row. The
exit code is 1 if a row is lost.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks._chat_server import ChatServer, chat_server
from benchmarks._report import LOOPS, machine, table


@frozen
class Run:
    """The outcome of one command: seconds by the clock and of CPU, and rows with their answer."""

    seconds: float
    cpu: float
    answered: int


def run(folder: Path, rows: int, loop: str, in_flight: int, server: ChatServer) -> Run:
    """Run the command once."""
    source, output = folder / f"rows-{rows}.jsonl", folder / "answers.jsonl"
    if not source.exists():
        with source.open("w", encoding="utf-8") as file:
            for number in range(rows):
                prompt = f"Say something about the number {number}."
                file.write(json.dumps({"id": f"r{number}", "prompt": prompt}) + "\n")
    for old in folder.glob(f"{output.name}*"):
        old.unlink()
    command = [sys.executable, "-m", "batchllm", "run", str(source)]
    command += ["-m", "openai-compatible:m", "--base-url", server.base_url(0.1, tls=False)]
    command += ["-o", str(output), "--quiet", "--backend", loop]
    command += ["--concurrency", str(in_flight)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    environment = {**os.environ, "OPENAI_COMPATIBLE_API_KEY": "k"}
    # As it is once installed: some development set-ups compile every module anew at each start,
    # which costs as much again as to load it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    subprocess.run(command, env=environment, check=False)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with output.open(encoding="utf-8") as file:
        answered = len({row["id"] for row in map(json.loads, file) if row["success"]})
    return Run(seconds, cpu, answered)


def main() -> int:
    """Print the table; 1 if a row is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=200)
    asked = parser.parse_args()
    rounds, rows = (1, 2_000) if asked.quick else (asked.rounds, asked.rows)
    loops = [
        loop for loop in LOOPS if loop != "uvloop" or importlib.util.find_spec("uvloop") is not None
    ]
    found: dict[str, list[Run]] = {loop: [] for loop in loops}
    starts: dict[str, list[Run]] = {loop: [] for loop in loops}
    with chat_server() as server, tempfile.TemporaryDirectory() as name:
        run(Path(name), 1, loops[0], 1, server)  # compiles
        for _ in range(rounds):
            for loop in loops:
                starts[loop].append(run(Path(name), 1, loop, 1, server))
                found[loop].append(run(Path(name), rows, loop, asked.in_flight, server))
    lines: list[tuple[object, ...]] = []
    for loop, runs in found.items():
        start = median(each.cpu for each in starts[loop])
        cpu = median(each.cpu for each in runs)
        seconds = median(each.seconds for each in runs)
        per_row = (cpu - start) / rows * 1e3
        lost = sum(rows - each.answered for each in runs)
        lines.append((loop, seconds, f"{rows / seconds:,.0f}", f"{per_row:.3f}", start, lost))
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}; server in {server.kind}, 100 ms a reply")
    print(f"{rows:,} rows, {asked.in_flight} in flight, medians of {rounds} rounds")
    head = ("batchllm run", "s", "rows/s", "ms CPU a row", "s CPU to start", "lost")
    print(table(head, lines), flush=True)
    return int(any(line[-1] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
