import sys
from typing import Any

import pytest

from batchllm.core import WorkItemResult
from tests.core.test_results import batch, done, lost

WHOLE = batch(
    lost("b", "timeout", 1, spans=(1, 2, 3, 4)),
    done("a", 0, token_usage={"input_tokens": 3}, cost=0.5, context={"k": 1}),
)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_row_per_result_in_input_order(library: Any) -> None:
    """Fields, tokens and times are columns; what is unknown stays empty."""
    pytest.importorskip(library)
    frame = WHOLE.to_dataframe(library)
    assert type(frame).__module__.startswith(library)
    assert list(frame["item_id"]) == ["a", "b"]
    assert list(frame["success"]) == [True, False]
    assert frame["input_tokens"][0] == 3
    assert frame["input_tokens"][1] != 3
    assert list(frame["execution"]) == [0, 3]
    assert frame["error_category"][1] == "timeout"


def test_pandas_is_taken_first_and_polars_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is there."""
    pytest.importorskip("polars")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert type(WHOLE.to_dataframe()).__module__.startswith("polars")


def test_outputs_without_a_common_type_stay_objects() -> None:
    """Polars wants one type per column; a mixed column keeps its Python objects."""
    pytest.importorskip("polars")
    outputs = ["text", {"a": 1}, [1.5]]
    results = [WorkItemResult(str(n), True, o, submission_index=n) for n, o in enumerate(outputs)]
    assert list(batch(*results).to_dataframe("polars")["output"]) == outputs


def test_a_missing_library_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No library, or not the one that was asked for."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="needs pandas or polars: pip install pandas"):
        WHOLE.to_dataframe()
    with pytest.raises(ImportError, match="needs polars: pip install polars"):
        WHOLE.to_dataframe("polars")


def test_other_libraries_are_refused() -> None:
    """A wrong name says which there are."""
    with pytest.raises(ValueError, match="give 'pandas' or 'polars'"):
        WHOLE.to_dataframe("arrow")  # type: ignore[arg-type]
