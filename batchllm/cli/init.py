"""``batchllm init``: a file of settings to begin with, made of the settings themselves."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import attrs
from attrs import NOTHING

from batchllm.cli.exits import ExitCode, UsageError

__all__ = ["commented_settings", "write_settings"]

_WIDTH = 96
_ENTRY = re.compile(r"^ {4}(\w+): (.*)$")

# Settings of Python's entry points, which the command line has no use for.
_NOT_HERE = frozenset(
    {"dry_run", "keep_results", "max_queue_size", "progress_callback", "progress_callback_timeout"}
)

_HEAD = """\
# Settings of batchllm, for: batchllm run … --config {name}
#
# Each line shows a default; take the # away to change it. All times are in seconds, and what is
# commented as "none" is off unless you give it a value. Options of the command line win over
# this file.
"""

_REMARKS = {"budget": "  # needs one of the two"}
_PRICES = (
    '# [prices."openai:gpt-5-mini"]  # US dollars per million tokens',
    "#   input = 0.25",
    "#   output = 2.0",
    "#   cached_input = 0.025",
    "",
)


def write_settings(path: Path) -> ExitCode:
    """Write a file of settings with a comment for each.

    Args:
        path: A new file.

    Raises:
        UsageError: It is there already, or is no TOML by its name.
    """
    if path.suffix.lower() != ".toml":
        msg = f"{path}: the file is written as TOML; give a name that ends in .toml"
        raise UsageError(msg)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_settings(path.name))
    except FileExistsError:
        msg = f"{path} exists already; give another name, or remove it"
        raise UsageError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None
    print(f"{path} is written; change it, and use it by: batchllm run … --config {path}")
    return ExitCode.OK


def commented_settings(name: str) -> str:
    """Return the text of a file of settings, every one commented out with its default.

    Args:
        name: The file's name.
    """
    from batchllm.core import ProcessorConfig

    sections = list(_sections(ProcessorConfig))
    skipped = {*dict(sections), "prices"}
    lines = [_HEAD.format(name=name), *_entries(ProcessorConfig, skip=skipped)]
    for section, kind in sections:
        explained = _explanations(ProcessorConfig).get(section, "")
        lines += [
            *_comment(explained),
            f"# [{section}]{_REMARKS.get(section, '')}",
            *_entries(kind),
        ]
    explained = _explanations(ProcessorConfig)["prices"]
    lines += [*_comment(explained), *_PRICES]
    return "\n".join(lines)


def _sections(config: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """Yield the settings that are settings of their own, and their types."""
    for name, hint in get_type_hints(config).items():
        for kind in (hint, *get_args(hint)):
            if (
                isinstance(kind, type) and attrs.has(kind) and name != "prices"
            ):  # one for each model
                yield name, kind


def _entries(kind: type[Any], skip: set[str] | frozenset[str] = frozenset()) -> Iterator[str]:
    explained = _explanations(kind)
    for one in attrs.fields(kind):
        if one.name in skip or one.name in _NOT_HERE:
            continue
        yield from _comment(explained.get(one.name, ""))
        yield f"# {one.name} = {_as_toml(_default_of(one))}"
        yield ""


def _comment(text: str) -> list[str]:
    plain = text.replace("``", "")
    return [f"# {line}" for line in textwrap.wrap(plain, _WIDTH)]


def _default_of(attribute: attrs.Attribute[Any]) -> Any:
    default: Any = attribute.default
    if default is NOTHING:
        return None
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _as_toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, frozenset | set | list | tuple):
        return json.dumps(sorted(map(str, value)))
    return json.dumps(value if isinstance(value, bool | int | float) else str(value))


def _explanations(kind: type[Any]) -> dict[str, str]:
    """Return what the documentation of *kind* says of each of its settings."""
    found: dict[str, str] = {}
    name = None
    for line in (inspect.getdoc(kind) or "").splitlines():
        entry = _ENTRY.match(line)
        if entry is not None:
            name, found[entry[1]] = entry[1], entry[2]
        elif name is not None and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        else:
            name = None
    return found
