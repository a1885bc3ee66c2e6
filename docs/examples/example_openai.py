"""OpenAI: texts, values of a type, and a client of the SDK that is there already.

Reads OPENAI_API_KEY, and OPENAI_BASE_URL for another address. Without a key, in two terminals:
`batchllm serve-sim --port 8123`, and this script with OPENAI_BASE_URL=http://127.0.0.1:8123/v1 and
any OPENAI_API_KEY.
"""

import anyio
import openai
from attrs import frozen

from batchllm import OpenAIStrategy, llm, run_batch

MODEL = "gpt-5-mini"
REVIEWS = ["The lamp broke on day two.", "Best lamp I ever had.", "It works, if you hold it right."]


@frozen
class Verdict:
    glad: bool
    reason: str


async def main() -> None:
    """Ask for texts, then for verdicts, then by the SDK's own client."""
    prompts = [f"Summarize in five words: {review}" for review in REVIEWS]
    texts = await run_batch(prompts, llm(f"openai:{MODEL}"))
    print(*texts.outputs, sep="\n")

    questions = [f"Is the writer glad? {review}" for review in REVIEWS]
    verdicts = await run_batch(questions, llm(f"openai:{MODEL}", output=Verdict))
    for verdict in verdicts.outputs:
        print("glad" if verdict and verdict.glad else "not glad", "-", verdict and verdict.reason)

    async with openai.AsyncOpenAI() as client:
        by_the_sdk = await run_batch(prompts, OpenAIStrategy(client, MODEL))
    print(by_the_sdk.summary())


if __name__ == "__main__":
    anyio.run(main)
