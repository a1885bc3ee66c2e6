"""Keeping what was right, and asking only for the rest."""

import json
import re
from typing import Any

import pytest
from attrs import field, frozen, make_class

from batchllm.core import LLMCallStrategy, QuotaScope
from batchllm.llm_strategies import PartialRecovery, ValidationFeedback
from tests.llm_strategies.world import BAD_AGE, GOOD, Person, refused, run, says, scripted

pytestmark = pytest.mark.anyio

ANN = Person("Ann", 41, "Lima")


@frozen
class Team:
    n: int
    who: Person


async def test_only_the_rest_is_asked_for_and_merged() -> None:
    """The second prompt has the fields that are known and names the missing one only."""
    inner = scripted("one", says(BAD_AGE), says('{"age": 41}'))
    batch = await run(PartialRecovery(inner, Person), "Who is it?")
    assert batch.outputs == [ANN]
    second = inner.prompts[1]
    assert second.startswith("Who is it?")
    assert '{"name": "Ann", "city": "Lima"}' in second
    assert re.findall(r"^- (\w+):", second, re.MULTILINE) == ["age"]


async def test_it_may_take_several_answers() -> None:
    """Each answer adds what is right in it; what was known is never overwritten."""
    inner = scripted(
        "one", says('{"name": "Ann"}'), says('{"name": "Bob", "age": "?", "city": "Lima"}'),
        refused(500), says('{"name": "Bob", "age": 41}'),
    )  # fmt: skip
    assert (await run(PartialRecovery(inner, Person))).outputs == [ANN]
    assert inner.prompts[2] == inner.prompts[3]


@pytest.mark.parametrize("useless", ["I cannot say.", "[]", '{"name": 7}'])
async def test_where_nothing_was_right_everything_is_asked_for(useless: str) -> None:
    """Without a field to keep the model is told what was wrong, and answers in full."""
    inner = scripted("one", says(useless), says(GOOD))
    assert (await run(PartialRecovery(inner, Person))).outputs == [ANN]
    assert "complete" in inner.prompts[1]


@pytest.mark.parametrize("second", ["Sorry!", '{"age": 41, "ci', '{"age": "no"}'])
async def test_a_useless_second_answer_loses_nothing(second: str) -> None:
    """Known fields survive an answer that adds nothing."""
    inner = scripted("one", says('{"name": "Ann", "city": "Lima"}'), says(second),
                     says('{"age": 41}'))  # fmt: skip
    assert (await run(PartialRecovery(inner, Person))).outputs == [ANN]


async def test_inside_a_field_it_says_where() -> None:
    """A problem deep in a field is told with its place, and the field is asked for as a whole."""
    inner = scripted("one", says('{"n": 1, "who": {"name": "A"}}'), says(f'{{"who": {GOOD}}}'))
    batch = await run(PartialRecovery(inner, Team))
    assert [team.who for team in batch.outputs if team] == [ANN]
    assert re.search(r"^- who: age: .*; city: ", inner.prompts[1], re.MULTILINE)


async def test_what_is_no_text_is_refused() -> None:
    """An inner strategy that parses by itself is a mistake in the program, not worth a retry."""
    batch = await run(PartialRecovery(scripted("one", says({"name": "Ann"})), Person))
    assert batch.results[0].error_category == "program_error"
    assert batch.results[0].attempts == 1


FIELDS = {f"field_{n}": f"a value of some length, as they are, number {n}" for n in range(12)}


class Forgetful(LLMCallStrategy[str]):
    """A model that gets one field in turn wrong, answers what it is asked, and bills by length."""

    quota_scope = QuotaScope("forgetful")

    async def execute(self, prompt: str, attempt: int, timeout: float, *args: Any) -> Any:
        asked = re.findall(r"^- (field_\d+): ", prompt, re.MULTILINE)
        wanted = asked if "must not be repeated" in prompt else list(FIELDS)
        answer: dict[str, Any] = {name: FIELDS[name] for name in wanted}
        if attempt == 1:
            answer["field_3"] = None
        text = json.dumps(answer)
        return text, {"input_tokens": len(prompt) // 4, "output_tokens": len(text) // 4}


async def test_it_spends_fewer_tokens_than_asking_again() -> None:
    """Of twelve fields one is wrong: the second answer costs a twelfth, not the whole again."""
    record = make_class("Record", {name: field(type=str) for name in FIELDS})
    prompts = [f"Describe thing {n}." for n in range(20)]
    partial = await run(PartialRecovery(Forgetful(), record), *prompts)
    again = await run(ValidationFeedback(Forgetful(), record), *prompts)
    assert partial.succeeded == again.succeeded == 20
    assert partial.total_output_tokens < 0.6 * again.total_output_tokens
    assert partial.total_input_tokens < again.total_input_tokens


async def test_directly_and_by_name() -> None:
    """It can be called without a run, and its identity has the type."""
    strategy = PartialRecovery(scripted("one", says(GOOD)), Person)
    assert (await strategy.execute("p", 1, 9.0)).output == ANN
    assert strategy.identity()["output"] == "Person"
