"""Gemini with one context cache that all items share, also those of the next run.

Reads GEMINI_API_KEY, and GEMINI_BASE_URL for another address.
"""

import os

import anyio

from batchllm import GeminiCachedModel, GeminiStrategy, run_batch
from batchllm.providers import GeminiClient

REPORT = "In the third quarter the lamps sold well, and the chairs did not. " * 400


async def main() -> None:
    """Ask three questions about one long report, which is sent once."""
    model = GeminiCachedModel(
        "gemini-2.5-flash",
        GeminiClient(os.environ["GEMINI_API_KEY"]),
        [REPORT],
        cache_tags={"report": "q3"},
    )
    strategy = GeminiStrategy(model, lambda response: response.text)
    questions = ["What sold well?", "What did not?", "Which quarter is it about?"]
    result = await run_batch(questions, strategy)
    print(result.summary())
    cached = result.total_cached_tokens
    print(f"{cached} of {result.total_input_tokens} input tokens came from the cache")


if __name__ == "__main__":
    anyio.run(main)
