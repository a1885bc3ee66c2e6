"""Scenarios: their names, their options, and what is refused."""

import pytest

from batchllm.simulator import (
    PROFILES,
    SCENARIOS,
    FaultPlan,
    Fixed,
    Scenario,
    Uniform,
    parse_scenario,
    scenario,
)


def test_names_are_the_scenarios_own() -> None:
    """Each scenario is filed under its name and shows a known profile."""
    assert all(made.name == name for name, made in SCENARIOS.items())
    assert {made.profile for made in SCENARIOS.values()} <= set(PROFILES)


def test_a_scenario_is_read_from_text() -> None:
    """Options go by short or full names and become what their field needs."""
    text = (
        "quota?rpm=600&burst=10&latency=0.02..0.1&faults=0.05:500,disconnect&headers=no"
        "&concurrency=4&models=a,b&key=k&quota_changes=60*0.5,120*2&slots=none&shortest_cache=3"
        "&profile=azure&context=none"
    )
    assert parse_scenario(text) == Scenario(
        name="quota",
        profile="azure",
        requests_per_minute=600,
        burst=10,
        latency=Uniform(0.02, 0.1),
        faults=FaultPlan(rate=0.05, mix={"500": 1, "disconnect": 1}),
        limit_headers=False,
        max_concurrent=4,
        models=("a", "b"),
        api_key="k",
        quota_changes=((60, 0.5), (120, 2)),
        shortest_cache=3,
    )


def test_overrides_are_given_as_values_too() -> None:
    """Python values go where texts go."""
    made = scenario(
        "default", rps=2, faults=FaultPlan(rate=0.1), hints=False, models=["a"], latency=1,
        quota_changes=[(1, 2)], slots=3,
    )  # fmt: skip
    assert made == Scenario(
        name="default",
        requests_per_minute=120,
        faults=FaultPlan(rate=0.1),
        hints=False,
        models=("a",),
        latency=Fixed(1.0),
        quota_changes=((1, 2),),
        slots=3,
    )
    assert scenario("quota", rpm=None).requests_per_minute is None


def test_no_name_is_the_default() -> None:
    """An empty text, and options alone, mean the default scenario."""
    assert parse_scenario("") == SCENARIOS["default"]
    assert parse_scenario("?latency=1").latency == Fixed(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qouta", "unknown scenario 'qouta', did you mean 'quota'.*default, demo"),
        ("xyzzy", r"unknown scenario 'xyzzy'\. The known ones are"),
        ("quota?latencey=3", "unknown option 'latencey', did you mean 'latency'"),
        ("quota?rpm=many", "rpm is 'many'; give a number"),
        ("quota?rpm=0", "must be > 0"),
        ("quota?hints=perhaps", "hints is 'perhaps'; give true or false"),
        ("quota?latency=slow", "'slow' is no distribution"),
        ("quota?faults=2", "FaultPlan.rate is 2"),
        ("quota?profile=acme", "'profile' must be in"),
        ("quota?rpm", "bad query field"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    """A wrong name or value is told with what would be right."""
    with pytest.raises(ValueError, match=message):
        parse_scenario(text)


def test_a_key_is_not_shown() -> None:
    """The key that a scenario accepts stays out of its text form."""
    assert "hush" not in repr(scenario("default", key="hush"))
