"""Texts of errors that are fit for results, files and logs, whatever was raised."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import RecordedError, WorkItemResult, encodable, message_of


@given(st.text(st.characters(), max_size=50))
def test_any_text_can_be_encoded_and_others_stay(text: str) -> None:
    """Half of a surrogate pair is spelled out; a text without one comes back as it is."""
    spelled = encodable(text)
    assert spelled.encode().decode() == spelled
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "\\ud" in spelled
    else:
        assert spelled == text


def test_the_name_of_a_file_can_be_said() -> None:
    """One that is not in the system's encoding has half a pair for each byte."""
    assert message_of(ValueError("no caf\udce9.txt")) == r"no caf\udce9.txt"


def test_a_page_is_not_kept_whole() -> None:
    """An error may quote a page or a prompt of a megabyte."""
    said = message_of(ValueError("x" * 1_000_000))
    assert said.endswith("x… (1,000,000 characters)")
    assert len(said) < 10_100


@pytest.mark.parametrize("place", [*range(9_940, 10_010, 7), 10_199])
def test_no_key_is_cut_in_two(place: int) -> None:
    """Wherever it stands, none of it is seen."""
    said = message_of(ValueError("." * place + "sk-0123456789abcdef0123456789" + "." * 5_000))
    assert "sk-" not in said


class Broken(Exception):
    """One whose own code fails."""

    def __str__(self) -> Any:
        raise LookupError("no words")


class NoText(Exception):
    """One that gives something else than a text."""

    def __str__(self) -> Any:
        return 5


@pytest.mark.parametrize(("error", "kind"), [(Broken(), "LookupError"), (NoText(), "TypeError")])
def test_a_result_with_a_broken_exception_can_be_written(error: Exception, kind: str) -> None:
    """Its type and what is wrong with it are all that there is to say."""
    said = f"(its message cannot be read: {kind})"
    assert message_of(error) == said
    result: WorkItemResult[Any, Any] = WorkItemResult("a", False, exception=error)
    written = WorkItemResult.from_dict(result.to_dict())
    assert isinstance(written.exception, RecordedError)
    assert written.exception.message == said


def test_an_exception_is_written_without_keys() -> None:
    """A file of results may go anywhere."""
    error = ValueError("settings {'key': 'sk-0123456789abcdef'}")
    result: WorkItemResult[Any, Any] = WorkItemResult("a", False, exception=error)
    assert "sk-" not in str(result.to_dict())
