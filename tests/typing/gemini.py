"""The types of Gemini's strategies with a parser or an output type; checked, never run."""

from typing import assert_type

from attrs import frozen

from batchllm import (
    GeminiCachedModel,
    GeminiCachedStrategy,
    GeminiModel,
    GeminiStrategy,
    LLMModel,
    LLMResponse,
    ManagedLLMModel,
)
from batchllm.providers import GeminiClient


@frozen
class Person:
    name: str


def count(response: LLMResponse) -> int:
    return response.total_tokens


client = GeminiClient("key")
model = GeminiModel("gemini-2.5-flash", client)
as_model: LLMModel = model
as_managed: ManagedLLMModel = GeminiCachedModel("gemini-2.5-flash", client, "context")

assert_type(GeminiStrategy(model, count), GeminiStrategy[int])
assert_type(GeminiStrategy("gemini-2.5-flash", client=client), GeminiStrategy[str])
assert_type(
    GeminiStrategy("gemini-2.5-flash", client=client, output_type=Person), GeminiStrategy[Person]
)
assert_type(GeminiCachedStrategy("gemini-2.5-flash", client), GeminiCachedStrategy[str])
assert_type(
    GeminiCachedStrategy(model="gemini-2.5-flash", client=client, response_parser=count),
    GeminiCachedStrategy[int],
)
assert_type(
    GeminiCachedStrategy("gemini-2.5-flash", client, output_type=Person),
    GeminiCachedStrategy[Person],
)
