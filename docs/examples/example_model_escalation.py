"""Model escalation: a cheap model first, a stronger one from the second attempt on.

Reads OPENAI_API_KEY, and OPENAI_BASE_URL for another address. The strategy is written out; it goes
on to the stronger model after any failure. `example_smart_model_escalation.py` only does so after
bad output, as `ModelEscalation` does.
"""

import anyio

from batchllm import LLMCallStrategy, llm, run_batch

MODELS = ["openai:gpt-5-nano", "openai:gpt-5-mini", "openai:gpt-5"]


class Escalation(LLMCallStrategy[str]):
    quota_scope = None  # its parts make the calls, and have the quotas

    def __init__(self, models):
        self.parts = [llm(model) for model in models]

    async def execute(self, prompt, attempt, timeout, state):
        part = self.parts[min(attempt, len(self.parts)) - 1]
        return await state.call(part, prompt, attempt, timeout)


async def main() -> None:
    """Ask a few questions."""
    result = await run_batch(["Why is the sky blue?", "Why do cats purr?"], Escalation(MODELS))
    print(result.summary())


if __name__ == "__main__":
    anyio.run(main)
