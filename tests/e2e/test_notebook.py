"""Jupyter: a real kernel, whose event loop already runs, and what a cell shows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.patience import PATIENCE

CELLS = {
    "blocking": "run_batch_sync(['a', 'b'], llm('sim:default'))",
    "streamed": (
        "with stream_batch_sync(['a'], llm('sim:default')) as results:\n"
        "    found = list(results)\n"
        "found[0]"
    ),
    "awaited": "await run_batch(['a', 'b'], llm('sim:default'), progress=True)",
    "with progress": "run_batch_sync(['a', 'b'], llm('sim:default'), progress=True)",
    "a frame": "run_batch_sync(frame, llm('sim:default')).to_dataframe('polars')",
    "a source that breaks": (
        "def items():\n    yield 'a'\n    raise OSError('no disk')\n"
        "run_batch_sync(items(), llm('sim:default'))"
    ),
    "a wrong setting": "run_batch_sync(['a'], llm('sim:default'), concurrency=-1)",
    "failures": (
        "def block(prompt):\n    raise ValueError('bad ' + prompt)\n"
        "run_batch_sync(['a'], block).raise_for_failures()"
    ),
}
FIRST = (
    "import polars\n"
    "from batchllm import llm, run_batch, run_batch_sync, stream_batch_sync\n"
    "frame = polars.DataFrame({'id': [7, 8], 'prompt': ['a', 'b'], 'year': [1, 2]})"
)


@pytest.fixture(scope="module")
def outputs() -> dict[str, list[Any]]:
    """Give what each cell showed, from one run of the notebook."""
    import nbformat  # not where each process pays for it that collects the tests
    from nbclient import NotebookClient

    pytest.importorskip("polars")
    cells = {"imports": FIRST, **CELLS}
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in cells.values()]
    )
    options: dict[str, Any] = {"timeout": PATIENCE, "kernel_name": "python3", "allow_errors": True}
    NotebookClient(book, **options).execute()
    return {name: cell.outputs for name, cell in zip(cells, book.cells, strict=True)}


def html_of(shown: list[Any]) -> list[str]:
    return [one["data"]["text/html"] for one in shown if "text/html" in one.get("data", {})]


def error_of(shown: list[Any]) -> str:
    (error,) = shown
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"]))


def test_blocking_calls_work_where_a_loop_runs(outputs: dict[str, list[Any]]) -> None:
    """Their results are shown as tables."""
    (batch,), (result,) = html_of(outputs["blocking"]), html_of(outputs["streamed"])
    assert "2: 2 succeeded, 0 failed" in batch
    assert "The first 2" in batch
    assert ">Output</th>" in result


@pytest.mark.parametrize("name", ["awaited", "with progress"])
def test_progress_is_one_output_that_is_kept_up_to_date(
    outputs: dict[str, list[Any]], name: str
) -> None:
    """Without widgets, and without a line on standard error."""
    bar, batch = html_of(outputs[name])
    assert re.fullmatch(
        r'<progress value="2" max="2"></progress> 2/2 done, 0 failed, \d+:\d\d', bar
    )
    assert "2 succeeded" in batch
    assert len(outputs[name]) == 2


def test_a_frame_goes_in_and_comes_out(outputs: dict[str, list[Any]]) -> None:
    """Each row an item, its other columns the context."""
    (shown,) = html_of(outputs["a frame"])
    assert "item_id" in shown
    assert "shape: (2, " in shown


def test_errors_are_shown_without_our_frames(outputs: dict[str, list[Any]]) -> None:
    """The user's own lines and one of ours; the rest is in the message."""
    broken = error_of(outputs["a source that breaks"])
    assert "SourceError: the items raised OSError: no disk" in broken
    assert "----> 3     raise OSError('no disk')" in broken
    for name in ("a source that breaks", "a wrong setting", "failures"):
        shown = error_of(outputs[name])
        assert len(re.findall(r"^File ", shown, re.MULTILINE)) <= 1, shown
        assert len(shown.splitlines()) < 40


def test_the_line_that_failed_in_a_thread_is_shown(outputs: dict[str, list[Any]]) -> None:
    """A kept frame holds nothing, and IPython finds its line all the same."""
    shown = error_of(outputs["failures"])
    assert "----> 2     raise ValueError('bad ' + prompt)" in shown
    assert "BatchFailures: 1 of 1 items have no answer: 0: ValueError: bad a" in shown
