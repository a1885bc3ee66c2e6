"""Arguments are files or one prompt; what looks like a file is never sent."""

from pathlib import Path

import pytest

from batchllm.cli.arguments import Sources, sources_of
from batchllm.cli.exits import UsageError
from batchllm.cli.settings import option_names


def sources(*words: str) -> Sources:
    return sources_of(words, option_names())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("prompts.jsonl", "my prompts", "data/a.csv"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    "text", ["What is 2+2?", "Name a colour.", "and/or: what is it?", "two\nlines", "x " * 5000]
)
def test_one_argument_with_a_space_is_a_prompt(text: str) -> None:
    """It is what people type first."""
    assert sources(text) == Sources(prompt=text)


def test_files_are_files() -> None:
    """Also with spaces in their names, and several of them."""
    assert sources("prompts.jsonl", "data/a.csv").files == ("prompts.jsonl", "data/a.csv")
    assert sources("my prompts").files == ("my prompts",)
    assert sources("-").files == ("-",)


def test_one_file_has_one_name() -> None:
    """Lines of several inputs are known by it: after ``a``, ``./a`` would pay for them again."""
    within = str(Path("data", "a.csv"))
    assert sources("./prompts.jsonl", "data//a.csv").files == ("prompts.jsonl", within)
    Path("-").write_text("x")
    assert sources("./-").files == ("./-",)


@pytest.mark.parametrize(
    "word",
    [
        "promts.csv",
        "my file.jsonl",
        "./no such file",
        "data/no such",
        "~/x y",
        "/x y",
        "a b.csv.gz",
    ],
)
def test_what_looks_like_a_file_is_never_a_prompt(word: str) -> None:
    """A misspelt name must not go to a provider."""
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        sources(word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to run: give a file"),
        (["--limt", "3"], "Unknown option: --limt. Did you mean --limit?"),
        (["--zzzzz=3"], "Unknown option: --zzzzz. (batchllm run --help shows how)"),
        (["promts.jsonl"], "did you mean prompts.jsonl?"),
        (["hello"], "echo hello | batchllm run -"),
        (["data"], "the input data is a folder; give its files, such as data/*.jsonl"),
        (["-", "-"], "can be read only once"),
        ([""], "an input is blank"),
        (["  "], "an input is blank"),
        (["What is it?", "prompts.jsonl"], "What is it? cannot be read"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(words: list[str], message: str) -> None:
    """It says what to do instead."""
    with pytest.raises(UsageError) as caught:
        sources(*words)
    assert message in str(caught.value)
