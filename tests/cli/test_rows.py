"""Results as rows: ours first, nothing of the input lost, always JSON."""

import json
from datetime import UTC, date, datetime
from typing import Any

from batchllm.cli.prompts import Line
from batchllm.cli.rows import RowMaker, as_cell, as_json, column_names, error_of
from batchllm.cli.source import Taken
from batchllm.core import TokenUsage, WorkItemResult


def taken(keeps_id: bool = True, source: str | None = None, **fields: Any) -> Taken:
    line = Line(
        number=4,
        item_id=fields.get("id", "line-4"),
        own_id=fields.get("id"),
        prompt="what was sent",
        fields=fields,
    )
    return Taken(line, "in.jsonl", source, keeps_id)


def result(**given: Any) -> WorkItemResult[Any, Any]:
    return WorkItemResult(**{"item_id": "4", "success": True, "output": "yes", **given})


def refused(error: str = "made up") -> WorkItemResult[Any, Any]:
    return result(
        success=False, output=None, error=error, error_category="invalid_item", submission_index=3
    )


def test_a_row_has_the_documented_fields_first() -> None:
    """Then come the input's own, and an id keeps its type."""
    spans = (9.0, 0.0, 0.1, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0)
    row = RowMaker(model="m").row(
        taken(id=9, prompt="p", tag="t"),
        result(token_usage=TokenUsage(input_tokens=3), attempts=2, spans=spans, cost=0.5),
    )
    started = datetime.fromisoformat(row.pop("started_at"))
    assert 15 <= (datetime.now(UTC) - started).total_seconds() < 3600
    assert list(row.items()) == [
        ("id", 9),
        ("success", True),
        ("output", "yes"),
        ("error", None),
        ("error_category", None),
        ("usage", {"input_tokens": 3}),
        ("cost", 0.5),
        ("attempts", 2),
        ("calls", 2),
        ("model", "m"),
        ("prompt", "p"),
        ("tag", "t"),
    ]


def test_the_model_that_answered_is_named() -> None:
    """The name from the provider wins over the one that was asked for."""
    answered = result(metadata={"model": "gpt-5-mini-2026"})
    assert RowMaker(model="gpt-5-mini").row(taken(), answered)["model"] == "gpt-5-mini-2026"
    assert RowMaker().row(taken(), result())["model"] is None


def test_unknown_usage_is_null() -> None:
    """Unknown is not the same as nothing."""
    assert RowMaker().row(taken(), result())["usage"] is None


def test_fields_called_like_ours_are_kept_under_input() -> None:
    """Ours win, theirs stay readable; a field called input is one of them."""
    row = RowMaker().row(taken(id="a", output="old", input="x", tag=1), result())
    assert row["output"] == "yes"
    assert row["input"] == {"output": "old", "input": "x"}
    assert row["tag"] == 1
    assert "input" not in RowMaker().row(taken(id="a"), result())


def test_a_line_that_was_no_row_is_kept_as_text() -> None:
    """The text stands under input, and the error has the line's number."""
    bad = Line(number=4, item_id="line-4", fields={}, text="oops", problem="not JSON")
    row = RowMaker().row(Taken(bad, "in.jsonl", None, keeps_id=False), refused())
    assert (row["input"], row["error"]) == ("oops", "line 4: not JSON")
    assert (row["id"], row["line"]) == (None, "in.jsonl:4")


def test_what_the_engine_refuses_is_said_by_line() -> None:
    """Its own words for items become the file's."""
    error = "item 3: item_id is ' '; give each item an id that is not blank"
    assert error_of(taken(), refused(error)) == (
        "line 4: its id is ' '; give each item an id that is not blank"
    )
    failed = result(success=False, error="item 3: no", error_category="timeout")
    assert error_of(taken(), failed) == "item 3: no"


def test_a_refused_line_keeps_an_id_that_no_other_row_has() -> None:
    """It is found by it; its place and its fields are there as well."""
    row = RowMaker().row(taken(id="a", prompt="p", line="theirs", tag=1), refused())
    assert (row["id"], row["line"], row["prompt"], row["tag"]) == ("a", "in.jsonl:4", "p", 1)
    assert row["input"] == {"line": "theirs"}


def test_a_refused_line_has_no_id_of_another() -> None:
    """A join by id finds the one row that was sent; the line's place and own id are kept."""
    row = RowMaker().row(taken(keeps_id=False, id="a", line="theirs", tag=1), refused())
    assert (row["id"], row["line"], row["tag"]) == (None, "in.jsonl:4", 1)
    assert row["input"] == {"id": "a", "line": "theirs"}
    sent = RowMaker().row(taken(keeps_id=False, id="a", line="theirs"), result())
    assert (sent["id"], sent["line"], "input" in sent) == ("a", "theirs", False)


def test_with_several_inputs_each_row_has_its_source() -> None:
    """Their lines may share ids."""
    row = RowMaker(several=True).row(taken(source="a.jsonl", id=1), result())
    assert row["source"] == "a.jsonl"


def test_more_is_kept_if_it_is_asked_for() -> None:
    """The prompt as it was sent, and the metadata of the provider."""
    maker = RowMaker(keep_prompt=True, keep_metadata=True)
    row = maker.row(taken(), result(metadata={"finish_reason": "stop"}))
    assert row["sent_prompt"] == "what was sent"
    assert row["metadata"] == {"finish_reason": "stop"}
    assert RowMaker().row(taken(), result()).keys().isdisjoint({"sent_prompt", "metadata"})
    assert maker.row(taken(), refused())["sent_prompt"] is None


def test_a_table_has_a_column_for_everything() -> None:
    """Ours, those of the input that are called otherwise, and one for what is left over."""
    names = column_names(RowMaker().names, ["id", "prompt", "input", "tag"])
    assert names == [*RowMaker().names, "prompt", "tag", "input", "extra"]


def test_cells_hold_plain_values() -> None:
    """Nested ones are JSON."""
    assert as_cell({"a": ["é"]}) == '{"a": ["é"]}'
    assert (as_cell("x"), as_cell(None), as_cell(float("nan"))) == ("x", None, None)


def test_an_output_with_infinity_is_still_a_row_of_json() -> None:
    """It is paid for, so it is written, with null for what JSON has no number for."""
    row = {"id": "a", "output": {"x": [float("inf"), 1.5, (float("nan"),)], "half": "\ud83d"}}
    line = as_json(row)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(line, parse_constant=refuse)
    assert read == {"id": "a", "output": {"x": [None, 1.5, [None]], "half": "\ud83d"}}
    assert as_json({"output": float("-inf")}) == '{"output": null}'


def test_values_that_json_does_not_have_become_text() -> None:
    """Parquet has days and bytes; an output may be an object of a class."""
    assert as_json([date(2026, 1, 2), b"\x01"]) == '["2026-01-02", "01"]'
