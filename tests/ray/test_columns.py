"""The shapes of outputs and the columns of rows; the folder of a journal; what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from batchllm import (
    Balance,
    Budget,
    ConfigError,
    EmbeddingStrategy,
    JournalError,
    ProcessorConfig,
    WorkItemResult,
    llm,
)
from batchllm.core import Tally
from batchllm.ray import RayLeases, RunSummary, last_summary, run_dataset
from batchllm.ray.checks import check_choices, limits_of_all, options_of_worker
from batchllm.ray.columns import arrow_type_of, with_results
from batchllm.ray.folder import read_folder
from batchllm.ray.output_types import JSON, ListOf, StructOf, fit, output_type_of, shape_of


@frozen
class Inner:
    score: float | None = None
    tags: tuple[str, ...] = ()


@frozen
class Outer:
    name: str
    count: int
    kind: Literal["a", "b"]
    inner: Inner
    parts: list[Inner]
    odd: str | int
    table: dict[str, int]
    flag: bool = False


def test_each_type_has_its_shape() -> None:
    inner = StructOf({"score": "float", "tags": ListOf("text")})
    assert shape_of(Outer) == StructOf(
        {
            "name": "text",
            "count": "int",
            "kind": "text",
            "inner": inner,
            "parts": ListOf(inner),
            "odd": JSON,
            "table": JSON,
            "flag": "bool",
        }
    )
    assert shape_of(list[float]) == ListOf("float")
    assert shape_of(int) == "int"


@frozen
class Tree:
    name: str
    children: tuple["Tree", ...] = ()  # noqa: UP037


def test_a_type_that_refers_to_itself_has_an_end() -> None:
    shape = shape_of(Tree)
    assert fit({"name": "a", "children": [{"name": "b", "children": []}]}, shape)["name"] == "a"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
SHAPES = st.recursive(
    st.sampled_from(["bool", "int", "float", "text", "json"]),
    lambda inner: (
        st.builds(ListOf, inner)
        | st.builds(StructOf, st.dictionaries(st.sampled_from("abc"), inner, min_size=1))
    ),
    max_leaves=4,
)


@given(VALUES, SHAPES)
def test_a_value_that_fits_is_one_that_arrow_takes(value: Any, shape: Any) -> None:
    """And any other is refused by what it is, not by an error of another kind."""
    arrow = pytest.importorskip("pyarrow")
    try:
        fitted = fit(value, shape)
    except (TypeError, ValueError, OverflowError):
        return
    arrow.array([fitted], arrow_type_of(shape))


def test_the_type_comes_from_the_strategy_its_parts_or_the_user() -> None:
    typed = llm("sim:default", output=Inner)
    assert output_type_of(typed) is Inner
    assert output_type_of(Balance([typed, llm("sim:flaky", output=Inner)])) is Inner
    assert output_type_of(Balance([typed, llm("sim:default")])) is None
    assert output_type_of(llm("sim:default")) is None
    assert output_type_of(llm("sim:default"), list[str]) == list[str]
    vectors = EmbeddingStrategy("m", profile="ollama")
    assert shape_of(output_type_of(vectors)) == ListOf(ListOf("float"))
    with pytest.raises(ConfigError, match="output is 'text'"):
        output_type_of(llm("sim:default"), "text")


def test_the_users_columns_stay_and_those_of_our_names_are_put_together() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"id": [1, 2], "error": ["mine", None], "input": [3, 4]})
    results = [
        WorkItemResult("1", True, output="yes", cost=0.5),
        WorkItemResult("2", False, error="no", error_category="timeout"),
    ]
    rows = with_results(table, results, None).to_pylist()
    assert [row["id"] for row in rows] == [1, 2]
    assert rows[0]["input"] == {"error": "mine", "input": 3}
    assert (rows[0]["output"], rows[0]["error"], rows[0]["cost"]) == ("yes", None, 0.5)
    assert (rows[1]["output"], rows[1]["error"]) == (None, "no")


def test_an_output_that_does_not_fit_its_column_is_paid_for_and_named() -> None:
    arrow = pytest.importorskip("pyarrow")
    results = [WorkItemResult("1", True, output=2**70), WorkItemResult("2", True, output=5)]
    rows = with_results(arrow.table({"id": [1, 2]}), results, "int").to_pylist()
    assert [row["output"] for row in rows] == [None, 5]
    assert rows[0]["success"]
    assert "does not fit the column" in rows[0]["error"]


def test_a_table_without_rows_has_the_types_of_one_with_rows() -> None:
    arrow = pytest.importorskip("pyarrow")
    result = WorkItemResult("1", True, output="yes", cost=0.5)
    table = arrow.table({"id": [1]})
    full, empty = with_results(table, [result], None), with_results(table[:0], [], None)
    assert full.schema == empty.schema


# -- the folder ------------------------------------------------------------------------------------


def test_each_run_has_a_number_of_its_own_and_segments_come_in_their_order(tmp_path: Path) -> None:
    folder = read_folder(tmp_path / "run", make=True)
    assert read_folder(tmp_path / "run", make=True) == folder
    assert [folder.new_run() for _ in range(3)] == [1, 2, 3]
    wanted = [(1, 2, 1), (1, 10, 1), (1, 10, 2), (2, 0, 1)]
    for numbers in reversed(wanted):
        folder.segment(*numbers).touch()
    folder.segment(3, 0, 1).touch()  # of the run that reads
    assert folder.earlier_segments(3) == [folder.segment(*numbers) for numbers in wanted]
    assert folder.salt.hex() not in repr(folder)
    assert (tmp_path / "run").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("", ConfigError, "journal is ''"),
        (7, ConfigError, "journal is 7"),
        ("s3://bucket/run", ConfigError, "object stores cannot"),
    ],
)
def test_what_is_no_folder_is_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_folder(given, make=True)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(JournalError, match="is no folder of batchllm") as error:
        read_folder(tmp_path, make=True)
    assert error.value.problem == "foreign"
    with pytest.raises(JournalError, match="is not there on this machine"):
        read_folder(tmp_path / "nowhere", make=False)
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="no folder of"):
        read_folder(tmp_path / "file", make=True)


def test_the_summary_of_the_last_run_is_read_again(tmp_path: Path) -> None:
    folder = read_folder(tmp_path / "run", make=True)
    with pytest.raises(LookupError, match="no run"):
        last_summary(tmp_path / "run")
    results = [WorkItemResult("1", True, cost=0.5), WorkItemResult("2", False, error="no")]
    summary = RunSummary.of(Tally.of(results), run=2, workers_lost=1, seconds=61.0)
    folder.summary(1).write_text(RunSummary(run=1).to_json())
    folder.summary(2).write_text(summary.to_json())
    assert last_summary(tmp_path / "run") == summary
    assert str(summary) == "2 rows: 1 answered, 1 failed, $0.50, 1 workers lost, 1:01"


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (ProcessorConfig(budget=Budget(max_cost=5.0)), "each worker would spend as much"),
        (ProcessorConfig(max_requests_per_minute=60), "give requests_per_minute to run_dataset"),
        (ProcessorConfig(max_tokens_per_minute=60), "give tokens_per_minute to run_dataset"),
        (ProcessorConfig(dry_run=True), "keeps answers"),
    ],
)
def test_settings_that_each_worker_would_have_are_refused(
    config: ProcessorConfig, problem: str
) -> None:
    """A quota for each of ten workers is ten quotas, and what a dry run says is no answer."""
    settings: dict[str, Any] = {
        "concurrency": None,
        "middlewares": (),
        "observers": (),
        "error_classifier": None,
    }
    with pytest.raises(ConfigError, match=problem):
        options_of_worker(llm("sim:default"), config=config, **settings)
    assert options_of_worker(llm("sim:default"), config=None, **settings)["concurrency"] == "auto"


def test_a_progress_that_cannot_be_called_is_refused_before_anything_is_paid_for() -> None:
    """It is a function here, and no display as in ``run_batch``."""
    check_choices("rerun", print)
    check_choices("rerun", None)
    with pytest.raises(ConfigError, match="progress is True, a bool; give a function"):
        check_choices("rerun", True)


def test_a_wrong_limit_is_named_by_what_was_called() -> None:
    with pytest.raises(ConfigError, match=r"^run_dataset.requests_per_minute=.* is -1"):
        limits_of_all(-1, None, ())


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    for use in (
        lambda: run_dataset(None, "sim:default", journal=tmp_path / "run"),
        lambda: RayLeases("openai"),
    ):
        with pytest.raises(ImportError, match=r'pip install "batchllm\[ray\]"'):
            use()


def test_a_name_that_ray_is_not_asked_for_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"RayLeases\(name=…\) is ''"):
        RayLeases("")
