"""A table is read row by row, never by the names of its columns."""

from typing import Any

import pytest
from attrs import frozen

from batchllm import blocking_source, run_batch
from batchllm.core import Category, InvalidItemError
from batchllm.testing import run_inline

pytestmark = pytest.mark.anyio


@pytest.fixture
def pandas() -> Any:
    """Give the package, which takes a second to import in each process that collects the tests."""
    return pytest.importorskip("pandas")


@pytest.fixture
def polars() -> Any:
    return pytest.importorskip("polars")


@frozen
class Arrow:
    """Has what is used of ``pyarrow.Table``."""

    columns: dict[str, list[Any]]

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def slice(self, start: int, length: int) -> "Arrow":
        return Arrow({name: col[start : start + length] for name, col in self.columns.items()})

    def to_pylist(self) -> list[dict[str, Any]]:
        values = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in values]


Arrow.__module__, Arrow.__name__ = "pyarrow.lib", "Table"


@pytest.fixture(params=["pandas", "polars", "arrow"])
def table(request: pytest.FixtureRequest) -> Any:
    """Give each kind of table, by what makes one of columns."""
    if request.param == "arrow":
        return Arrow
    return request.getfixturevalue(request.param).DataFrame


async def shout(prompt: Any) -> str:
    return str(prompt).upper()


async def test_rows_are_items(table: Any) -> None:
    """The id names the item and the other columns are its context."""
    rows = table({"id": [7, 8], "prompt": ["a", "b"], "tag": ["x", "y"], "n": [1, 2]})
    results = (await run_batch(rows, shout)).in_input_order()
    assert [r.item_id for r in results] == ["7", "8"]
    assert [r.output for r in results] == ["A", "B"]
    assert [r.context for r in results] == [{"tag": "x", "n": 1}, {"tag": "y", "n": 2}]
    source = blocking_source(rows, run_sync=run_inline)
    assert (await run_batch(source, shout)).outputs == ["A", "B"]


async def test_rows_without_an_id_are_numbered(table: Any) -> None:
    """Messages are a prompt, too."""
    said = [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]]
    results = (await run_batch(table({"messages": said}), shout)).in_input_order()
    assert [r.item_id for r in results] == ["0", "1"]
    assert [r.context for r in results] == [{}, {}]
    assert all("CONTENT" in r.output for r in results)


async def test_a_table_without_prompts_is_refused_with_the_line_that_helps(table: Any) -> None:
    """Its column names were sent as prompts, and reported as a success."""
    with pytest.raises(InvalidItemError, match=r"columns: text, tag\).*table\['text'\]"):
        await run_batch(table({"text": ["a"], "tag": ["x"]}), shout)


async def test_a_row_that_lacks_its_prompt_is_an_invalid_item(pandas: Any) -> None:
    """The others go on."""
    rows = pandas.DataFrame({"id": ["a", "b"], "prompt": ["x", None]})
    good, bad = (await run_batch(rows, shout)).in_input_order()
    assert (good.output, bad.error_category) == ("X", Category.INVALID_ITEM)


@pytest.mark.parametrize("missing", [None, float("nan")])
async def test_a_missing_id_leaves_the_other_ids_alone(pandas: Any, missing: Any) -> None:
    """pandas makes floats of the whole column: each row was refused, id 1 as 1.0."""
    rows = pandas.DataFrame({"id": [1, missing, 3], "prompt": ["a", "b", float("nan")]})
    good, unnamed, blank = (await run_batch(rows, shout)).in_input_order()
    assert (good.item_id, good.output) == ("1", "A")
    assert "item_id is None" in str(unnamed.error)
    assert "its prompt is None" in str(blank.error)


async def test_a_lazy_frame_is_refused(polars: Any) -> None:
    """It has no rows yet, and collecting it may take long: the caller says when."""
    with pytest.raises(InvalidItemError, match=r"\.collect\(\)"):
        await run_batch(polars.LazyFrame({"prompt": ["a"]}), shout)
