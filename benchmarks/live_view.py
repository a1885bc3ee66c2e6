"""The cost of the live view: ``python -m benchmarks.live_view``.

The command runs on a terminal, in turns with the view and with ``--quiet``, at a pace that makes it
last half a minute. The goals are 5 % of a core, and 4 redraws a second; the exit code is 1 if one
is missed. It needs pseudo-terminals, which Windows does not have.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from attrs import frozen

from benchmarks._report import machine, table

_PER_MINUTE = 2_000
_CPU_GOAL, _REDRAWS_GOAL = 5.0, 4.0
_CURSOR_UP = b"\x1b[1A"


@frozen
class Run:
    """One run: seconds by the clock, of CPU, and how often the view was drawn."""

    seconds: float
    cpu: float
    redraws: int


def run(folder: Path, count: int, *, quiet: bool) -> Run:
    """Run the command on a terminal of 100 columns."""
    prompts, output = folder / "prompts.jsonl", folder / "answers.jsonl"
    lines = (json.dumps({"prompt": f"Say number {n}."}) for n in range(count))
    prompts.write_text("\n".join(lines), encoding="utf-8")
    command = [
        sys.executable, "-m", "batchllm", "run", str(prompts), "-o", str(output), "--overwrite",
        "-m", "sim:default", "--rpm", str(_PER_MINUTE), *(["--quiet"] if quiet else []),
    ]  # fmt: skip
    begun = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm", COLUMNS="100")
        os.execv(command[0], command)
    redraws = 0
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # the way in which Linux reports the end
            break
        # One redraw moves the cursor up line by line, in one write.
        redraws += _CURSOR_UP in data
    _, status, used = os.wait4(child, 0)
    os.close(terminal)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command} failed")
    return Run(time.perf_counter() - begun, used.ru_utime + used.ru_stime, redraws)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of ten seconds")
    options = parser.parse_args()
    count, rounds = (_PER_MINUTE // 6, 1) if options.quick else (int(_PER_MINUTE * 0.55), 0)
    pairs: list[tuple[Run, Run]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for _ in range(rounds or options.rounds):
            folder = Path(temporary)
            pairs.append((run(folder, count, quiet=True), run(folder, count, quiet=False)))
    added = [100 * (view.cpu - quiet.cpu) / view.seconds for quiet, view in pairs]
    drawn = [view.redraws / view.seconds for _, view in pairs]
    rows = [
        [n, quiet.seconds, quiet.cpu, view.seconds, view.cpu, more, rate]
        for n, ((quiet, view), more, rate) in enumerate(zip(pairs, added, drawn, strict=True), 1)
    ]
    head = ["round", "quiet s", "CPU s", "view s", "CPU s", "% of a core", "redraws/s"]
    print(machine())
    print(table(head, rows))
    cost, rate = median(added), median(drawn)
    print(f"\nThe view costs {cost:.1f} % of a core (goal {_CPU_GOAL:g} %), {rate:.1f} redraws/s.")
    return 0 if cost <= _CPU_GOAL and rate <= _REDRAWS_GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
