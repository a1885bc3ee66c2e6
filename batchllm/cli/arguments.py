"""Arguments of ``batchllm run``: files, standard input, or one prompt."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from batchllm.cli.exits import UsageError
from batchllm.cli.formats import known_suffix

__all__ = ["Sources", "sources_of"]


@frozen
class Sources:
    """The sources of prompts: some files, or the one prompt that was typed.

    Attributes:
        files: Names of files; ``-`` is standard input.
        prompt: The prompt, if there are no files.
    """

    files: tuple[str, ...] = ()
    prompt: str | None = None


def sources_of(words: Sequence[str], options: Sequence[str]) -> Sources:
    """Return what *words* stand for.

    A single argument with a space in it that is not the name of a file is a prompt; one that
    looks like a file's name never is, so that a misspelt name is not sent to a provider.

    Args:
        words: The arguments that are no options.
        options: The names of all options, to find what a misspelt one should have been.

    Raises:
        UsageError: There are no words, one is a misspelt option, or a file is not there.
    """
    if not words:
        msg = (
            "nothing to run: give a file of prompts, - for standard input, or one prompt in quotes "
            "(batchllm run --help shows how)"
        )
        raise UsageError(msg)
    for word in words:
        if word.startswith("-") and word != "-" and not Path(word).exists():
            raise UsageError(_unknown_option(word, options))
    if len(words) == 1 and _is_prompt(words[0]):
        return Sources(prompt=words[0])
    for word in words:
        _check_file(word, words)
    return Sources(files=tuple(map(_as_one_name, words)))


def _as_one_name(word: str) -> str:
    """Return *word* without ``./`` and ``//``: with several inputs, lines are known by the name.

    ``..`` stays, since what it leads to may depend on a link, and so does the file ``./-``.
    """
    name = str(Path(word))
    return word if name == "-" else name


def _unknown_option(word: str, options: Sequence[str]) -> str:
    name = word.partition("=")[0]
    near = difflib.get_close_matches(name, options, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"Unknown option: {name}.{meant} (batchllm run --help shows how)"


def _is_prompt(word: str) -> bool:
    if word == "-" or not word.strip() or not any(letter.isspace() for letter in word.strip()):
        return False
    return not _looks_like_file(word)


def _looks_like_file(word: str) -> bool:
    if "\n" in word:
        return False
    try:
        if Path(word).exists():
            return True
        folder = Path(word).parent
        in_folder = folder != Path() and folder.is_dir()
    except OSError:  # longer than any name can be
        return False
    return in_folder or word.startswith(("./", "../", "~", "/", ".\\")) or known_suffix(word)


def _check_file(word: str, words: Sequence[str]) -> None:
    if word == "-":
        if words.count("-") > 1:
            msg = "- stands for standard input, which can be read only once"
            raise UsageError(msg)
        return
    if not word.strip():
        msg = "an input is blank; give a file, - for standard input, or one prompt in quotes"
        raise UsageError(msg)
    path = Path(word)
    if path.is_dir():
        msg = f"the input {word} is a folder; give its files, such as {path / '*.jsonl'}"
        raise UsageError(msg)
    if path.exists():
        return
    msg = f"the input {word} cannot be read: No such file or directory"
    near = _file_like(path)
    if near is not None:
        msg += f"; did you mean {near}?"
    elif len(words) == 1 and word.isalnum():
        msg += f"; a prompt of one word can be piped in: echo {word} | batchllm run - " + (
            "--input-format text …"
        )
    raise UsageError(msg)


def _file_like(path: Path) -> str | None:
    try:
        names = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)
    return str(path.parent / near[0]) if near else None
