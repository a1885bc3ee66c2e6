"""The kit of the tests of composites: scopes, people to extract, and short names."""

from typing import Any

from attrs import frozen

from batchllm.api import run_batch
from batchllm.core import BatchResult, LLMCallStrategy, ProviderError, QuotaScope, RetryConfig
from batchllm.core import ProcessorConfig as Config
from batchllm.testing import Answer, Raise, ScriptedStrategy


@frozen
class Person:
    """A person, which the models in these tests are asked for."""

    name: str
    age: int
    city: str


GOOD = '{"name": "Ann", "age": 41, "city": "Lima"}'
BAD_AGE = '{"name": "Ann", "age": "old", "city": "Lima"}'

PATIENT = Config(retry=RetryConfig(max_attempts=5, initial_wait=0.1, jitter=False))
TIRELESS = Config(retry=RetryConfig(max_attempts=20, initial_wait=0.1, max_wait=1.0, jitter=False))


def scripted(name: str, *script: Any, **options: Any) -> ScriptedStrategy:
    """A strategy with a quota scope of its own."""
    steps = script[0] if len(script) == 1 else list(script) or None
    return ScriptedStrategy(steps, scope=QuotaScope(name), **options)


def refused(status: int, **details: Any) -> Raise:
    """An error reply of a provider, new each time."""
    return Raise(lambda: ProviderError(f"status {status}", status=status, **details))


def says(output: Any, **options: Any) -> Answer:
    """An answer with a usual usage."""
    return Answer(output, usage={"input_tokens": 10, "output_tokens": 5}, **options)


async def run(
    strategy: LLMCallStrategy[Any], *prompts: str, config: Config = PATIENT, **options: Any
) -> BatchResult[Any, Any]:
    """Run prompts through *strategy*."""
    return await run_batch(list(prompts) or ["p"], strategy, config=config, **options)
