"""Halve and double each number of the pure modules, one at a time: which do no tests hold?

    python tests/mutants.py                 # all modules; as many at a time as there are cores
    python tests/mutants.py noise cap_search
    python tests/mutants.py --limiter       # what the rate limiter is made of
    python tests/mutants.py --list          # how many numbers each has, and where their tests are
    python tests/mutants.py --few           # a first look: survivors are not tried by all examples
    python tests/mutants.py --verbose       # also which test holds each number

The number is changed as its module is imported, so that nothing is copied; each child is forked
from a process that has imported whatever no number changes. Its tests run from the quickest to the
slowest with few examples, and end at the first failure; what survives gets all examples.

A survivor is a number that the tests would let anybody change. It needs a test of what it does, or
a line in `mutants_table.py` that says why it has none.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

ROOT = Path(__file__).parents[1]
if __name__ != "tests.mutants":
    sys.path[0] = str(ROOT)  # in place of the folder of tests, whose names are those of packages

from tests.mutants_table import HELD_ELSEWHERE, LIMITER, MODULES, TESTS  # noqa: E402

PRELOADED: Final = ("pytest", "hypothesis.stateful", "_hypothesis_pytestplugin", "anyio", "trio")
PRELOADED_OURS: Final = ("batchllm.core",)
"""Imported before the fork, so that a child takes 0.6 s in place of 2; no number of it changes."""
PLUGINS: Final = ("anyio", "_hypothesis_pytestplugin", "pytest_timeout")
LONGEST: Final = 120.0
"""Seconds for the tests of a module, or twenty times what they take with its numbers as they are; a
number without which they never end is held by that."""
_SMALL: Final = (0, 1, 2)
"""Within an expression: next, last, both, twice. Half of a one is no other number of the kind."""
_FEW: Final = "--hypothesis-profile=few"


class Mutant(NamedTuple):
    """One number of a module in place of another."""

    module: str
    name: str
    place: tuple[int | None, ...]
    """Where the expression begins and ends; empty for the module as it is."""
    text: str

    @property
    def key(self) -> str:
        return f"{self.module}.{self.name}"


class Outcome(NamedTuple):
    """The result of the tests of a mutant."""

    code: int
    seconds: dict[str, float]
    """Of each test that ran."""
    failed: str
    text: str


# -- the numbers of a module -----------------------------------------------------------------------


def mutants(module: str) -> list[Mutant]:
    """Find the numbers of a module, and write each halved and doubled."""
    tree = ast.parse((ROOT / "batchllm" / f"{module}.py").read_text(encoding="utf-8"))
    found = []
    for name, node in _numbers(tree):
        text = ast.unparse(node)
        number = eval(text)
        half = f"max(1, ({text}) // 2)" if isinstance(number, int) else f"({text}) / 2"
        changed = [each for each in (half, f"({text}) * 2") if eval(each) != number]
        found += [Mutant(module, name, _place(node), each) for each in changed]
    return found


def _place(node: ast.expr) -> tuple[int | None, ...]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _numbers(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield whatever is given a name in the module, then what stands within its functions."""
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from _named(target, value)
            case ast.Assign(targets=[target], value=value):
                yield from _named(target, value)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from _within(ast.Module([node], []), "")
            case _:
                pass


