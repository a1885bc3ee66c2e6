"""Halve and double each number of the pure policy, one at a time: which ones do no tests hold?

    python tests/mutants.py                 # all files; as many at a time as there are cores
    python tests/mutants.py noise cap_search
    python tests/mutants.py --limiter       # what the rate limiter is made of

The number is changed as its module is imported, so that nothing is copied. Its tests have few
examples at first, and end at the first failure; what survives gets the whole of them.

A survivor is a number that the tests would let anybody change. It needs a test of what it does, or
a line here that says why the table of `benchmarks.quota` holds it instead.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]
LIMITER = (
    "quota_search",
    "probing",
    "diagnosis",
    "cap_search",
    "noise",
    "cold_start",
    "cooldown",
    "fixed_cooldown",
    "adaptive",
    "episodes",
    "send_log",
    "rate_meter",
    "windows",
    "overload",
    "concurrency_search",
    "reported/countdown",
    "bucket",
)
FILES = (*LIMITER, "outage", "budget", "hedge", "worst_case")
TESTS = {
    "fixed_cooldown": ("fixed_cooldown", "rate_limiter"),
    "probing": ("quota_search",),
    "adaptive": ("rate_limiter", "rate_limiter_laws"),
    "episodes": ("rate_limiter", "rate_limiter_laws"),
    "windows": ("quota_search", "rate_limiter"),
    "reported/countdown": ("countdown",),
}
HELD_ELSEWHERE = {
    "budget._UNITS": "the unit of the integer account: any fine one behaves alike",
    "bucket._SECOND": "the unit of the integer clock: any fine one behaves alike",
    "bucket._SLACK": "covers roundings of floats, far below all that is asserted",
    "rate_meter.LOOK_BACK": "halved or doubled, no row of the short table moves by half a point",
    "cold_start._ENOUGH": "beyond any number of calls that a process makes",
}


LONGEST = 300.0
"""Seconds for the tests of one file; a number without which they never end is held by that."""

Ending: TypeAlias = Literal["held", "survives"]


class Mutant(NamedTuple):
    file: str
    name: str
    line: int
    text: str
    """In place of the number; empty to leave it as it is."""

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


class Changed(SourceFileLoader):
    """Loads the module of a mutant, with its line changed."""

    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed source; there is no cached one."""
        lines = Path(self.path).read_text().splitlines(keepends=True)
        if self.mutant.text:
            at = self.mutant.line - 1
            lines[at] = f"{lines[at].split('=')[0]}= {self.mutant.text}\n"
        return compile("".join(lines), self.path, "exec", dont_inherit=True)


class Finder:
    """Finds the module of a mutant before Python does."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = f"batchllm.policy.{mutant.file.replace('/', '.')}"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the changed module's place, and none for any other."""
        spec = PathFinder.find_spec(name, path) if name == self.name else None
        if spec is not None and spec.origin is not None:
            loader = Changed(name, spec.origin)
            loader.mutant = self.mutant
            spec.loader, spec.cached = loader, None
        return spec


def run_tests(mutant: Mutant, *options: str) -> int:
    """Run the tests of a mutant in this process; return their exit code."""
    import pytest

    finder: Any = Finder(mutant)
    sys.meta_path.insert(0, finder)
    names = TESTS.get(mutant.file, (mutant.file,))
    tests = [f"tests/policy/test_{name}.py" for name in names]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *options, *tests]))


def ending(mutant: Mutant) -> Ending:
    """Say whether the tests of a file notice the mutant: with few examples, then with all."""
    for options in (("--hypothesis-profile=few",), ()):
        try:
            run = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(mutant), *options],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                check=False,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired:
            return "held"
        if run.returncode == 1:
            return "held"
        if run.returncode != 0:  # a test that is not there would hold every number
            raise RuntimeError(f"{mutant.key}: {run.stdout.decode()}{run.stderr.decode()}")
    return "survives"


def main(words: list[str]) -> int:
    """Print the survivors; the exit code is 1 if there are some that nothing else holds."""
    if words[:1] == ["--one"]:
        return run_tests(Mutant(*json.loads(words[1])), *words[2:])
    files = LIMITER if words == ["--limiter"] else words or FILES
    every = [mutant for file in files for mutant in mutants(file)]
    unchanged = [Mutant(file, "unchanged", 1, "") for file in files]
    alive: set[str] = set()
    missing = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, end in zip(unchanged, pool.map(ending, unchanged), strict=True):
            if end == "held":  # tests that fail by themselves would hold every number
                raise RuntimeError(f"the tests of {mutant.file} fail as it is")
        for mutant, end in zip(every, pool.map(ending, every), strict=True):
            if end == "survives":
                why = HELD_ELSEWHERE.get(mutant.key)
                alive.add(mutant.key)
                missing += why is None
                print(f"{mutant.key} = {mutant.text}: {why or end}", flush=True)
    numbers = {mutant.key for mutant in every}
    print(
        f"{len(numbers)} numbers in {len(every)} mutants; {len(numbers - alive)} are held, "
        f"{missing} mutants survive without a reason"
    )
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
