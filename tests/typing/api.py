"""What the type checkers must infer for users; checked, never run."""

from typing import assert_type

from batchllm.testing import virtual_run


async def answer(question: str) -> int:
    return len(question)


assert_type(virtual_run(answer, "six by nine", backend="trio"), int)
