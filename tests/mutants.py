"""Halve and double each number of the pure policy, one at a time: which ones do no tests hold?

    python tests/mutants.py                 # all files; two at a time
    python tests/mutants.py noise cap_search

A survivor is a number that the tests would let anybody change. It needs a test of what it does, or
a line here that says why the table of `benchmarks.quota` holds it instead.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FILES = (
    "quota_search",
    "diagnosis",
    "cap_search",
    "noise",
    "cold_start",
    "cooldown",
    "fixed_cooldown",
    "adaptive",
    "send_log",
    "rate_meter",
    "windows",
    "overload",
    "concurrency_search",
    "reported/countdown",
    "backoff",
    "bucket",
)
TESTS = {
    "fixed_cooldown": ("fixed_cooldown", "rate_limiter"),
    "adaptive": ("rate_limiter", "rate_limiter_laws"),
    "windows": ("quota_search", "rate_limiter"),
    "reported/countdown": ("countdown",),
}
HELD_ELSEWHERE = {
    "backoff._SLICES": "its tenths are in the promise of the class, which its own tests check",
    "backoff._OF_CLOCKS": "covers roundings of the last bit; halved it is no factor near 1 at all",
    "bucket._SECOND": "the unit of the integer clock: any fine one behaves alike",
    "bucket._SLACK": "covers roundings of floats, far below all that is asserted",
    "rate_meter.LOOK_BACK": "halved or doubled, no row of the short table moves by half a point",
    "cold_start._ENOUGH": "beyond any number of calls that a process makes",
}


class Mutant(NamedTuple):
    file: str
    name: str
    line: int
    text: str

    @property
    def key(self) -> str:
        return f"{self.file}.{self.name}"


def mutants(file: str) -> list[Mutant]:
    """Find the numbers that a module names, and write each halved and doubled."""
    source = (ROOT / "batchllm" / "policy" / f"{file}.py").read_text()
    found = []
    for node in ast.parse(source).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case _:
                continue
        text = ast.unparse(value)
        try:
            number = eval(text, {})
        except NameError:
            continue
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            whole = isinstance(number, int)
            half = f"max(1, ({text}) // 2)" if whole else f"({text}) / 2"
            both = (half, f"({text}) * 2")
            found += [
                Mutant(file, name, node.lineno, each) for each in both if eval(each) != number
            ]
    return found


def survives(mutant: Mutant) -> bool:
    """Run the tests of a file against the mutant, in a copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("batchllm", "tests", "benchmarks"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, copy / part, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "batchllm" / "policy" / f"{mutant.file}.py"
        lines = path.read_text().splitlines(keepends=True)
        head = lines[mutant.line - 1].split("=")[0]
        lines[mutant.line - 1] = f"{head}= {mutant.text}\n"
        path.write_text("".join(lines))
        tests = [f"tests/policy/test_{each}.py" for each in TESTS.get(mutant.file, (mutant.file,))]
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            check=False,
            timeout=300,
        )
    return run.returncode == 0


def main(files: list[str]) -> int:
    """Print the survivors; the exit code is 1 if there are some that nothing else holds."""
    every = [mutant for file in files or FILES for mutant in mutants(file)]
    alive = missing = 0
    with ThreadPoolExecutor(2) as pool:
        for mutant, lives in zip(every, pool.map(survives, every), strict=True):
            if lives:
                why = HELD_ELSEWHERE.get(mutant.key)
                alive, missing = alive + 1, missing + (why is None)
                print(f"{mutant.key} = {mutant.text}: {why or 'survives'}", flush=True)
    print(f"{len(every)} mutants, {alive} survive, {missing} without a reason")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
