"""Journals of earlier versions open, and strategies are the same ones as for them.

A change of an identity makes every journal of that strategy refuse to go on until its user decides:
so it has to be meant, and said in the change log. ``python -m tests.journal.test_golden`` writes
the list anew.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest
from attrs import frozen

from batchllm import (
    Balance,
    Fallback,
    KeyRotation,
    ModelEscalation,
    PartialRecovery,
    ProgressivePrompting,
    ProgressiveTemperature,
    ResponseCache,
    ValidationFeedback,
    from_callable,
    llm,
    structured,
)
from batchllm.core import ConfigError, JournalError
from batchllm.journal import Choice, Store, open_reader, schema
from batchllm.journal.entries import Identity
from batchllm.journal.identity import canonical_identity
from batchllm.providers import EmbeddingStrategy, GeminiClient, GeminiEmbeddingStrategy
from tests.journal.kit import enter, opened

GOLDEN = Path(__file__).parent / "golden"
IDENTITIES = GOLDEN / "identities.json"
VERSIONS = sorted(GOLDEN.glob("version-*.db.gz"))

KEY = "sk-canary-0123456789abcdef"


@frozen
class Person:
    """A person."""

    name: str
    age: int = 0


@dataclass
class Place:
    """A place."""

    name: str


class Pair(TypedDict):
    """A pair."""

    left: int
    right: int


def answer(prompt: str) -> str:
    """Answer with the prompt."""
    return prompt


def strategies() -> dict[str, Any]:
    """One of each kind, as users make them."""
    plain = llm("openai:gpt-5-mini", api_key=KEY)
    other = llm("anthropic:claude-sonnet-4-5", api_key=KEY, max_tokens=100)
    cheap = llm("gemini:gemini-2.5-flash", api_key=KEY, temperature=0.2)
    return {
        "openai": plain,
        "openai with settings": llm(
            "openai:gpt-5-mini", api_key=KEY, temperature=0.5, max_tokens=100, system="Be short."
        ),
        "openai with a base url": llm("openai:m", api_key=KEY, base_url="https://a.test/v1"),
        "openai streamed": llm("openai:gpt-5-mini", api_key=KEY, stream=True),
        "responses": llm("openai-responses:gpt-5-mini", api_key=KEY),
        "anthropic": other,
        "gemini": cheap,
        "attrs": llm("openai:gpt-5-mini", api_key=KEY, output=Person),
        "dataclass": llm("openai:gpt-5-mini", api_key=KEY, output=Place),
        "typed dict": llm("openai:gpt-5-mini", api_key=KEY, output=Pair),
        "list of attrs": llm("openai:gpt-5-mini", api_key=KEY, output=list[Person]),
        "structured": structured(llm("anthropic:claude-sonnet-4-5", api_key=KEY), Person),
        "embeddings": EmbeddingStrategy("text-embedding-3-small", api_key=KEY),
        "gemini embeddings": GeminiEmbeddingStrategy("gemini-embedding-001", GeminiClient(KEY)),
        "function": from_callable(answer),
        "function with a version": from_callable(lambda prompt: prompt, version="2"),
        "fallback": Fallback([plain, other]),
        "balance": Balance([plain, other]),
        "key rotation": KeyRotation("openai:gpt-5-mini", [KEY, f"{KEY}-2"]),
        "escalation": ModelEscalation([plain, other]),
        "feedback": ValidationFeedback(plain, output=Person),
        "recovery": PartialRecovery(plain, output=Person),
        "prompting": ProgressivePrompting(plain, ["Be exact.", "Be very exact."]),
        "temperature": ProgressiveTemperature(plain, [0.0, 0.5]),
        "cache": ResponseCache(plain),
    }


def test_the_identities_of_strategies_are_those_of_the_last_release() -> None:
    """None has changed unnoticed, and none has a key in it."""
    known = json.loads(IDENTITIES.read_text())
    now = {name: Identity.of(one).text for name, one in strategies().items()}
    assert KEY not in json.dumps(now)
    assert now == known


def test_a_setting_that_is_not_used_is_no_part_of_an_identity() -> None:
    """So that a later version may have more of them."""
    now = {"class": "a.B", "new": None, "more": {}, "parts": [{"x": 0, "y": None}]}
    assert canonical_identity(now) == '{"class":"a.B","parts":[{"x":0}]}'


def test_a_function_that_has_no_name_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """Two lambdas look alike, and what a function closes over is not seen."""
    for nameless in (lambda prompt: prompt, Fallback([answer, lambda prompt: prompt])):
        strategy = from_callable(nameless) if not isinstance(nameless, Fallback) else nameless
        with pytest.raises(ConfigError, match=r'<lambda> again.*version="1"'):
            Identity.of(strategy)
    assert Identity.of(from_callable(lambda prompt: prompt, version="1")).text


# Journals.


def unpacked(folder: Path, packed: Path) -> Path:
    path = folder / packed.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


golden = pytest.mark.parametrize("packed", VERSIONS, ids=lambda path: path.name.partition(".")[0])


@golden
def test_a_journal_of_an_earlier_version_is_read_as_it_is(tmp_path: Path, packed: Path) -> None:
    """Nothing is written to it: its bytes stay."""
    path = unpacked(tmp_path, packed)
    before = path.read_bytes()
    with open_reader(path) as reader:
        rows = {row.result.item_id: row for row in reader.rows()}
        assert sorted(rows) == ["blocked", "dict", "failed", "long", "text", "vector"]
        assert rows["text"].result.output == "an answer"
        assert rows["text"].prompt == "prompt of text"
        assert rows["text"].result.cost == 0.25
        assert rows["dict"].result.output == {"left": 1, "right": [2.5, None]}
        assert rows["vector"].result.output == [n / 4 for n in range(16)]
        assert rows["long"].result.output == "long " * 1_000
        assert str(rows["failed"].result.exception) == "ValueError: no"
        assert [call.category for call in reader.calls(("", "=failed"))] == ["server_error", None]
        first, second = reader.runs()
        assert (first.cause, first.counts["succeeded"]) == ("done", 4)
        assert second.ended is None
        assert reader.counts()["calls_without_end"] == 1
        assert reader.refused() == [b'{"id":null}']
    assert path.read_bytes() == before


@golden
@pytest.mark.anyio
async def test_a_journal_of_an_earlier_version_goes_on(tmp_path: Path, packed: Path) -> None:
    """With its answers, its quotas and its unfinished calls; then it is one of this version."""
    path = unpacked(tmp_path, packed)
    async with opened(path) as journal:
        assert journal.opened.run == 3
        assert journal.opened.quotas["openai/m"][0] == 8.0
        assert journal.opened.maybe_billed == {("", "=failed")}
        names = ["text", "dict", "vector", "long", "failed", "blocked", "new"]
        verdicts = await journal.decide([enter(journal, name) for name in names])
        choices = [verdict.choice for verdict in verdicts]
        assert choices == [Choice.TAKE_OVER] * 5 + [Choice.RUN] * 2
    new = tmp_path / "new.db"
    async with opened(new):
        pass
    assert tables_of(path) == tables_of(new)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def tables_of(path: Path) -> tuple[Any, ...]:
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()
        return version, *db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def test_the_first_version_is_never_changed(tmp_path: Path) -> None:
    """A change of its tables would be in new files only; it has to be a step."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.create_tables(db)
        now = db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    with closing(sqlite3.connect(unpacked(tmp_path, VERSIONS[0]))) as db:
        assert db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall() == now


def test_there_is_a_golden_file_of_every_version() -> None:
    """Written by the version itself, before the next one is begun."""
    assert len(VERSIONS) >= schema.SCHEMA_VERSION


def test_a_step_is_taken_once_and_an_older_version_refuses_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the next version will be: with one more table."""
    path = unpacked(tmp_path, VERSIONS[0])
    steps = (
        *schema._STEPS,
        "CREATE TABLE more (one INTEGER PRIMARY KEY); INSERT INTO more VALUES (7)",
    )
    version = schema.SCHEMA_VERSION
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_STEPS", steps)
        patch.setattr(schema, "SCHEMA_VERSION", version + 1)
        for _ in range(2):
            store = Store(path)
            store.open("2", None, None)
            store.close()
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT one FROM more").fetchall() == [(7,)]
    with pytest.raises(JournalError, match="newer batchllm") as caught:
        Store(path).open("1", None, None)
    assert caught.value.problem == "newer"


if __name__ == "__main__":
    from tests.journal import test_golden as here  # under its own name, which is in the list

    found = {name: Identity.of(one).text for name, one in here.strategies().items()}
    IDENTITIES.write_text(json.dumps(found, indent=1) + "\n")
