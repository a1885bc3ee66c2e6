"""A canary for a key, and one for a prompt, through every path of a run: rows 13, 14 and 57.

The server repeats the key in what it refuses, the user's own code puts it into exceptions, and the
program is asked for all that it can say. Nothing that stays afterwards has it.
"""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from batchllm import (
    BaseMiddleware,
    BatchResult,
    ErrorClassifier,
    LLMCallStrategy,
    ProcessorConfig,
    RetryConfig,
    llm,
    run_batch_sync,
    stream_batch,
)
from batchllm.cli import main
from batchllm.core import Category, ErrorInfo, LLMWorkItem
from batchllm.journal import Journal
from tests.e2e.transport.rude_server import BODY, Talk, reply, rude

KEY = "sk-canary-0123456789abcdef"
PROMPT = "prompt-canary-of-a-patient"
REFUSED = json.dumps({"error": {"message": f"wrong key {KEY}", "code": f"bad_{KEY}"}}).encode()
ONCE = ProcessorConfig(retry=RetryConfig(max_attempts=1), fail_fast=None, max_workers=2)

SPELLINGS = (KEY, "c2stY2FuYXJ5LTAxMjM0NTY3ODlhYmNkZWY")
"""As it is, and in base64."""


async def answers_and_refuses(talk: Talk) -> None:
    """Answer, unless the prompt asks for a refusal: with the key, the whole request, or a page."""
    while True:
        body = await talk.request()
        if b"refuse" in body:
            await talk.send(reply(REFUSED, status=b"400 Bad Request"))
        elif b"echo" in body:
            head = talk.heads[-1].decode("latin-1")
            said = json.dumps({"error": {"message": f"{head}\n{body.decode()}"}})
            await talk.send(reply(said.encode(), status=b"422 Unprocessable"))
        elif b"page" in body:
            await talk.send(reply(f"<p>{KEY}</p>".encode(), status=b"500 Oh"))
        else:
            await talk.send(reply(BODY))


