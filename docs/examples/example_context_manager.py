"""Resources: what a strategy opens it opens once, and it is closed however the batch ends.

Reads OPENAI_API_KEY, and OPENAI_BASE_URL for another address.
"""

import anyio
import httpx

from batchllm import LLMCallStrategy, LLMWorkItem, ParallelBatchProcessor, ProcessorConfig, llm


class WithGlossary(LLMCallStrategy[str]):
    """Puts what a glossary says before each prompt; the glossary is fetched once."""

    quota_scope = None  # the inner strategy makes the calls

    def __init__(self, inner):
        self.inner = inner
        self.parts = [inner]
        self.http = None

    async def prepare(self):
        self.http = httpx.AsyncClient()
        self.glossary = "A lamp is a thing that gives light."  # await self.http.get(…)

    async def execute(self, prompt, attempt, timeout, state):
        asked = f"{self.glossary}\n\n{prompt}"
        return await state.call(self.inner, asked, attempt, timeout)

    async def cleanup(self):
        await self.http.aclose()


async def main() -> None:
    """Use it in a processor, whose block ends what it has begun."""
    strategy = WithGlossary(llm("openai:gpt-5-mini"))
    async with ParallelBatchProcessor(config=ProcessorConfig(max_workers=10)) as processor:
        for n in range(20):
            await processor.add_work(
                LLMWorkItem(f"item-{n}", strategy=strategy, prompt=f"What is lamp {n}?")
            )
        result = await processor.process_all()
    print(f"{result.succeeded} of {result.total_items}, closed: {strategy.http.is_closed}")


if __name__ == "__main__":
    anyio.run(main)
