"""The clock of the stores that all processes of a machine read alike."""

from __future__ import annotations

import time

import pytest

from batchllm.shared.stores import boot_clock


def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By ``CLOCK_BOOTTIME`` where there is one, as the windows of servers do."""
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 77, raising=False)
    monkeypatch.setattr(time, "clock_gettime", {77: 5_000.0}.__getitem__)
    assert boot_clock() == 5_000.0


def test_without_such_a_clock_it_is_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: 4_000.0)
    assert boot_clock() == 4_000.0
