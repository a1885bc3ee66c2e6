"""Every program and command of the pages runs as pasted, against the simulator over sockets."""

from __future__ import annotations

import ast
import inspect
import runpy
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from logging import ERROR
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from batchllm.cli import main
from batchllm.simulator import Simulator, serve
from tests.pages import PAGES, ROOT, Block, blocks, printed_after, programs, shells

pytestmark = pytest.mark.skipif(
    find_spec("openai") is None, reason="the programs of the pages use the extras"
)

PROVIDERS = ("OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "OPENROUTER", "MISTRAL", "DEEPSEEK")
LANGUAGES = {"python", "sh", "text", "toml", "json", "jsonl", "yaml", "csv", "html"}
SCRIPTS = sorted((ROOT / "docs" / "examples").glob("*.py"))
ALL_PROGRAMS = [program for page in PAGES for program in programs(page)]
ALL_SHELLS = [group for page in PAGES for group in shells(page)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve every wire of the simulator from a thread while the tests of this file run."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve(Simulator("instant"))) as server,
    ):
        yield server.url


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Path:
    """Give a reader's folder: the example files, and keys and addresses of the simulator."""
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    for file in (ROOT / "docs" / "examples").glob("*.*"):
        shutil.copy(file, tmp_path)
    for provider in PROVIDERS:
        monkeypatch.setenv(f"{provider}_BASE_URL", address)
        monkeypatch.setenv(f"{provider}_API_KEY", "sk-simulated")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str, where: Block, names: dict[str, Any]) -> None:
    """Run a block in *names*, awaiting what it awaits at its top level."""
    # Blank lines before it, so that a traceback names the line of the page.
    text = "\n" * where.line + code
    compiled = compile(text, str(where), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not compiled.co_flags & inspect.CO_COROUTINE:
        exec(compiled, names)
        return

    async def awaited() -> None:
        await eval(compiled, names)

    anyio.run(awaited)


@pytest.mark.parametrize("program", ALL_PROGRAMS, ids=lambda program: str(program[0]))
@pytest.mark.usefixtures("reader")
def test_a_program_of_a_page_runs(
    program: list[Block], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """With the blocks that go on from it; what the page says it printed, it prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in program:
        capsys.readouterr()
        run(block.code, block, names)
        if (expected := printed_after(block)) is not None:
            assert capsys.readouterr().out == expected
    if program[0].mark == "logs-errors":
        return
    # An error in a page's own strategy or hook fails items, and is logged; it raises nothing.
    assert [record.getMessage() for record in caplog.records if record.levelno >= ERROR] == []


@pytest.mark.parametrize("group", ALL_SHELLS, ids=lambda group: str(group[0]))
@pytest.mark.usefixtures("reader")
def test_the_commands_of_a_page_run(group: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    """Each with exit code 0, or its block's last one with the code that the page says."""
    for block in group:
        capsys.readouterr()
        codes = [command(line) for line in lines(block.code)]
        wanted = int(block.value) if block.mark == "exit" else 0
        assert codes == [*[0] * (len(codes) - 1), wanted], capsys.readouterr().err
        if (expected := printed_after(block)) is not None:
            assert capsys.readouterr().out == expected


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.usefixtures("reader")
def test_an_example_runs(script: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each script of the examples, by itself."""
    runpy.run_path(str(script), run_name="__main__")
    assert [record.getMessage() for record in caplog.records if record.levelno >= ERROR] == []


def lines(code: str) -> list[str]:
    """Return the commands of a block, each on one line and without comments."""
    joined = code.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def command(line: str) -> int:
    """Run one ``batchllm`` command of a page in this process; return its exit code."""
    program, *arguments = shlex.split(line, comments=True)
    if "|" in arguments:  # what another program makes of the output is not ours
        del arguments[arguments.index("|") :]
    assert program == "batchllm", f"{line!r} needs the mark 'not-run' with a reason"
    with suppress(SystemExit):
        return main(arguments)
    return 0


def test_each_block_has_a_language_and_each_unrun_one_a_reason() -> None:
    """A block without a language would be left out silently."""
    bad = [
        str(block)
        for page in PAGES
        for block in blocks(page)
        if (block.language not in LANGUAGES) or (block.mark == "not-run" and not block.value)
    ]
    assert bad == []
