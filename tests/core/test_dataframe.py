import json
import sys
from typing import Any

import pytest

from batchllm.core import ErrorInfo, WorkItemResult
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


def test_arrow_has_a_type_for_each_column() -> None:
    """Columns without any value as well, so that tables of several batches can be joined."""
    arrow = pytest.importorskip("pyarrow")
    table = WHOLE.to_arrow()
    assert table["item_id"].to_pylist() == ["a", "b"]
    assert table["input_tokens"].to_pylist() == [3, None]
    assert table["context"].to_pylist() == [{"k": 1}, None]
    empty = batch().to_arrow()
    assert empty.num_rows == 0
    typed = {"item_id": arrow.string(), "cost": arrow.float64(), "reasoning_tokens": arrow.int64()}
    for one in (table, empty):
        assert {name: one.schema.field(name).type for name in typed} == typed


def test_arrow_keeps_outputs_without_a_common_type_as_json() -> None:
    """Objects of a class as well; those of one shape become a struct."""
    pytest.importorskip("pyarrow")
    mixed = ["text", {"a": 1}, [1.5], ErrorInfo(True, False, False, "é"), object(), None]
    found = table_of(mixed)["output"].to_pylist()
    assert [json.loads(one) for one in found[:4]] == [
        "text",
        {"a": 1},
        [1.5],
        {
            "is_retryable": True,
            "is_rate_limit": False,
            "is_timeout": False,
            "error_category": "é",
            "suggested_wait": None,
            "hint": None,
        },
    ]
    assert "é" in found[3]
    assert found[4].startswith("<object")
    assert found[5] is None
    assert table_of([{"a": 1}, {"a": 2}])["output"].to_pylist() == [{"a": 1}, {"a": 2}]


def table_of(outputs: list[Any]) -> Any:
    results = [WorkItemResult(str(n), True, o, submission_index=n) for n, o in enumerate(outputs)]
    return batch(*results).to_arrow()


def test_the_model_and_the_reason_of_its_end_are_columns() -> None:
    """As the provider said them."""
    pytest.importorskip("polars")
    said = batch(done("a", metadata={"model": "m-1", "finish_reason": "length"}), done("b", 1))
    frame = said.to_dataframe("polars")
    assert list(frame["model"]) == ["m-1", None]
    assert list(frame["finish_reason"]) == ["length", None]


def test_a_column_without_any_value_has_its_type_in_polars_too() -> None:
    """Else frames of several batches could not be put one below the other."""
    polars = pytest.importorskip("polars")
    frames = [one.to_dataframe("polars") for one in (WHOLE, batch(done("c", 2)))]
    assert (
        polars.concat(one.select("item_id", "error", "input_tokens") for one in frames).height == 3
    )


def test_arrow_that_is_missing_is_reported_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the extra that brings it, too."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'needs pyarrow: .* pip install "batchllm\[parquet\]"'):
        WHOLE.to_arrow()
