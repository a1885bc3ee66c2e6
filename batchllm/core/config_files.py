"""Settings as JSON and TOML, in texts and in files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from batchllm.core.config import ProcessorConfig
from batchllm.core.config_data import config_from_dict, config_to_dict
from batchllm.core.errors import ConfigError
from batchllm.core.wording import kind_of

__all__ = [
    "config_from_json",
    "config_from_toml",
    "config_to_json",
    "config_to_toml",
    "dump_config",
    "load_config",
]

_NONE = "none"


def config_from_json(text: str, *, source: str = "settings") -> ProcessorConfig:
    """Read settings from JSON.

    Raises:
        ConfigError: It is not JSON, or a setting is wrong.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{source}: this is not JSON: {error}"
        raise ConfigError(msg) from error
    return config_from_dict(data, source=source)


def config_from_toml(text: str, *, source: str = "settings") -> ProcessorConfig:
    """Read settings from TOML, where ``"none"`` stands for ``None``.

    Raises:
        ConfigError: It is not TOML, or a setting is wrong.
    """
    import tomllib  # few programs read it

    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{source}: this is not TOML: {error}"
        raise ConfigError(msg) from error
    return config_from_dict(_nones_read(data), source=source)


def config_to_json(config: ProcessorConfig) -> str:
    """All settings as JSON; callables are left out."""
    return json.dumps(config_to_dict(config), indent=2) + "\n"


def config_to_toml(config: ProcessorConfig) -> str:
    """All settings as TOML, which has no null: ``"none"`` stands for ``None``.

    Callables are left out.
    """
    return "\n".join(_toml_lines(config_to_dict(config), "")) + "\n"


def load_config(path: str | Path) -> ProcessorConfig:
    """Read settings from a ``.toml`` or ``.json`` file.

    Raises:
        OSError: The file cannot be read.
        ConfigError: The file's name ends otherwise, or a setting is wrong.
    """
    if not isinstance(path, str | Path):
        msg = f"path is {kind_of(path)}; give the name of a file; config_from_dict() reads a dict"
        raise ConfigError(msg)
    read = config_from_toml if _kind_of(path) == "toml" else config_from_json
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path}: this is not UTF-8: {error}"
        raise ConfigError(msg) from error
    return read(text, source=str(path))


def dump_config(config: ProcessorConfig, path: str | Path) -> None:
    """Write all settings to a ``.toml`` or ``.json`` file; callables are left out.

    Raises:
        OSError: The file cannot be written.
        ConfigError: The file's name ends otherwise.
    """
    write = config_to_toml if _kind_of(path) == "toml" else config_to_json
    Path(path).write_text(write(config), encoding="utf-8")


def _kind_of(path: str | Path) -> Literal["toml", "json"]:
    match Path(path).suffix.lower():
        case ".toml":
            return "toml"
        case ".json":
            return "json"
        case suffix:
            msg = f"{path}: its name ends in {suffix!r}; give a .toml or a .json file"
            raise ConfigError(msg)


def _nones_read(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _none_read(value) for key, value in table.items()}


def _none_read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _nones_read(cast("Mapping[str, Any]", value))
    if isinstance(value, list):
        return [_none_read(one) for one in value]
    return None if value == _NONE else value


def _toml_lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """Values first: what follows a header in TOML belongs to that table."""
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if name:
        yield f"\n[{name}]"
    for key, value in table.items():
        if key not in tables:
            yield f"{key} = {_toml_value(value)}"
    for key, value in tables.items():
        inner = f"{name}.{json.dumps(key, ensure_ascii=False)}" if name else key
        yield from _toml_lines(cast("Mapping[str, Any]", value), inner)


def _toml_value(value: Any) -> str:
    if value is None:
        return f'"{_NONE}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return f"{{ {', '.join(f'{key} = {_toml_value(one)}' for key, one in pairs)} }}"
    # JSON writes numbers, switches and texts as TOML does, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
