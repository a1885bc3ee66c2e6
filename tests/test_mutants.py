"""The check of the numbers knows where their tests are, without running them."""

from __future__ import annotations

import pytest

from tests.mutants import ROOT, files_of, mutants
from tests.mutants_table import HELD_ELSEWHERE, MODULES, TESTS


@pytest.mark.parametrize("module", MODULES)
def test_each_module_with_numbers_has_tests_for_them(module: str) -> None:
    """A module that was split, or a file that was renamed, would leave the check in silence."""
    if mutants(module):
        for file, _, test in (one.partition("::") for one in files_of(module)):
            assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8")


def test_the_table_names_only_what_there_is() -> None:
    keys = {mutant.key for module in MODULES for mutant in mutants(module)}
    assert TESTS.keys() <= set(MODULES)
    assert HELD_ELSEWHERE.keys() <= keys


def test_a_number_is_halved_and_doubled_wherever_it_stands() -> None:
    """A constant, one of several in a row, and one within a function."""
    found = {(one.key, one.text) for one in mutants("provider_batch/pacing")}
    assert ("provider_batch/pacing._LEAST", "max(1, (100) // 2)") in found
    assert ("provider_batch/pacing._OF_THE_CAP", "(0.95) * 2") in found
    names = {one.name for one in mutants("policy/probing")}
    assert "Probing.on_rate:1.05" in names
