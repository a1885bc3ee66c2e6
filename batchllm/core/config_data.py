"""Settings as nested mappings of plain values, and back, through cattrs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, cast, get_origin

from attrs import has
from cattrs import (
    BaseValidationError,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from batchllm.core.arguments import names_alike
from batchllm.core.config import SECTIONS, ProcessorConfig, names_of_settings
from batchllm.core.config_parts import FailFast, JitterKind
from batchllm.core.errors import ConfigError
from batchllm.core.prices import Price

__all__ = ["config_from_dict", "config_to_dict"]

_TABLES: dict[str, type] = {"": ProcessorConfig, **SECTIONS}


def config_from_dict(data: Mapping[str, Any], *, source: str = "settings") -> ProcessorConfig:
    """Read settings from nested mappings, such as ``{"retry": {"max_attempts": 5}}``.

    Args:
        data: Settings that are not there keep their defaults.
        source: Names the origin in errors, such as a file.

    Raises:
        ConfigError: Keys are unknown or values are wrong; it names the path of each.
    """
    converter = _reader()
    try:
        return converter.structure(data, ProcessorConfig)
    except (BaseValidationError, TypeError) as error:
        problems = list(_problems(error, ""))
        msg = (
            f"{source}: {problems[0]}"
            if len(problems) == 1
            else "\n  ".join([f"{source}: {len(problems)} settings are wrong:", *problems])
        )
        raise ConfigError(msg) from error


def config_to_dict(config: ProcessorConfig) -> dict[str, Any]:
    """All settings as values that JSON can carry; callables are left out."""
    return cast("dict[str, Any]", _writer().unstructure(config))


@cache  # to make one takes 5 ms, to use it 20 µs, and each run with a journal does
def _writer() -> Converter:
    converter = Converter()
    fail_fast = make_dict_unstructure_fn(
        FailFast, converter, categories=override(unstruct_hook=sorted)
    )
    converter.register_unstructure_hook(FailFast, fail_fast)
    config = make_dict_unstructure_fn(
        ProcessorConfig, converter, progress_callback=override(omit=True)
    )
    converter.register_unstructure_hook(ProcessorConfig, config)
    return converter


@cache
def _reader() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(int, _strict(int, "a whole number"))
    converter.register_structure_hook(float, _strict((int, float), "a number"))
    converter.register_structure_hook_func(
        lambda kind: kind == bool | JitterKind or _is_literal(kind),
        lambda value, _: value,  # the validators know what is allowed
    )
    converter.register_structure_hook_func(
        lambda kind: kind == Mapping[str, Price], lambda value, _: _read_prices(value, converter)
    )
    converter.register_structure_hook_func(lambda kind: kind == Callable[..., Any], _read_callable)
    converter.register_structure_hook_func(lambda kind: kind == frozenset[str], _read_names)
    converter.register_structure_hook_factory(has, lambda kind: _section(kind, converter))
    return converter


def _is_literal(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is Literal


def _strict(kinds: type | tuple[type, ...], expected: str) -> Callable[[Any, Any], Any]:
    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            msg = f"is {value!r}; give {expected}"
            raise TypeError(msg)
        return value

    return read


def _read_callable(value: Any, _: Any) -> Any:
    if not callable(value):
        msg = f"is {value!r}; give a function, which only Python can, and not a file"
        raise TypeError(msg)
    return value


def _read_prices(value: Any, converter: Converter) -> Any:
    if not isinstance(value, Mapping):
        msg = f"is {value!r}; give a table of prices by model"
        raise TypeError(msg)
    return converter.structure(cast("Mapping[str, Any]", value), dict[str, Price])


def _read_names(value: Any, _: Any) -> frozenset[str]:
    is_list = isinstance(value, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(name, str) for name in value):
        msg = f"is {value!r}; give a list of names"
        raise TypeError(msg)
    return frozenset(cast("Collection[str]", value))


def _section(kind: type[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    inner = make_dict_structure_fn(kind, converter)

    def read(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            msg = f"is {value!r}; give a table of settings ({', '.join(names_of_settings(kind))})"
            raise TypeError(msg)
        return inner(cast("Mapping[str, Any]", value), kind)

    return read


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """One sentence per wrong setting, each with its path."""
    if isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            yield from _problems(inner, f"{path}.{note.name}" if path else note.name)
        for inner in others:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, place in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}.{_quoted(place.index)}")
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields, key=str):
            yield _unknown(str(key), path)
    elif isinstance(error, KeyError):
        yield f"{path} is missing; give it"
    elif isinstance(error, ConfigError):
        # Validators name class and field, readers of a file know the table it stands for.
        _, _, text = str(error).partition(".")
        yield f"{path}.{text}" if path else text
    else:
        yield f"{path or 'the whole'} {error}"


def _quoted(key: object) -> str:
    """Return a key of a table as TOML writes it."""
    bare = str(key).replace("-", "").replace("_", "")
    return str(key) if bare.isascii() and bare.isalnum() else f'"{key}"'


def _unknown(key: str, section: str) -> str:
    where = f"{section}.{key}" if section else key
    near = _nearest(key, section)
    if near:
        return f"{where} is no setting, did you mean {near}?"
    return f"{where} is no setting; there are {', '.join(names_of_settings(_table(section)))}"


def _table(section: str) -> type:
    """Return the class of a table; those within ``prices`` have the names of models."""
    return Price if section.startswith("prices.") else _TABLES[section]


def _nearest(key: str, section: str) -> str | None:
    """Return the path of the setting that *key* most likely stands for, its own table first.

    Names that other libraries use come before names that are only spelt alike.
    """
    tables = (section, *(other for other in _TABLES if other != section))
    for find in (names_alike, _spelt_alike):
        for name in tables:
            matches = find(key, names_of_settings(_table(name)))
            if matches:
                return f"{name}.{matches[0]}" if name else matches[0]
    return None


def _spelt_alike(key: str, known: Collection[str]) -> list[str]:
    return get_close_matches(key, known, n=1)