def _named(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for each, one in zip(targets, values, strict=True):
                yield from _named(each, one)
        case ast.Name(id=name), _ if _is_number(value):
            yield name, value
        case _:
            pass


def _within(node: ast.AST, name: str) -> Iterator[tuple[str, ast.expr]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for each in child.body:  # a default is the caller's to change, and documented
                    yield from _within(ast.Module([each], []), _inside(name, child.name))
            case ast.ClassDef():
                yield from _within(child, _inside(name, child.name))
            case ast.AnnAssign() if isinstance(node, ast.ClassDef):  # such a default, of a field
                pass
            case ast.Constant(value=int() | float() as number):
                if not isinstance(number, bool) and number not in _SMALL:
                    yield f"{name}:{number}", child
            case ast.Subscript():  # a place in a row or a name, and no quantity
                yield from _within(child.value, name)
            case _:
                yield from _within(child, name)


def _inside(outer: str, name: str) -> str:
    return f"{outer}.{name}" if outer else name


def _is_number(value: ast.expr) -> bool:
    try:
        number = eval(ast.unparse(value), {"__builtins__": {}})
    except Exception:  # whatever needs a name is no plain number
        return False
    return isinstance(number, (int, float)) and not isinstance(number, bool)


# -- a module with one of them changed -------------------------------------------------------------


class _Change(ast.NodeTransformer):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and _place(node) == self.mutant.place:
            changed = ast.parse(self.mutant.text, mode="eval").body
            return ast.copy_location(changed, node)
        return super().generic_visit(node)


class Changed(SourceFileLoader):
    """Loads the module of a mutant, with its number changed."""

    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the changed source; there is no cached one."""
        tree = ast.parse(Path(self.path).read_text(encoding="utf-8"))
        tree = ast.fix_missing_locations(_Change(self.mutant).visit(tree))
        return compile(tree, self.path, "exec", dont_inherit=True)


class Finder:
    """Finds the module of a mutant before Python does."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = f"batchllm.{mutant.module.replace('/', '.')}"

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


# -- its tests -------------------------------------------------------------------------------------


class Notes:
    """Orders the tests from the quickest to the slowest, and notes what each took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.before = seconds
        self.seconds: dict[str, float] = {}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Put first what took least."""
        items.sort(key=lambda item: self.before.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the seconds of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = report.nodeid


def run_tests(mutant: Mutant, options: list[str], seconds: dict[str, float], end: Any) -> None:
    """Run the tests of a mutant in this process, and send what they came to."""
    import pytest

    os.chdir(ROOT)
    if mutant.text:
        finder: Any = Finder(mutant)
        sys.meta_path.insert(0, finder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    output = os.memfd_create("output") if hasattr(os, "memfd_create") else os.open(os.devnull, 2)
    os.dup2(output, 1)
    os.dup2(output, 2)
    plugins = [word for name in PLUGINS for word in ("-p", name)]
    notes = Notes(seconds)
    code = pytest.main(
        [
            "-x",
            "-q",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            *plugins,
            *options,
            *files_of(mutant.module),
        ],
        plugins=[notes],
    )
    sys.stdout.flush()
    text = os.pread(output, 100_000, 0).decode() if code else ""
    end.send(Outcome(int(code), notes.seconds, notes.failed, text))


def files_of(module: str) -> list[str]:
    """Return the files of tests for a module: those named for it, or those that the table has."""
    folder, _, name = module.rpartition("/")
    chosen = TESTS.get(module, (f"{folder}/test_{name}",))
    return [
        f"tests/{file}.py{sep}{test}" for file, sep, test in (s.partition("::") for s in chosen)
    ]


def outcome(mutant: Mutant, seconds: dict[str, float], *options: str) -> Outcome:
    """Run the tests of a mutant in a process of its own; ``failed`` says what noticed it."""
    context: Any = multiprocessing.get_context("forkserver")
    here: Connection
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=run_tests, args=(mutant, list(options), seconds, there))
    child.start()
    there.close()
    try:
        if not here.poll(max(LONGEST, 20 * sum(seconds.values()))):
            return Outcome(1, {}, "(it never ends)", "")
        return here.recv()  # type: ignore[no-any-return]
    except EOFError:
        return Outcome(1, {}, "(the process ends)", "")
    finally:
        child.kill()
        child.join()
        here.close()


def noticed_by(mutant: Mutant, seconds: dict[str, float], *, few: bool) -> str:
    """Return which test notices the mutant, with few examples or with all; none is empty."""
    for options in ((_FEW,),) if few else ((_FEW,), ()):
        result = outcome(mutant, seconds, *options)
        if result.code == 1:
            return result.failed
        if result.code:  # a test that is not there would hold every number
            raise RuntimeError(f"{mutant.key} = {mutant.text}: {result.text}")
    return ""


def seconds_unchanged(modules: Sequence[str], pool: ThreadPoolExecutor) -> list[dict[str, float]]:
    """Return what each test of the modules takes; they have to pass with all numbers as they are.

    Raises:
        RuntimeError: Tests that fail by themselves would hold every number.
    """
    unchanged = [Mutant(module, "unchanged", (), "") for module in modules]
    results = list(pool.map(lambda one: outcome(one, {}, _FEW), unchanged))
    for module, result in zip(modules, results, strict=True):
        if result.code:
            raise RuntimeError(f"the tests of {module} fail as it is: {result.text}")
    return [result.seconds for result in results]


# -- all of them -----------------------------------------------------------------------------------


def try_all(found: dict[str, list[Mutant]], *, few: bool, verbose: bool) -> int:
    """Print the survivors and what is listed in vain; return how many that are."""
    begun, alive, wrong = time.monotonic(), set[tuple[Any, ...]](), 0
    every = [mutant for each in found.values() for mutant in each]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seconds = dict(zip(found, seconds_unchanged(list(found), pool), strict=True))
        ends = pool.map(
            lambda one: noticed_by(one, seconds[one.module], few=few or one.key in HELD_ELSEWHERE),
            every,
        )
        for mutant, end in zip(every, ends, strict=True):
            if not end:
                alive.add(mutant[:3])
                wrong += mutant.key not in HELD_ELSEWHERE
            if verbose or not end:
                why = end or HELD_ELSEWHERE.get(mutant.key, "survives")
                print(f"{mutant.key} = {mutant.text}: {why}", flush=True)
    numbers = {mutant[:3] for mutant in every}
    for key in HELD_ELSEWHERE.keys() & {f"{one[0]}.{one[1]}" for one in numbers - alive}:
        wrong += 1
        print(f"{key}: a test holds it; it needs no reason")
    print(
        f"{len(numbers)} numbers in {len(every)} mutants; {len(numbers - alive)} are held, "
        f"{wrong} are neither held nor listed rightly; {time.monotonic() - begun:.0f} s"
    )
    return wrong


def main(words: list[str]) -> int:
    """Run the check; the exit code is 1 if there are survivors without a reason."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *PRELOADED_OURS])
    names = [word for word in words if not word.startswith("-")]
    chosen = LIMITER if "--limiter" in words else MODULES
    chosen = tuple(one for one in chosen if not names or one.rpartition("/")[2] in names)
    found = {module: every for module in chosen if (every := mutants(module))}
    if "--list" in words:
        for module, every in found.items():
            count = len({mutant[:3] for mutant in every})
            print(f"{module}: {count} numbers, {' '.join(files_of(module))}")
        return 0
    return 1 if try_all(found, few="--few" in words, verbose="--verbose" in words) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
