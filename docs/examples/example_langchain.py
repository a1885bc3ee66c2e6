"""LangChain: a chain that looks up passages before it asks, on asyncio and on Trio.

Reads OPENAI_API_KEY, and OPENAI_BASE_URL for another address.
"""

import anyio
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_openai import ChatOpenAI

from batchllm import HttpTransport, LangChainStrategy, run_batch

PASSAGES = {
    "bins": "The bins are taken out by whoever lives on the ground floor.",
    "dog": "Dogs are welcome if they do not bark at night.",
}


def passages_for(question: str) -> str:
    """Return the passages that share a word with *question*; a real one asks a vector store."""
    return "\n".join(text for word, text in PASSAGES.items() if word in question) or "Nothing."


async def main() -> None:
    """Answer questions from the passages."""
    template = ChatPromptTemplate.from_template("Given:\n{passages}\n\nAnswer: {question}")
    async with HttpTransport() as http:
        # The pace and the retries are batchllm's, so the client does without its own.
        model = ChatOpenAI(
            model="gpt-5-mini", max_retries=0, http_async_client=http.client("httpx")
        )
        chain = (
            {"passages": RunnableLambda(passages_for), "question": RunnablePassthrough()}
            | template
            | model
            | StrOutputParser()
        )
        result = await run_batch(
            ["Who takes out the bins?", "May I keep a dog?"], LangChainStrategy(chain)
        )
    for r in result.results:
        print(r.item_id, r.output if r.success else r.error)


if __name__ == "__main__":
    anyio.run(main)
    anyio.run(main, backend="trio")
