"""Answers in a file of your own, without a journal: run it again, and it goes on."""

import json
from pathlib import Path

from batchllm import llm, stream_batch_sync

ANSWERS = Path("saved.jsonl")


def finished() -> set[str]:
    """Return the ids that have a whole row, and cut off half a row of a process that was killed."""
    if not ANSWERS.exists():
        return set()
    whole, end, _ = ANSWERS.read_bytes().rpartition(b"\n")
    with ANSWERS.open("r+b") as file:
        file.truncate(len(whole + end))
    return {json.loads(line)["id"] for line in whole.splitlines()}


def main() -> None:
    """Ask for what has no row yet."""
    done = finished()
    years = (f"year-{year}" for year in range(1900, 2000))
    items = [(year, f"What happened in {year}?") for year in years if year not in done]
    strategy = llm("openai:gpt-5-mini")
    with ANSWERS.open("a", encoding="utf-8") as file, stream_batch_sync(items, strategy) as run:
        for result in run:
            if result.success:  # what failed is asked for again by the next run
                row = {"id": result.item_id, "output": result.output}
                file.write(json.dumps(row) + "\n")
                file.flush()  # a process that is killed from here on loses no answer


main()
