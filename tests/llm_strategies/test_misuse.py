"""Misuse is named: what was given, and what to give."""

import asyncio
from typing import Any

import anyio
import pytest

from batchllm.api import run_batch
from batchllm.core import ConfigError, ProcessorConfig, load_config
from batchllm.llm_strategies import llm


def test_a_function_that_needs_asyncio_is_named_on_trio() -> None:
    """It is not tried again, and the error names the bridge."""
    calls: list[str] = []

    async def ask(prompt: str) -> str:
        calls.append(prompt)
        await asyncio.sleep(0.01)
        return "hi"

    async def main() -> Any:
        return await run_batch([("a", "x")], ask, config=ProcessorConfig())

    (result,) = anyio.run(main, backend="trio").results
    assert (result.error_category, len(calls)) == ("program_error", 1)
    assert "AsyncioBridge" in (result.error or "")
    (result,) = anyio.run(main, backend="asyncio").results
    assert result.output == "hi"


def test_arguments_of_a_wrong_kind_get_a_sentence() -> None:
    """A key that is a number, a list for a type, settings in place of a file."""
    wrong: Any = 123
    with pytest.raises(ConfigError, match="is an int; give it as a text"):
        llm("openai:m", api_key=wrong)
    with pytest.raises(ConfigError, match="is an int; give it as a text"):
        llm("openai:m", api_key="k", headers={"x-team": wrong})
    kind: Any = [str]
    with pytest.raises(ConfigError, match=r"output is \[<class 'str'>\], a list; give a type"):
        llm("sim:default", output=kind)
    kind = "Town"
    with pytest.raises(ConfigError, match=r"output is 'Town', a str; give a type"):
        llm("sim:default", output=kind)
    settings: Any = {}
    with pytest.raises(ConfigError, match=r"path is a dict; give the name of a file"):
        load_config(settings)
