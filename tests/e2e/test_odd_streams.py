"""Standard output that takes no letter, no byte, or only the first."""

import os
from pathlib import Path

import pytest

from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import finish, program

FULL = Path("/dev/full")


@pytest.mark.parametrize("words", [["run", "--help"], ["run", "in.jsonl", "-m", "sim:instant"]])
def test_letters_that_the_encoding_lacks_are_escaped(tmp_path: Path, words: list[str]) -> None:
    """As those of help and prompts, in a file on Windows; what is there can be read by anyone."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "Say 日本…"}\n', encoding="utf-8")
    words = [*words, "--dry-run"] if "--help" not in words else words
    here = {"PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "ascii"}
    with program(words, cwd=tmp_path, env={**os.environ, **here}) as process:
        code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert out.isascii()
    assert "--help" in words or "\\u2026" in out


def test_help_ends_silently_with_its_reader() -> None:
    """As in `batchllm run --help | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with program(["run", "--help"], stdout=writing) as process:
        os.close(writing)
        code, _, err = finish(process)
    assert (code, err) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_no_mistake_of_the_program() -> None:
    """The message says it in words, and the exit code is that of an output that broke."""
    with FULL.open("wb") as full, program(["models"], stdout=full) as process:
        code, _, err = finish(process)
    assert code == ExitCode.STOPPED
    assert err.startswith("batchllm: it cannot be written: No space left on device (")
