"""Faults: how prompts and scripts ask for them, and how often they are drawn."""

import copy
import pickle
import random
from collections import Counter

import pytest

from batchllm.simulator import FAULT_NAMES, TRANSIENT_MIX, FaultPlan
from batchllm.simulator.faults import Fault, faults_in_prompt, settings_in_prompt


def test_a_marker_asks_for_a_fault() -> None:
    """Markers carry a name, an argument and a number of attempts, and act together."""
    prompt = "Hi [[fault:429=7*2]] there [[fault:crlf]]"
    assert faults_in_prompt(prompt, 1) == (Fault("429", "7"), Fault("crlf"))
    assert faults_in_prompt(prompt, 2) == (Fault("429", "7"), Fault("crlf"))
    assert faults_in_prompt(prompt, 3) == (Fault("crlf"),)
    assert faults_in_prompt("nothing here", 1) == ()


def test_a_marker_with_an_unknown_name_is_refused() -> None:
    """A typing error in a test is told, with the names that exist."""
    with pytest.raises(ValueError, match="unknown fault '501'; known are 200-html, 400"):
        faults_in_prompt("[[fault:501]]", 1)


def test_settings_are_read_from_a_prompt() -> None:
    """A prompt can say what it wants to hear and when."""
    assert settings_in_prompt("[[answer:yes]] [[latency:1.5]]") == {
        "answer": "yes",
        "latency": "1.5",
    }
    assert settings_in_prompt("plain") == {}


def test_a_script_goes_by_the_number_of_the_request() -> None:
    """The numbered requests get their faults, the others none."""
    plan = FaultPlan(script={2: "429=7", 3: ("crlf", "split")})
    rng = random.Random(1)
    chosen = [plan.choose(number, "hi", 1, rng) for number in (1, 2, 3, 4)]
    assert chosen == [(), (Fault("429", "7"),), (Fault("crlf"), Fault("split")), ()]


def test_faults_are_drawn_at_their_rate_and_weight() -> None:
    """A fifth of the requests fail when that is asked for, in the proportions of the mix."""
    plan = FaultPlan(rate=0.2, mix={"500": 3, "disconnect": 1})
    rng = random.Random(3)
    drawn = Counter(
        fault.name for number in range(20_000) for fault in plan.choose(number, "hi", 1, rng)
    )
    assert sum(drawn.values()) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert drawn["500"] / drawn["disconnect"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": 1.5}, "FaultPlan.rate is 1.5"),
        ({"mix": {"oops": 1}}, "unknown fault 'oops'"),
        ({"mix": {"500": 0}}, "has weight 0"),
        ({"script": {1: "oops"}}, "unknown fault 'oops'"),
    ],
)
def test_a_wrong_plan_is_refused(wrong: dict[str, object], message: str) -> None:
    """A plan names what is wrong with it."""
    with pytest.raises(ValueError, match=message):
        FaultPlan(**wrong)  # type: ignore[arg-type]


def test_the_usual_mix_is_of_known_faults() -> None:
    """Nothing in the mix that scenarios use is unknown, and none of it hangs a client."""
    assert set(TRANSIENT_MIX) <= set(FAULT_NAMES)
    assert not [name for name in TRANSIENT_MIX if name.startswith("stall")]


def test_an_argument_is_a_number_or_a_default() -> None:
    """A fault without an argument takes the default."""
    assert (Fault("x", "12").number(5), Fault("x").number(5)) == (12, 5)


def test_a_plan_leaves_the_process() -> None:
    """Its mix and script are the same there, faults with an argument included."""
    plan = FaultPlan(rate=0.5, mix={"500": 2.0}, script={2: "429=7", 3: ("crlf", "split")})
    assert pickle.loads(pickle.dumps(plan)) == copy.deepcopy(plan) == plan
