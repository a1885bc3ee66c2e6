"""Options become settings: given ones win, wrong ones are named by the option's name."""

from pathlib import Path
from typing import Any

import pytest

from batchllm.cli.configuring import backend_options, processor_config, seconds_of
from batchllm.cli.exits import UsageError
from batchllm.cli.settings import AUTO_CEILING, RunSettings, option_names


def settings(**given: Any) -> RunSettings:
    return RunSettings(**{"model": ("sim:default",), **given})


def test_concurrency_is_learned_by_default() -> None:
    """auto is the default, and no results are kept in memory."""
    for given in (None, "auto"):
        config = processor_config(settings(concurrency=given))
        assert config.max_workers == AUTO_CEILING
        assert config.keep_results is False


def test_options_become_settings() -> None:
    """Each option has its field."""
    config = processor_config(
        settings(concurrency=7, rpm=60.5, tpm=1000.0, max_attempts=4, timeout=33.0)
    )
    assert config.max_workers == 7
    assert config.max_requests_per_minute == 60.5
    assert config.max_tokens_per_minute == 1000.0
    assert config.retry.max_attempts == 4
    assert config.timeout_per_item == 33.0
    assert processor_config(settings(deadline="2h")).batch_timeout == 7200.0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "park_after = 5.0\nretry.initial_wait = 2.0"),
        ("a.json", '{"park_after": 5.0, "retry": {"initial_wait": 2.0}}'),
    ],
)
def test_a_file_is_the_base(tmp_path: Path, name: str, text: str) -> None:
    """Options win over it, and what neither gives keeps the command's own default."""
    path = tmp_path / name
    path.write_text(text)
    config = processor_config(settings(config=path, max_attempts=4))
    assert (config.park_after, config.max_workers) == (5.0, AUTO_CEILING)
    assert (config.retry.initial_wait, config.retry.max_attempts) == (2.0, 4)


def test_a_file_may_set_the_concurrency(tmp_path: Path) -> None:
    """Its max_workers holds unless --concurrency is given."""
    path = tmp_path / "a.toml"
    path.write_text("max_workers = 5")
    assert processor_config(settings(config=path)).max_workers == 5
    assert processor_config(settings(config=path, concurrency=8)).max_workers == 8
    assert processor_config(settings(config=path, concurrency="auto")).max_workers == AUTO_CEILING


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"concurrency": 0}, "--concurrency"),
        ({"rpm": -1.0}, "--rpm"),
        ({"tpm": 0.0}, "--tpm"),
        ({"max_attempts": 0}, "--max-attempts"),
        ({"timeout": 0.0}, "--timeout"),
    ],
)
def test_a_wrong_value_is_told_by_its_option(given: dict[str, Any], option: str) -> None:
    """Users know the option, not the field behind it."""
    with pytest.raises(UsageError, match=rf"^{option} is .*; give a"):
        processor_config(settings(**given))


def test_a_file_that_is_not_there_or_wrong_is_told(tmp_path: Path) -> None:
    """The sentence has the file, and the setting that is wrong."""
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        processor_config(settings(config=tmp_path / "none.toml"))
    path = tmp_path / "a.toml"
    path.write_text("max_worker = 5")
    with pytest.raises(UsageError, match="did you mean max_workers"):
        processor_config(settings(config=path))


def test_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop is an option of asyncio, and an extra that may be missing."""
    assert backend_options("trio") == {"backend": "trio"}
    assert backend_options("asyncio") == {"backend": "asyncio"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert backend_options("uvloop")["backend_options"] == {"use_uvloop": True}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*batchllm\[uvloop\]"):
        backend_options("uvloop")


def test_every_option_has_its_name() -> None:
    """As it is typed."""
    assert {"--help", "--limit", "--dry-run", "--id-column"} <= {*option_names()}


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), (" 2 h", 7200.0)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    """Seconds without one."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0", "soon", "-3s", "3d", ""])
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    """With examples."""
    with pytest.raises(UsageError, match=r"--deadline is .*; give a time such as 90s"):
        seconds_of(text)
