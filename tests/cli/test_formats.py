"""The name of a file shows its format."""

import pytest

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import FileFormat, format_of_input, format_of_output


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", FileFormat("jsonl")),
        ("A.NDJSON", FileFormat("jsonl")),
        ("a.json", FileFormat("json")),
        ("a.csv", FileFormat("csv")),
        ("a.b.tsv.gz", FileFormat("tsv", packed=True)),
        ("a.txt", FileFormat("text")),
        ("a.parquet", FileFormat("parquet")),
        ("-", FileFormat("jsonl")),
    ],
)
def test_inputs(name: str, form: FileFormat) -> None:
    """In any case, and packed."""
    assert format_of_input(name) == form


def test_what_the_user_says_wins() -> None:
    """A name may say nothing, or the wrong thing; that it is packed is seen all the same."""
    assert format_of_input("x", "csv") == FileFormat("csv")
    assert format_of_input("x.gz", "text") == FileFormat("text", packed=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x", "does not show its format; give --input-format with one of jsonl, json, csv"),
        ("x.xlsx", "save it as CSV"),
        ("x.zst", "zstdcat FILE | batchllm run -"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused_with_a_way(name: str, message: str) -> None:
    """None is taken for lines of text."""
    with pytest.raises(UsageError) as caught:
        format_of_input(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("out.jsonl", ("jsonl", False)),
        ("out", ("jsonl", False)),
        ("/dev/null", ("jsonl", False)),
        ("out.CSV", ("csv", False)),
        ("out.tsv.gz", ("tsv", True)),
        ("out.jsonl.gz", ("jsonl", True)),
        ("out.parquet", ("parquet", False)),
    ],
)
def test_outputs(name: str, kind: tuple[str, bool]) -> None:
    """JSON lines, unless it is a table."""
    assert format_of_output(name) == kind


@pytest.mark.parametrize("name", ["out.json", "out.xlsx", "out.parquet.gz", "out.zst"])
def test_a_name_of_another_format_is_refused(name: str) -> None:
    """No file is made that is not what its name says."""
    with pytest.raises(UsageError, match="the output"):
        format_of_output(name)
