"""The checks of batchllm, each in an environment of its own: ``nox`` runs lint, types and tests."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
PROJECT = nox.project.load_toml("pyproject.toml")

# Benchmarks that read what a run left, and so cannot run without arguments.
_COMPARES_FILES = ["reconcile"]

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.reuse_existing_virtualenvs = True

# Where this is set, as in many containers, each of the suite's 200 processes would compile the
# whole package again: 0.45 s of CPU each, and 9 s for each worker that collects the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# pyenv offers every installed Python as a command, but runs only those that are named here.
_pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
_installed = sorted(path.name for path in _pyenv.glob("3.*") if path.name[:4] in SUPPORTED)
os.environ.setdefault("PYENV_VERSION", ":".join([*_installed, "system"]))


def _runs(version: str) -> bool:
    command = shutil.which(f"python{version}")
    return command is not None and subprocess.run([command, "-c", ""], check=False).returncode == 0


OTHERS = [version for version in SUPPORTED if version != CURRENT]
_minor = sys.version_info.minor
FARTHEST = max(
    filter(_runs, OTHERS), key=lambda version: abs(int(version[2:]) - _minor), default=OTHERS[0]
)


# One process for each core and one more, since the tests with sockets and processes wait for two
# minutes in all; at most 8, since each imports everything anew. Each begins with a stretch of
# neighbours, which share imports and caches, and then takes from the others what is left, since a
# test takes from a millisecond to some seconds.
PARALLEL = [f"--numprocesses={min((os.cpu_count() or 1) + 1, 8)}", "--dist=worksteal"]
# Beside the tests, for a few files that wait for nothing: each process collects all of them anew.
BESIDE = [f"--numprocesses={min(os.cpu_count() or 1, 8)}", "--dist=worksteal"]
CORE = [f"tests/{name}" for name in ("api", "core", "engine", "gate", "policy", "testing")]

# Minutes of virtual time and counts of objects, for the sake of what comes out on average: the
# arithmetic of a limiter is the same on each Python. How tasks end, and when, may not be.
SAME_ON_EACH_PYTHON = [
    f"--ignore=tests/{name}.py"
    for name in (
        "engine/test_constant_memory",
        "engine/test_outages",
        "gate/test_declared",
        "gate/test_faults",
        "policy/test_rate_limiter",
        "policy/test_reported",
    )
]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite once, on the Python that runs nox, with all extras."""
    _install(session, ".[all]", "test")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the branch coverage of the whole suite; on Python 3.11 it costs more than the tests.

    Tracing took 656 s of CPU where the tests alone take 264, so it is no part of each run.
    """
    _install(session, ".[all]", "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *PARALLEL, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    whole_suite = not session.posargs
    session.run("coverage", "report", *(["--fail-under=95"] if whole_suite else []))


@nox.session(python=OTHERS)
def matrix(session: nox.Session) -> None:
    """Run the tests on the other supported Pythons, without extras: the library stands alone."""
    _install(session, ".", "test")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(python=FARTHEST)
def core(session: nox.Session) -> None:
    """Run the tests of the core on one more Python, without extras: the one least like this one.

    A fifth of the examples will do: they are the same ones that ``tests`` has tried.
    """
    _install(session, ".", "test")
    chosen = session.posargs or [*SAME_ON_EACH_PYTHON, *CORE]
    session.run("pytest", *BESIDE, "--hypothesis-profile=few", *chosen)


@nox.session(python=SUPPORTED[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that are declared, on the lowest Python.

    pip always takes the highest; uv raises a declared version only where another one needs it.
    """
    session.install("uv")
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.run("uv", "pip", "install", "--resolution=lowest-direct", "-e", ".[all]", *groups)
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it as users do, and run tests against it, away from the sources."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder / "away", ignore_errors=True)
    session.run("pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder / "dist"), ".")
    newest = max((folder / "dist").glob("batchllm-*.whl"), key=lambda file: file.stat().st_mtime)
    session.install("--force-reinstall", "--no-deps", str(newest))
    session.install(str(newest), *nox.project.dependency_groups(PROJECT, "test"))
    for name in ("tests", "benchmarks", "docs"):  # whatever the tests read, but not the package
        shutil.copytree(name, folder / "away" / name)
    shutil.copy("pyproject.toml", folder / "away")
    with session.chdir(folder / "away"):
        session.run("pytest", *PARALLEL, *(session.posargs or CORE))
        session.run("batchllm", "--version")
        session.run(
            *("batchllm", "run", "docs/examples/prompts.jsonl", "-m", "sim:default"),
            *("-o", "answers.jsonl", "--overwrite"),
        )


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
    # It takes 0.08 s for a file and uses one core: a share of the files for each core, and only of
    # those that have what its rules are about, a third of them all.
    about = re.compile(r"\basync\b|\bawait\b|\banyio\b|BaseException|except:|ExceptionGroup")
    files = [
        str(path)
        for path in sorted(Path("batchllm").rglob("*.py"))
        if about.search(path.read_text(encoding="utf-8"))
    ]
    cores = min(os.cpu_count() or 1, 8)
    rules = ("python", "-m", "tests.async_rules", "--anyio", off)
    shares = [(*rules, *files[first::cores]) for first in range(cores)]
    _run_side_by_side(session, *shares, ("lint-imports",))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with two checkers, as a user of the package sees them."""
    _install(session, ".[all]", "test", "types")
    # Else it would take a .venv that lies in the folder.
    python = ("--pythonpath", str(Path(session.bin) / "python"))
    _run_side_by_side(session, ("mypy", "batchllm", "tests/typing"), ("basedpyright", *python))


@nox.session
def mutants(session: nox.Session) -> None:
    """Change each number of the pure modules, and list those that no test holds."""
    _install(session, ".", "test")
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into site/, run what stands on them, and print how much that is."""
    _install(session, ".[all]", "test", "docs")
    session.run("zensical", "build", "--strict", "--config-file", ".zensical.toml")
    session.run(
        "pytest", "tests/test_pages.py", "tests/test_project.py", "tests/e2e/test_snippets.py"
    )
    session.run("python", "-m", "tests.reference_pages", "--count")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: ``nox -s bench -- overhead --quick`` runs benchmarks/overhead.py with that option.

    Several names run one after the other; without a name all do that need no arguments. What a
    benchmark misses of its goals is no error of the session: the figures are of this machine.
    """
    _install(session, ".[json,uvloop]", "bench")
    found = [*Path("benchmarks").glob("[!_]*.py"), *Path("benchmarks").glob("*/__main__.py")]
    everything = sorted(
        name
        for name in (path.parent.name if path.stem == "__main__" else path.stem for path in found)
        if name not in _COMPARES_FILES
    )
    names = [given for given in session.posargs if not given.startswith("-")]
    options = [given for given in session.posargs if given.startswith("-")]
    for name in names or everything:
        session.run("python", "-m", f"benchmarks.{name}", *options, success_codes=[0, 1])


@nox.session
def real(session: nox.Session) -> None:
    """Run against servers that others wrote, in real time: ``nox -s real -- -k mock-openai``."""
    _install(session, ".[all]", "test")
    servers = Path(session.virtualenv.location).parent / "real-servers"
    session.run("python", "-m", "tests.real.install", str(servers))
    session.run(
        "pytest", "tests/real", *session.posargs, env={"BATCHLLM_REAL_SERVERS": str(servers)}
    )


@nox.session
def browser(session: nox.Session) -> None:
    """Open a report and the site in Chromium: ``BATCHLLM_BROWSER`` names it, else one is found.

    If there is none, ``playwright install chromium`` brings Playwright's own.
    """
    _install(session, ".[all]", "test", "browser", "docs")
    chosen = os.environ.get("BATCHLLM_BROWSER", "found")
    session.run("pytest", "tests/browser", *session.posargs, env={"BATCHLLM_BROWSER": chosen})


@nox.session
def ray(session: nox.Session) -> None:
    """Run on a cluster of Ray on this machine, with actors that are killed, in real time.

    The extra takes 400 MB, so no other session has it.
    """
    _install(session, ".[ray]", "test")
    session.run("pytest", "tests/ray_cluster", *session.posargs, env={"BATCHLLM_RAY": "1"})


@nox.session
def record(session: nox.Session) -> None:
    """Record the session of docs/recorded-session.md anew: text, and pictures of terminals."""
    _install(session, ".", "record")
    session.run("python", "docs/recordings/record.py")


@nox.session
def kills(session: nox.Session) -> None:
    """Kill the command line at random moments, and go on each time.

    50 times on each backend, and 200 times on the wire of each provider that has batches:
    ``nox -s kills -- 5`` for a tenth of that. It takes most of an hour.
    """
    _install(session, ".", "test")
    count = int(session.posargs[0]) if session.posargs else 50
    env = {"BATCHLLM_KILLS": f"{count}", "BATCHLLM_BATCH_KILLS": f"{4 * count}"}
    files = ("tests/e2e/test_kill.py", "tests/e2e/test_batch_kill.py")
    session.run("pytest", *files, "-rP", "--timeout=7200", env=env)


@nox.session
def demo(session: nox.Session) -> None:
    """Send the example prompts through a simulated provider on a local port."""
    session.install("-e", ".")
    answers = os.path.join(session.create_tmp(), "answers.jsonl")
    session.run(
        "batchllm", "run", "docs/examples/prompts.jsonl", "-m", "sim:default", "-o", answers
    )


def _install(session: nox.Session, package: str, *groups: str) -> None:
    """Install the package and groups of others, unless the same was done in this environment.

    pip takes 3 s of CPU to build the package's metadata anew and to find all the others there.
    """
    wanted = ["-e", package, *nox.project.dependency_groups(PROJECT, *groups)]
    files = [Path("pyproject.toml"), Path(PROJECT["tool"]["hatch"]["version"]["path"])]
    state = "\n".join([os.getcwd(), *wanted, *(file.read_text(encoding="utf-8") for file in files)])
    done = Path(session.virtualenv.location, "installed.txt")
    if done.exists() and done.read_text(encoding="utf-8") == state:
        return
    session.install(*wanted)
    # With --no-install, for which -R stands as well, nothing was: nor is this run then.
    if session.run_install("python", "-V", silent=True, log=False) is not None:
        done.write_text(state, encoding="utf-8")


def _run_side_by_side(session: nox.Session, *commands: tuple[str, ...]) -> None:
    """Run commands that use one core each, as many at once as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda command: session.run(*command), commands))
