"""Typed views of an answer's metadata: the same values, whoever answered."""

import pickle
from typing import Any

import pytest

from batchllm.core import Citation, LLMResponse, TokenLogprob, ToolCall, WorkItemResult


def views(**metadata: Any) -> WorkItemResult[Any, Any]:
    return WorkItemResult("a", True, metadata=metadata)


@pytest.mark.parametrize(
    "raw",
    [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "fc_9", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"id": "c1", "type": "tool_use", "name": "add", "input": {"a": 1}},
        {"id": "c1", "name": "add", "args": {"a": 1}},
    ],
)
def test_a_tool_call_is_the_same_on_every_wire(raw: dict[str, Any]) -> None:
    """Name, arguments and the id that its result refers to, wherever a provider puts them."""
    assert views(tool_calls=[raw]).tool_calls == (ToolCall("add", {"a": 1}, "c1"),)


def test_arguments_that_were_cut_off_stay_as_they_are() -> None:
    """Arguments that are not valid JSON come as the text that they are."""
    cut = {"function": {"name": "add", "arguments": '{"a": '}}
    assert views(tool_calls=[cut]).tool_calls == (ToolCall("add", '{"a": '),)
    old = {"name": "add", "arguments": "{}"}
    assert views(function_call=old).tool_calls == (ToolCall("add", {}),)


def test_probabilities_and_sources_are_values() -> None:
    """Tokens with the most probable ones beside them, and what is known of a source."""
    top = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]
    said = views(
        logprobs=[{"token": "a", "logprob": -0.5, "top_logprobs": top}],
        citations=[{"url": "https://a.test", "start": 0, "end": 4}, {"source": "file-1"}],
    )
    both = (TokenLogprob("a", -0.5), TokenLogprob("b", -1.0))
    assert said.logprobs == (TokenLogprob("a", -0.5, both),)
    assert said.citations == (
        Citation("https://a.test", start=0, end=4),
        Citation(source="file-1"),
    )


@pytest.mark.parametrize("odd", [None, 3, "text", [3], [{}], {"a": 3}])
def test_odd_metadata_give_empty_views(odd: Any) -> None:
    """A strategy's own metadata may mean something else by the same words."""
    names = ("tool_calls", "logprobs", "function_call", "reasoning", "finish_reason")
    said = views(**dict.fromkeys(names, odd))
    assert not said.tool_calls
    assert not said.logprobs
    assert said.reasoning in (None, odd)
    assert views(citations=odd).citations in ((), (Citation(),))
    assert isinstance(views(safety_ratings=odd).safety_ratings, dict)


def test_views_cost_a_result_nothing() -> None:
    """They are read from the metadata, which a result has anyway, and survive pickling."""
    result = views(reasoning="so", safety_ratings={"HATE": "LOW"}, finish_reason="stop")
    assert not hasattr(result, "__dict__")
    other = pickle.loads(pickle.dumps(result))
    assert (other.reasoning, other.safety_ratings) == ("so", {"HATE": "LOW"})
    assert LLMResponse("hi", metadata={"finish_reason": "stop"}).finish_reason == "stop"
    assert LLMResponse("hi").finish_reason is None