@pytest.fixture
def url() -> Generator[str]:
    """A server in a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(rude(answers_and_refuses)) as server,
    ):
        yield f"{server.url}/v1"


def hits(folder: Path, *needles: str) -> list[str]:
    """Name the files that have one of the needles anywhere, free pages and logs included."""
    return [
        f"{needle} in {file.name}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for needle in needles
        if needle.encode() in file.read_bytes()
    ]


def test_nothing_that_the_command_line_leaves_or_says_has_the_key(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: Any
) -> None:
    """Outputs of each kind, the journal, and what each command prints."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_COMPATIBLE_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    words = ("fine", "refuse", "echo", "page", "fine too")
    rows = [{"id": f"p{n}", "prompt": word} for n, word in enumerate(words)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    model = ["-m", "openai-compatible:m", "--base-url", url, "--max-attempts", "1"]
    for more in ([], ["--retry-failed"], ["--debug"]):
        main(["run", str(source), "-o", str(output), *model, *more])
    main(["run", str(source), "-o", str(tmp_path / "out.csv"), *model, "--ordered"])
    main(["run", "one prompt to refuse", *model])
    for name in ("p0", "p1", "p2", "p3"):
        main(["show", str(output), name])
        main(["show", str(output), name, "--json"])
    for kind in ("csv", "jsonl.gz", "parquet"):
        main(["export", str(output), "-o", str(tmp_path / f"export.{kind}")])
    main(["status", str(output), "--json"])
    main(["gc", str(output), "--json"])
    said = capfd.readouterr()
    assert "p1" in said.out
    for text in (said.out, said.err, caplog.text):
        assert not [one for one in SPELLINGS if one in text]
    assert len(list(tmp_path.iterdir())) >= 8
    assert not hits(tmp_path, *SPELLINGS)


class Careless(LLMCallStrategy[str]):
    """A strategy of a user's own that puts its key into whatever goes wrong."""

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        if prompt == "p1":
            raise RuntimeError(f"no answer from https://api.test/?key={KEY}")
        if prompt == "p2":
            raise ExceptionGroup("both", [ValueError(f"Authorization: Bearer {KEY}")])
        return "an answer", None


class CarelessMiddleware(BaseMiddleware):
    """A builder of prompts that fails with its key."""

    async def before_process(self, item: LLMWorkItem[Any, Any, Any]) -> Any:
        if item.item_id == "n3":
            raise KeyError(f"no field; settings were {{'key': '{KEY}'}}")
        return item


class CarelessClassifier(ErrorClassifier):
    """A classifier that fails with the key."""

    def classify(self, exception: BaseException) -> Any:
        known = {OSError: Category.CONNECTION}
        try:
            return ErrorInfo(False, False, False, known[type(exception)])
        except KeyError as error:
            raise LookupError(f"no meaning is known for {KEY}") from error


def everything_of(result: BatchResult[Any, Any]) -> str:
    parts = [repr(result), result.summary(), repr(result.termination), str(result.stats)]
    for one in result.results:
        parts += [repr(one), str(one.error), repr(one.metadata), repr(one.timing)]
        parts += [repr(one.attempt_failures), *getattr(one.exception, "__notes__", ())]
    return "\n".join(parts)


@pytest.mark.parametrize("how", ["own code", "a server"])
def test_nothing_that_a_program_gets_or_keeps_has_the_key(
    tmp_path: Path, url: str, caplog: Any, how: str
) -> None:
    """Results, their pickles and replays, logs, the journal while it is written and afterwards."""
    caplog.set_level(logging.DEBUG)
    items = [(f"n{n}", f"p{n}") for n in range(5)]
    strategy: Any = Careless()
    if how == "a server":
        words = ("fine", "refuse", "echo", "page", "fine too")
        items = [(f"n{n}", word) for n, word in enumerate(words)]
        strategy = llm("openai-compatible:m", base_url=url, api_key=KEY)
    more: Any = {}
    if how == "own code":
        more = {"middlewares": [CarelessMiddleware()], "error_classifier": CarelessClassifier()}
    for _ in range(2):  # the second is replayed from the journal
        result = run_batch_sync(
            items, strategy, config=ONCE, journal=tmp_path / "run.db", post_processor=fails, **more
        )
        assert result.failed == 3
        assert not [one for one in SPELLINGS if one in everything_of(result)]
        assert not [one for one in SPELLINGS if one in caplog.text]
        assert not hits(tmp_path, *SPELLINGS)
    for one in result.results:  # replayed: no exception is the user's own object any more
        assert KEY.encode() not in pickle.dumps(one)
        if one.exception is not None:
            shown = traceback.TracebackException.from_exception(one.exception, capture_locals=True)
            assert KEY not in "".join(shown.format())


def fails(result: Any) -> None:
    """Be a post-processor that fails with the key."""
    if result.item_id == "n4":
        raise OSError(f"cannot store with {KEY}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_without_prompts_no_byte_of_them_is_written(tmp_path: Path, backend: str) -> None:
    """Not even while the run goes on: in the file, its log, and pages that are free again."""

    async def run() -> None:
        items = [(f"n{n}", f"{PROMPT} {n}", {"name": PROMPT}) for n in range(50)]
        journal = Journal(tmp_path / "run.db", journal_prompts=False, retry_failed=True)
        config = ProcessorConfig(retry=RetryConfig(max_attempts=1), max_workers=4)
        async with stream_batch(items, Half(), config=config, journal=journal) as batch:
            async for _ in batch:
                assert not await anyio.to_thread.run_sync(hits, tmp_path, PROMPT)

    for _ in range(2):
        anyio.run(run, backend=backend)
    assert (tmp_path / "run.db").stat().st_size > 10_000
    assert not hits(tmp_path, PROMPT)


class Half(LLMCallStrategy[str]):
    """Fails for every other prompt, so that results are replaced when they are tried again."""

    async def execute(self, prompt: Any, attempt: int, timeout: float, *args: Any) -> Any:
        if int(prompt.split()[-1]) % 2:
            raise RuntimeError("no")
        return "an answer of some length" * 5, None
