"""Retry with feedback: the next prompt has the right fields, and what is wrong with the others.

Reads GEMINI_API_KEY, and GEMINI_BASE_URL for another address. `SmartRetry` writes out what
`ValidationFeedback` does, for those who want it slightly differently.
"""

import anyio
from attrs import frozen

from batchllm import LLMCallStrategy, ValidationFeedback, llm, run_batch
from batchllm.structured import OutputValidationError, feedback_prompt, parse


@frozen
class Person:
    name: str
    age: int
    city: str


class SmartRetry(LLMCallStrategy[Person]):
    quota_scope = None  # the inner strategy makes the calls, and has the quota

    def __init__(self, inner):
        self.inner = inner
        self.parts = [inner]

    async def execute(self, prompt, attempt, timeout, state):
        refused = state.get("refused")
        asked = prompt if refused is None else feedback_prompt(prompt, refused)
        reply = await state.call(self.inner, asked, attempt, timeout)
        return parse(reply.output, Person), reply.usage

    async def on_error(self, exception, attempt, state):
        # A lost connection says nothing about the answer, so only bad output changes the prompt.
        if isinstance(exception, OutputValidationError):
            state.set("refused", exception)


async def main() -> None:
    """Ask with the strategy above, and with the one that is ready made."""
    model = llm("gemini:gemini-2.5-flash")
    prompts = [f"Invent person {n}. Answer with JSON: name, age, city." for n in range(3)]
    for strategy in (SmartRetry(model), ValidationFeedback(model, Person)):
        result = await run_batch(prompts, strategy)
        print(result.summary())


if __name__ == "__main__":
    anyio.run(main)
