from typing import Any

import pytest

from batchllm.core import LLMCallStrategy, Reply, RetryState, ServerHint

pytestmark = pytest.mark.anyio


class Echo(LLMCallStrategy[str]):
    async def execute(
        self, prompt: Any, attempt: int, timeout: float, state: Any = None
    ) -> tuple[str, Any]:
        state.set("seen", (prompt, attempt, timeout))
        return prompt, {"prompt_tokens": 3}


class Guard:
    """The engine's side, that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def progress(self) -> None:
        self.asked.append("progress")

    def observe(self, hint: ServerHint) -> None:
        self.asked.append(hint)

    async def call(self, inner: Any, prompt: Any, attempt: int, timeout: float) -> Reply:
        self.asked.append((inner, prompt, attempt, timeout))
        return Reply("guarded", None, None)


def test_it_is_a_small_dictionary() -> None:
    """It gives back the stored object itself, and forgets without complaint."""
    state, kept = RetryState(), [1]
    assert state
    state.set("a", kept)
    assert state.get("a") is kept
    assert "a" in state
    assert "b" not in state
    assert (state.get("b"), state.get("b", 3)) == (None, 3)
    state.delete("a")
    state.delete("a")
    assert "a" not in state
    state.set("b", 1)
    state.set("a", "secret")
    assert repr(state) == "RetryState(['a', 'b'])"
    state.clear()
    assert "b" not in state
    assert state


def test_it_may_share_the_values_it_is_given() -> None:
    """A view on the same memory, for the next attempt of the same item."""
    values = {"a": 1}
    RetryState(values).set("b", 2)
    assert values == {"a": 1, "b": 2}


async def test_one_made_by_hand_calls_the_strategy() -> None:
    """Composites can be tested without an engine."""
    state, hint = RetryState(), ServerHint(wait=1.0)
    state.progress()
    state.observe(hint)
    reply = await state.call(Echo(), "hi", 2, 3.0)
    assert reply == ("hi", {"input_tokens": 3, "total_tokens": 3}, None)
    assert state.get("seen") == ("hi", 2, 3.0)


async def test_one_of_the_engine_hands_on_to_it() -> None:
    """Calls, progress and hints reach the guard."""
    guard, echo, hint = Guard(), Echo(), ServerHint(wait=1.0)
    state = RetryState(_guard=guard)
    state.progress()
    state.observe(hint)
    assert (await state.call(echo, "hi", 2, 3.0)).output == "guarded"
    assert guard.asked == ["progress", hint, (echo, "hi", 2, 3.0)]


def test_replies_of_every_shape_are_read() -> None:
    """Two or three parts, with usage of any provider."""
    usage = {"input_tokens": 1, "total_tokens": 1}
    assert Reply.read(("x", {"prompt_tokens": 1})) == ("x", usage, None)
    assert Reply.read(("x", None, {"k": 1})) == ("x", None, {"k": 1})
    reply = Reply("x", None, None)
    assert Reply.read(reply) is reply


@pytest.mark.parametrize("bad", ["xy", ("x",), ("x", None, None, None), None, ["x", None]])
def test_other_replies_are_refused(bad: Any) -> None:
    """The message says what is expected of ``execute``."""
    with pytest.raises(TypeError, match=r"execute\(\) returned .* \(output, usage\)"):
        Reply.read(bad)


async def test_a_state_made_by_hand_calls_a_strategy_that_takes_no_state() -> None:
    """Three parameters are as good as four."""

    class Plain(LLMCallStrategy[str]):
        async def execute(self, prompt: str, attempt: int, timeout: float) -> tuple[str, None]:
            return f"{prompt} {attempt}", None

    assert (await RetryState().call(Plain(), "a", 2, 1.0)).output == "a 2"
