"""Marks in prompts and answers, by which answers that were mixed up are noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from batchllm.api import run_batch
from batchllm.core import ConfigError, EndCause
from batchllm.provider_batch.echo import has_mark, with_mark, without_mark
from batchllm.providers import EmbeddingStrategy, OnlineOnlyError
from batchllm.simulator import BatchBehaviour, answers
from tests.provider_batch.kit import MODELS, Fuse, World, killed, outputs, prompts

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("moving_clock")]


def open_world(folder: Path, model: str = MODELS[0], **more: Any) -> World:
    return World(folder / "user", BatchBehaviour(**more), model=model)


def online_calls(world: World) -> int:
    paths = ("/chat/completions", "/messages", ":generateContent")
    return sum(one.path.endswith(paths) for one in world.simulator.log.entries)


@pytest.fixture
def answers_by_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says what it was asked, with a mark or without one."""
    monkeypatch.setattr(
        answers, "_text", lambda call, length, words: f"about {call.prompt.split(chr(10))[0]}"
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("answers_by_prompt")
async def test_answers_that_were_swapped_are_noticed_and_asked_for_again(
    tmp_path: Path, model: str
) -> None:
    """Two pairs of requests have each other's answers, under the right ids."""
    world = open_world(tmp_path, model, swapped=2)
    blind = await world.run(prompts(10))
    assert "prompt 1" in outputs(blind)["0"]
    checked = open_world(tmp_path / "2", model, swapped=2)
    result = await checked.run(prompts(10), verify_echo=True, batch_rounds=1)
    expected = outputs(await run_batch(prompts(10), checked.strategy()))
    assert outputs(result) == expected
    assert "[" not in "".join(map(str, outputs(result).values()))
    assert any("4 answers of batch" in one and "lack the mark" in one for one in result.warnings)


async def test_what_lacks_its_mark_goes_into_another_batch_before_it_goes_online(
    tmp_path: Path,
) -> None:
    world = open_world(tmp_path, swapped=1)
    result = await world.run(prompts(5), verify_echo=True)
    assert result.succeeded == 5
    # The two are swapped again in the next batch, and then called for online.
    assert [len(job.requests) for job in world.batches.jobs] == [5, 2]
    assert online_calls(world) == 2


@pytest.mark.usefixtures("answers_by_prompt")
async def test_a_mark_is_taken_out_by_a_process_that_knows_of_none(tmp_path: Path) -> None:
    """Lines that were sent with marks are read with them, whatever the options of the run."""
    world = open_world(tmp_path)
    await world.run(prompts(5), detach=True, verify_echo=True)
    result = await world.run(prompts(5))
    assert outputs(result) == outputs(await run_batch(prompts(5), world.strategy()))
    image = tmp_path / "image"
    other = open_world(tmp_path / "2")
    fuse = Fuse(other.folder, image, 1, "after GET /v1/files")
    marked = other.strategy(fuse=fuse)
    assert await killed(lambda: other.run(prompts(5), marked, verify_echo=True))
    again = await other.run(prompts(5), journal=other.journal(image))
    assert outputs(again) == outputs(result)
    assert len(other.billed) == 5


async def test_a_model_that_writes_no_marks_is_noticed_by_the_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Never:
        @staticmethod
        def search(text: str) -> None:
            return None

    monkeypatch.setattr(answers, "_MARK", Never)
    world = open_world(tmp_path)
    result = await world.run(prompts(80), verify_echo=True, chunk_size=60)
    assert result.termination.cause is EndCause.FAIL_FAST
    assert "was answered with its mark; nothing more was sent" in result.termination.reason
    assert len(world.billed) == 50


@frozen
class Place:
    city: str


async def test_answers_without_room_for_a_mark_are_refused(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    with pytest.raises(ConfigError, match="are no plain text: leave it out"):
        await world.run(prompts(1), world.strategy(output=Place), verify_echo=True)
    embed = EmbeddingStrategy("small", api_key="k", http=world.strategy_http())
    with pytest.raises(ConfigError, match="verify_echo asks for a mark"):
        await world.run(prompts(1), embed, verify_echo=True)


async def test_a_prompt_without_room_for_a_mark_is_called_for_online(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    dialog = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "well"}]
    items: list[Any] = ["plain", [{"type": "text", "text": "a part"}], dialog]
    result = await world.run(items, verify_echo=True)
    assert result.succeeded == 3
    assert online_calls(world) == 1
    assert any("called for online" in one and "verify_echo" in one for one in result.warnings)


TEXTS = st.text(max_size=40)
PARTS = st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS})
CONTENTS = TEXTS | st.lists(PARTS, min_size=1, max_size=3)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": CONTENTS}),
    min_size=1,
    max_size=3,
)


@given(
    prompt=TEXTS | MESSAGES | st.lists(PARTS, min_size=1, max_size=3) | st.none() | st.integers(),
    name=st.from_regex(r"b1-[a-z0-9]{8}-[A-Za-z0-9_-]{22}", fullmatch=True),
    answer=TEXTS,
)
def test_a_mark_is_asked_for_and_taken_out_of_any_answer(
    prompt: Any, name: str, answer: str
) -> None:
    try:
        asked = json.dumps(with_mark(prompt, name))
    except OnlineOnlyError:
        assert not isinstance(prompt, str)
        return
    assert has_mark(asked.encode(), name)
    assert not has_mark(asked.encode(), f"{name}x")
    mark = asked[asked.index("the mark [") + 9 :][:10]
    plain = json.dumps({"custom_id": name, "text": answer.lstrip()}).encode()
    line = json.dumps({"custom_id": name, "text": f"{mark}\n\n{answer.lstrip()}"}).encode()
    assert without_mark(line, name) == plain
    assert without_mark(plain, name) == plain
