"""Anthropic: a system prompt, a cached one, and two models in one batch.

Reads ANTHROPIC_API_KEY, and ANTHROPIC_BASE_URL for another address.
"""

import anthropic
import anyio

from batchllm import AnthropicStrategy, LLMWorkItem, llm, run_batch

SMALL, LARGE = "claude-haiku-4-5", "claude-sonnet-4-5"
HANDBOOK = "Answer as the handbook of the house has it. " * 300  # long enough to be worth caching


async def main() -> None:
    """Cache the handbook; give hard questions to a larger model."""
    careful = llm(f"anthropic:{SMALL}", system=HANDBOOK, cache_system=True, max_tokens=300)
    questions = ["May I keep a dog?", "May I paint the door?", "Who takes out the bins?"]
    result = await run_batch(questions, careful)
    cached = result.total_cached_tokens
    print(f"{result.total_input_tokens} tokens in, {cached} of them from the cache")

    items = [
        LLMWorkItem("easy", strategy=llm(f"anthropic:{SMALL}"), prompt="What is 17 + 4?"),
        LLMWorkItem("hard", strategy=llm(f"anthropic:{LARGE}"), prompt="Prove that 2 is prime."),
    ]
    mixed = await run_batch(items)
    for r in mixed.results:
        print(r.item_id, r.output if r.success else r.error)

    async with anthropic.AsyncAnthropic() as client:
        by_the_sdk = await run_batch(questions, AnthropicStrategy(client, SMALL, max_tokens=300))
    print(by_the_sdk.summary())


if __name__ == "__main__":
    anyio.run(main)
