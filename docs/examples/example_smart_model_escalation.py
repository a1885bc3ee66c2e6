"""Model escalation by `on_error`: only an answer that is not valid costs a dearer model.

Reads OPENAI_API_KEY, and OPENAI_BASE_URL for another address.
"""

import anyio
from attrs import frozen

from batchllm import LLMCallStrategy, ModelEscalation, llm, run_batch

MODELS = ["openai:gpt-5-nano", "openai:gpt-5-mini", "openai:gpt-5"]


@frozen
class Person:
    name: str
    age: int


class SmartEscalation(LLMCallStrategy[Person]):
    quota_scope = None  # its parts make the calls, and have the quotas

    def __init__(self, models):
        self.parts = [llm(model, output=Person) for model in models]

    async def execute(self, prompt, attempt, timeout, state):
        return await state.call(self.parts[state.get("level", 0)], prompt, attempt, timeout)

    async def on_error(self, exception, attempt, state):
        # A rate limit or a lost connection says nothing about the model.
        if isinstance(exception, ValueError):
            state.set("level", min(state.get("level", 0) + 1, len(self.parts) - 1))


async def main() -> None:
    """Ask with the strategy above, and with the one that is ready made."""
    prompts = [f"Invent person {n}." for n in range(3)]
    ready_made = ModelEscalation([llm(model, output=Person) for model in MODELS])
    for strategy in (SmartEscalation(MODELS), ready_made):
        result = await run_batch(prompts, strategy)
        print(result.outputs)


if __name__ == "__main__":
    anyio.run(main)
