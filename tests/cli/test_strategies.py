"""The models behind ``-m``: opened by name, or refused in terms of the options."""

from typing import Any

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.settings import RunSettings
from batchllm.cli.strategies import (
    check_strategy,
    key_variables,
    open_strategy,
    parameters_of,
)

pytestmark = pytest.mark.anyio


def settings(**given: Any) -> RunSettings:
    return RunSettings(**{"model": ("sim:default",), **given})


async def opened(given: RunSettings) -> str:
    async with open_strategy(given) as strategy:
        return repr(strategy)


async def test_a_model_is_opened_by_name() -> None:
    """A provider's own address, another one, or a simulator that runs elsewhere."""
    assert "localhost:11434" in await opened(settings(model=("ollama:x",)))
    elsewhere = "http://127.0.0.1:9/v1"
    assert elsewhere in await opened(settings(model=("ollama:x",), base_url=elsewhere))
    assert elsewhere in await opened(settings(base_url=elsewhere))


async def test_a_key_comes_from_the_variable_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is never an argument, which other users of the machine could read."""
    monkeypatch.setenv("MY_KEY", "secret-value")
    shown = await opened(settings(model=("openai:x",), api_key_env="MY_KEY"))
    assert "openai" in shown
    assert "secret-value" not in shown
    with pytest.raises(UsageError, match="the environment variable NO_KEY is not set"):
        await opened(settings(model=("openai:x",), api_key_env="NO_KEY"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("openai:x", "set OPENAI_API_KEY, or give --api-key-env"),
        ("openai-compatible:x", "give --base-url, or set"),
        ("opnai:x", "did you mean 'openai'"),
        ("gpt", "names no provider"),
        ("sim:", "names no model"),
        ("sim:defalt", "--model sim:defalt: unknown scenario 'defalt', did you mean 'default'"),
        ("sim:quota?rmp=3", "unknown option 'rmp'"),
    ],
)
async def test_a_model_that_cannot_be_had_is_told(
    monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    """The sentence has the remedy in terms of options."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError) as caught:
        await opened(settings(model=(model,)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("top_p=0.9", 0.9),
        ('stop=["END"]', ["END"]),
        ("user=ann=lee", "ann=lee"),
        ("stop=", ""),
        ("store=true", True),
    ],
)
def test_parameters_are_read(word: str, value: Any) -> None:
    """As JSON if it is that, as text if not."""
    assert parameters_of([word]) == {word.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["top_p"], "give name=value"),
        (["=3"], "give name=value"),
        (["temperature=1"], "is not given by -p but by --temperature"),
        (["api_key=x"], "is not given by -p but by"),
        (["top_p=1", "top_p=2"], "top_p is given twice"),
    ],
)
def test_parameters_that_are_wrong_are_refused(words: list[str], message: str) -> None:
    """Each in a sentence."""
    with pytest.raises(UsageError) as caught:
        parameters_of(words)
    assert message in str(caught.value)


async def test_an_unknown_parameter_is_refused_by_its_name() -> None:
    """Before anything is sent, also in a dry run."""
    with pytest.raises(UsageError, match=r"""tip_p.* -p 'extra=\{"tip_p": …\}'"""):
        await opened(settings(model=("ollama:x",), parameter=("tip_p=1",)))
    await opened(settings(model=("ollama:x",), parameter=('extra={"tip_p": 1}',)))
    with pytest.raises(UsageError, match="tip_p"):
        check_strategy(settings(model=("openai:x",), parameter=("tip_p=1",)))


async def test_several_models_stand_in_for_each_other() -> None:
    """The next one answers where the first fails."""
    names = ("sim:strict", "sim:default")
    shown = await opened(settings(model=names))
    assert shown.startswith("Fallback(")


@pytest.mark.parametrize("given", [{"api_key_env": "MY_KEY"}, {"base_url": "http://host/v1"}])
async def test_a_key_or_address_is_for_one_provider(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's key was sent to Anthropic when that one took over."""
    monkeypatch.setenv("MY_KEY", "secret-value")
    several = settings(model=("openai:x", "anthropic:y"), **given)
    with pytest.raises(UsageError, match="cannot hold for openai and anthropic alike"):
        await opened(several)
    with pytest.raises(UsageError, match="cannot hold for openai and anthropic alike") as refused:
        check_strategy(several)
    kind = "API_KEY" if "api_key_env" in given else "BASE_URL"
    assert f"set OPENAI_{kind}, ANTHROPIC_{kind} in the environment" in str(refused.value)
    alike = settings(model=("openai:x", "openai-responses:y"), **{"api_key_env": "MY_KEY", **given})
    assert "Fallback" in await opened(alike)


def test_the_variables_of_keys_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the message about a key that is refused."""
    models = ("OpenAI:x", "sim:default", "azure:y", "openai:z")
    assert key_variables(settings(model=models)) == ["OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"]
    assert key_variables(settings(model=models, api_key_env="MY_KEY")) == ["MY_KEY"]


def test_a_dry_run_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """But everything else has to be in order."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    check_strategy(settings(model=("openai:x",)))
    with pytest.raises(UsageError, match="did you mean 'openai'"):
        check_strategy(settings(model=("opnai:x",)))
    with pytest.raises(UsageError, match="give --base-url"):
        check_strategy(settings(model=("openai-compatible:x",)))
