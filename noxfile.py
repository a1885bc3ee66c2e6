"""The checks of batchllm, each in an environment of its own: ``nox`` runs lint, types and tests."""

import os
import sys
from pathlib import Path

import nox

SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
PROJECT = nox.project.load_toml("pyproject.toml")

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_existing_virtualenvs = True

# pyenv offers every installed Python as a command, but runs only those that are named here.
_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
_installed = sorted(path.name for path in _pyenv.glob("3.*") if path.name[:4] in SUPPORTED)
os.environ.setdefault("PYENV_VERSION", ":".join([*_installed, "system"]))


@nox.session(python=sorted({*SUPPORTED, CURRENT}))
def tests(session: nox.Session) -> None:
    """Run the tests on every supported Python that is installed.

    The Python that runs nox has all the extras and measures the branch coverage; the others have
    none, which shows that the library stands without them.
    """
    if session.python != CURRENT:
        _install(session, ".", "test")
        session.run("pytest", *session.posargs)
        return
    _install(session, ".[all]", "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    whole_suite = not session.posargs
    session.run("coverage", "report", *(["--fail-under=95"] if whole_suite else []))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, the hazards of async code, and the layers."""
    _install(session, ".", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    # Off, as in ruff's settings: 109. Off, since they do not see what is called: 102, 120 (shields
    # that stand in the function awaited), 112, 912, 913 (loops that end, scopes that notice).
    # Off by taste: 114, 122, 124, 127, 900, 910, 911.
    numbers = [
        "102",
        "109",
        "112",
        "114",
        "120",
        "122",
        "124",
        "127",
        "900",
        "910",
        "911",
        "912",
        "913",
    ]
    off = "--disable=" + ",".join(f"ASYNC{number}" for number in numbers)
    session.run("flake8-async", "--anyio", off, *map(str, sorted(Path("batchllm").rglob("*.py"))))
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with two checkers, as a user of the package sees them."""
    _install(session, ".[all]", "test", "types")
    session.run("mypy", "batchllm", "tests/typing")
    # Told, since it would rather take a .venv that lies in the folder.
    session.run("basedpyright", "--pythonpath", str(Path(session.bin) / "python"))


@nox.session
def mutants(session: nox.Session) -> None:
    """Change each number of the pure policy and list those that no test holds."""
    _install(session, ".", "test")
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into site/."""
    _install(session, ".", "docs")
    session.run("zensical", "build", "--strict", "--config-file", ".zensical.toml")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: ``nox -s bench -- overhead`` runs benchmarks/overhead.py, without a name all run."""
    _install(session, ".[json,uvloop]", "bench")
    everything = sorted(
        path.stem for path in Path("benchmarks").glob("*.py") if not path.stem.startswith("_")
    )
    for name in session.posargs or everything:
        session.run("python", "-m", f"benchmarks.{name}")


@nox.session
def demo(session: nox.Session) -> None:
    """Send the example prompts through a simulated provider on a local port."""
    session.install("-e", ".")
    answers = os.path.join(session.create_tmp(), "answers.jsonl")
    session.run(
        "batchllm", "run", "docs/examples/prompts.jsonl", "-m", "sim:default", "-o", answers
    )


def _install(session: nox.Session, package: str, *groups: str) -> None:
    session.install("-e", package, *nox.project.dependency_groups(PROJECT, *groups))
