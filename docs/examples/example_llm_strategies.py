"""All strategies that combine others, each in a line.

Reads OPENAI_API_KEY and ANTHROPIC_API_KEY, and the variables OPENAI_BASE_URL and
ANTHROPIC_BASE_URL for other addresses.
"""

import anyio
from attrs import frozen

from batchllm import (
    Balance,
    Fallback,
    ModelEscalation,
    PartialRecovery,
    ProgressivePrompting,
    ProgressiveTemperature,
    ResponseCache,
    ValidationFeedback,
    from_callable,
    llm,
    run_batch,
)


@frozen
class Person:
    name: str
    age: int


def shout(prompt: str) -> str:
    """Answer without any model, as a stand-in or a local one would."""
    return prompt.upper()


async def main() -> None:
    """Send the same prompts by each of them."""
    nano, mini = llm("openai:gpt-5-nano"), llm("openai:gpt-5-mini")
    haiku = llm("anthropic:claude-haiku-4-5")
    strategies = {
        "the next provider where one fails": Fallback([mini, haiku]),
        "several endpoints": Balance([mini, haiku], weights=[2, 1]),
        "a better model for answers that are not valid": ModelEscalation([nano, mini]),
        "say what was wrong": ValidationFeedback(mini, Person),
        "ask for the missing fields": PartialRecovery(mini, Person),
        "a higher temperature": ProgressiveTemperature("openai:gpt-4.1-mini"),
        "a longer prompt": ProgressivePrompting(mini, ["Answer with JSON only."]),
        "equal prompts once": ResponseCache(mini),
        "a function": from_callable(shout),
    }
    prompts = ["Invent a person. Answer with JSON: name, age."] * 3
    for what, strategy in strategies.items():
        result = await run_batch(prompts, strategy)
        print(f"{what}: {result.succeeded} of {result.total_items}")


if __name__ == "__main__":
    anyio.run(main)
