"""Gemini without an SDK: a parameter of the model, and what Gemini says beside the text.

Reads GEMINI_API_KEY, and GEMINI_BASE_URL for another address.
"""

import os

import anyio

from batchllm import GeminiModel, GeminiStrategy, llm, run_batch
from batchllm.providers import GeminiClient

MODEL = "gemini-2.5-flash"
PROMPTS = ["Name a river in Peru.", "Name a lake in Finland."]


async def main() -> None:
    """Ask by name; then by a model of your own, with the finish reason of each answer."""
    by_name = await run_batch(PROMPTS, llm(f"gemini:{MODEL}", temperature=0.2, max_tokens=50))
    print(by_name.outputs)

    model = GeminiModel(MODEL, GeminiClient(os.environ["GEMINI_API_KEY"]))
    strategy = GeminiStrategy(model, lambda response: response.text.strip(), include_metadata=True)
    result = await run_batch(PROMPTS, strategy)
    for response in result.outputs:
        print(response and (response.output, response.finish_reason))


if __name__ == "__main__":
    anyio.run(main)
