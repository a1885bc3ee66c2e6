"""Standard output that takes no letter, no byte, or only the first."""

import json
import os
from pathlib import Path

import pytest

from batchllm.cli.exits import ExitCode
from tests.e2e.cli_kit import finish, program

FULL = Path("/dev/full")


LETTERS = "é 日本… 😀 \x80"
"""Code points of two, four and eight hexadecimal digits, which Python escapes in three ways."""


def written_in(encoding: str, words: list[str], folder: Path) -> tuple[str, str]:
    """Return standard output and standard error of a run that ends well, the former in ASCII."""
    here = {"PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": f"{encoding}:strict"}
    with program(words, cwd=folder, env={**os.environ, **here}) as process:
        code, out, err = finish(process)
    assert code == 0, err
    assert out.isascii()
    return out, err


def test_help_has_no_letter_that_the_encoding_lacks(tmp_path: Path) -> None:
    """As in a file on Windows; what is there can be read by anyone."""
    out, err = written_in("ascii", ["run", "--help"], tmp_path)
    assert (out[:6], err) == ("Usage:", "")


def test_prompts_that_the_encoding_lacks_are_escaped_as_in_json(tmp_path: Path) -> None:
    """A dry run shows a chat as JSON, which has an escape of one width only."""
    chat = [{"role": "user", "content": LETTERS}]
    line = json.dumps({"prompt": chat}, ensure_ascii=False)
    (tmp_path / "in.jsonl").write_text(f"{line}\n", encoding="utf-8")
    out, err = written_in("ascii", ["run", "in.jsonl", "-m", "sim:instant", "--dry-run"], tmp_path)
    shown = out[out.index("  [") : out.index("  ]") + 3]
    assert (json.loads(shown), err) == (chat, "")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
def test_a_summary_for_scripts_is_json_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    """Readers of JSON take it for UTF-8, whatever the system writes."""
    (tmp_path / "in.jsonl").write_text('{"prompt": "Hi"}\n')
    name = "é 日本… 😀.jsonl"
    words = ["run", "in.jsonl", "-m", "sim:instant", "-o", name, "--json"]
    out, _ = written_in(encoding, words, tmp_path)
    assert json.loads(out)["output"] == name


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
