"""The start of commands: they load nothing that they do not need, and none of it is collected.

Modules take most of the time of a short command, and one import is enough to bring many of them
back. So those that take long are listed here, by who does without them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import batchllm

COMMANDS = (
    *("run", "estimate", "status", "jobs", "show", "export", "gc", "report", "init", "models"),
    *("serve-sim", "serve-gate", "completion"),
)

NOT_FOR_A_RUN = (
    # Libraries, for foreign clients, terminals and templates, and modules that bring many more.
    *("click", "email.message", "gzip", "h11", "httpx", "httpx2", "importlib.metadata", "jinja2"),
    *("pygments", "rich", "tomllib", "trio"),
    # Ours, for batches of the provider, other providers, typed answers, and --share.
    *("batchllm.api.batch_mode", "batchllm.cli.live_display", "batchllm.cli.schemas"),
    *("batchllm.llm_strategies.gemini", "batchllm.llm_strategies.output"),
    *("batchllm.observers.otel", "batchllm.policy.lease_book", "batchllm.provider_batch.states"),
    *("batchllm.providers.adapters", "batchllm.providers.anthropic", "batchllm.providers.gemini"),
    *("batchllm.shared", "batchllm.simulator.batches", "batchllm.simulator.inprocess"),
    "batchllm.structured.convert",
)


def loaded_by(program: str, *arguments: str) -> set[str]:
    """Return the modules that *program* loads in a fresh process."""
    begin = "import sys; there = {*sys.modules}"
    end = "print('', *({*sys.modules} - there), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", f"{begin}\n{program}\n{end}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(batchllm.__file__).parents[1],
    )
    return set(done.stdout.splitlines())


def loaded_by_commands(*commands: Sequence[object]) -> set[str]:
    """Return the modules that a fresh process has loaded after all *commands*."""
    program = (
        "import json, sys; from batchllm.cli import main\n"
        "for words in json.loads(sys.argv[1]): main(words)"
    )
    return loaded_by(program, json.dumps([list(map(str, words)) for words in commands]))


def of(loaded: set[str], *names: str) -> set[str]:
    """Return the modules that have one of *names*, or lie in the folder of that name."""
    return {one for one in loaded for name in names if f"{one}.".startswith(f"{name}.")}


def test_help_and_a_mistyped_command_load_no_part_of_the_library() -> None:
    """All commands and their options are there without what they do."""
    helps = [[name, "--help"] for name in COMMANDS]
    loaded = loaded_by_commands(["--help"], *helps, ["rnu"], ["run", "--rpm", "x"])
    own = of(loaded, "batchllm")
    assert own - of(own, "batchllm.cli") == {"batchllm", "batchllm.on_demand", "batchllm.version"}
    assert not of(loaded, "anyio", "asyncio", "cattrs", "httpx", "jinja2", "trio")


def test_a_run_loads_what_it_uses(tmp_path: Path) -> None:
    """Off a terminal and online, with a journal and an output; the simulator's server has h11."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "Hi"}\n')
    rows = tmp_path / "out.jsonl"
    loaded = loaded_by_commands(["run", tmp_path / "in.jsonl", "-m", "sim:instant", "-o", rows])
    assert len(rows.read_text().splitlines()) == 1
    assert of(loaded, *NOT_FOR_A_RUN) <= of(loaded, "h11")
    loaded = loaded_by_commands(
        ["estimate", tmp_path / "in.jsonl", "-m", "sim:instant"],
        *([name, rows] for name in ("status", "export")),
        ["show", rows, "line-1"],
    )
    assert not of(loaded, *NOT_FOR_A_RUN, "batchllm.engine.run", "batchllm.simulator.simulator")


def test_a_batch_in_a_program_loads_what_it_uses() -> None:
    """A function as strategy needs no provider, and nothing of the command line."""
    program = """
from batchllm import run_batch_sync
async def answer(prompt): return prompt.upper()
assert [one.output for one in run_batch_sync(["a", "b"], answer)] == ["A", "B"]
"""
    loaded = loaded_by(program)
    not_for_functions = (
        "batchllm.cli",
        "batchllm.journal.reader",
        "batchllm.simulator",
        "cyclopts",
    )
    assert not of(loaded, *NOT_FOR_A_RUN, *not_for_functions)


def figures(program: str) -> Any:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_collector_passes_over_what_the_program_has_loaded() -> None:
    """In a process of its own, that is: what belongs to a caller of ``main`` is left alone."""
    program = """
import gc, json, sys
from batchllm.cli import main
main(["models", "sim"])
called = gc.get_freeze_count()
sys.argv = ["batchllm", "models", "sim"]
main()
print(json.dumps([called, gc.get_freeze_count(), gc.isenabled()]))
"""
    called, own, is_enabled = figures(program)
    assert called == 0 < own
    assert is_enabled
