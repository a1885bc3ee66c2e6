"""Strategies that are copied, or go to another process."""

import copy
import pickle
from typing import Any

import attrs
import pytest

from batchllm import run_batch
from batchllm.core import ConfigError
from batchllm.llm_strategies import llm
from batchllm.providers import ChatModel
from batchllm.transport import HttpTransport

KEY = "sk-very-secret-1"
NAMES = {
    "openai:m": "OPENAI_API_KEY",
    "openai-responses:m": "OPENAI_API_KEY",
    "anthropic:m": "ANTHROPIC_API_KEY",
    "gemini:m": "GEMINI_API_KEY",
    "groq:m": "GROQ_API_KEY",
}


@attrs.frozen
class Town:
    name: str


def client_of(strategy: Any) -> Any:
    model = strategy.model
    return model.client.http if hasattr(model, "client") else model._client


def headers_of(strategy: Any) -> dict[bytes, bytes]:
    return dict(client_of(strategy)._head.fields())


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_strategy_reads_its_key_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle has no key; where it is read, the environment has one, or the error names it."""
    for variable in set(NAMES.values()):
        monkeypatch.delenv(variable, raising=False)
    first = llm(
        name, api_key=KEY, headers={"user-agent": "mine"}, system="be kind", temperature=0.5
    )
    packed = pickle.dumps(first)
    assert KEY.encode() not in packed
    with pytest.raises(ConfigError, match=NAMES[name]):
        pickle.loads(packed)
    monkeypatch.setenv(NAMES[name], KEY)
    second = pickle.loads(packed)
    assert headers_of(second) == headers_of(first)
    assert second.identity() == first.identity()
    assert headers_of(pickle.loads(pickle.dumps(second))) == headers_of(first)
    assert KEY not in repr(vars(second)) + repr(vars(client_of(second)))


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_shares_the_connections(name: str) -> None:
    """A client serves any number of strategies at once, so that a copy needs none of its own."""
    first = llm(name, api_key=KEY)
    second = copy.deepcopy(first)
    assert second is not first
    assert client_of(second) is client_of(first)
    assert second._generate.__self__ is second.model


def test_settings_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output types and a transport of ours, with its own settings."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    strategy = llm("openai:m", output=Town, http=HttpTransport(replay=False))
    for other in (pickle.loads(pickle.dumps(strategy)), copy.deepcopy(strategy)):
        assert other.identity() == strategy.identity()


def test_what_cannot_go_is_named() -> None:
    """A key of unknown origin is neither written down nor dropped in silence."""
    model = ChatModel("m", api_key=KEY)
    with pytest.raises(TypeError, match="header 'authorization' was given"):
        pickle.dumps(model)
    with pytest.raises(TypeError, match="header 'x-team' was given"):
        pickle.dumps(llm("openai:m", api_key=KEY, headers={"x-team": "a-team"}))
    assert copy.deepcopy(model)._client is model._client


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["sim:default", "sim:flaky?latency=0.1"])
async def test_the_simulator_begins_anew_elsewhere(name: str) -> None:
    """A program that is tried out without a key sends its strategy to workers, too."""
    strategy = llm(name)
    other = pickle.loads(pickle.dumps(strategy))
    assert other.identity() == strategy.identity()
    there, here = await run_batch(["hi"], other), await run_batch(["hi"], strategy)
    assert there.outputs == here.outputs
