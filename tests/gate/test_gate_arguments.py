"""The arguments of a gate are checked when it is made, by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from batchllm.core import ConfigError
from batchllm.gate import Gate
from batchllm.policy import Limit

NUMBERS = [0, -1, math.nan, math.inf, -math.inf, "5", True]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("calls", [0, -1, math.nan, math.inf, 1.5, "5", True]),
        ("requests_per_minute", [*NUMBERS, 1e308, 1e-9]),
        ("tokens_per_minute", [*NUMBERS, 1e308, 1e-9]),
        ("limits", [["x"], "x", Limit("requests", 5), 3, Limit, [None]]),
        ("rate_limit", [60.0, "fixed"]),
        ("park_after", NUMBERS),
        ("outage_after", NUMBERS),
        ("settlement", ["zzz", None, 1]),
        ("learn_calls", [None, 1, "yes"]),
        ("learned", [{}, 1]),
        ("scope", ["openai", 1]),
        ("seed", ["x", 1.5, True]),
    ],
)
def test_a_gate_refuses_what_cannot_work(name: str, bad: list[Any]) -> None:
    """The message names the argument, the value and what to give."""
    for value in bad:
        with pytest.raises(ConfigError, match=rf"^Gate\({name}(\[0\])?=…\) is .*; give "):
            Gate(**{name: value})


@pytest.mark.parametrize(
    "good",
    [
        {"requests_per_minute": 1 / 43_200},
        {"requests_per_minute": 1 / 527_040},
        {"tokens_per_minute": 1e12},
        {"calls": 1, "park_after": None, "outage_after": None, "limits": iter([])},
        {"limits": (Limit("requests", 1, per=31 * 86_400),)},
        {"settlement": "input_only", "learn_calls": True, "seed": -3},
    ],
)
def test_a_gate_accepts_what_can(good: dict[str, Any]) -> None:
    """From one call a year to a million million a minute."""
    assert Gate(**good).waiting == 0


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("dimension", ["calls", "", None]),
        ("amount", [0, -1, 0.5, math.nan, math.inf, "5", True]),
        ("per", [*NUMBERS, 1e300, None]),
        ("window", [*NUMBERS, 1e300]),
        ("jitter", [-1, math.nan, math.inf, "5", True, None]),
    ],
)
def test_a_limit_refuses_what_cannot_work(name: str, bad: list[Any]) -> None:
    """In the same words."""
    for value in bad:
        given: dict[str, Any] = {"dimension": "requests", "amount": 5, name: value}
        with pytest.raises(ConfigError, match=rf"^Limit\.{name} is .*; give "):
            Limit(**given)
