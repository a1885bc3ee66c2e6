import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import (
    ConfigError,
    FailFast,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    config_from_dict,
    config_to_dict,
    dump_config,
    load_config,
)
from batchllm.core.config_files import (
    config_from_json,
    config_from_toml,
    config_to_json,
    config_to_toml,
)

positive = st.floats(0.001, 1e9) | st.integers(1, 10**6)
maybe = st.none() | positive
counts = st.integers(1, 10**6)
retries = st.builds(
    RetryConfig,
    max_attempts=st.integers(1, 5),
    initial_wait=st.floats(0, 1),
    max_wait=st.floats(1, 2),
    jitter=st.sampled_from([True, False, "equal", "full", "decorrelated"]),
    max_rate_limit_retries=st.none() | st.integers(0, 100),
)
configs = st.builds(
    ProcessorConfig,
    max_workers=counts,
    timeout_per_item=st.none() | st.floats(60, 1e6),
    retry=retries,
    rate_limit=st.none()
    | st.builds(RateLimitConfig, cooldown_seconds=st.floats(0.001, 600) | st.integers(1, 600)),
    max_requests_per_minute=maybe,
    outage_after=maybe,
    dry_run=st.booleans(),
    park_after=maybe,
    window=st.none() | counts,
    fail_fast=st.none()
    | st.builds(
        FailFast, categories=st.frozensets(st.text(st.characters(codec="utf-8"))), after=counts
    ),
    keep_results=st.none() | st.booleans(),
    seed=st.none() | st.integers(-(2**40), 2**40),
)


@given(configs)
def test_what_is_written_is_read_again(config: ProcessorConfig) -> None:
    """As a mapping, as JSON and as TOML, the settings come back as they were."""
    assert config_from_dict(config_to_dict(config)) == config
    assert config_from_json(config_to_json(config)) == config
    assert config_from_toml(config_to_toml(config)) == config


def test_callables_are_not_written_and_may_be_given() -> None:
    """A file cannot hold a function; a mapping in Python can."""
    config = ProcessorConfig(progress_callback=print)
    assert "progress_callback" not in config_to_dict(config)
    assert config_from_dict({"progress_callback": print}) == config
    assert config_from_dict({"progress_callback": None}) == ProcessorConfig()
    with pytest.raises(ConfigError, match="progress_callback is 'x'; give a function"):
        config_from_dict({"progress_callback": "x"})


def test_missing_settings_keep_their_defaults() -> None:
    """Only what differs needs to be written down."""
    config = config_from_toml('timeout_per_item = "none"\n[retry]\nmax_attempts = 4')
    assert config == ProcessorConfig(timeout_per_item=None, retry=RetryConfig(max_attempts=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"retry": {"max_attempt": 4}},
            "settings: retry.max_attempt is no setting, did you mean retry.max_attempts?",
        ),
        (
            {"max_attempts": 4},
            "settings: max_attempts is no setting, did you mean retry.max_attempts?",
        ),
        ({"retry": {"max_worker": 4}}, "did you mean max_workers?"),
        ({"fail_fast": {"zzzzzz": 4}}, "is no setting; there are categories, after"),
        ({"max_workers": "5"}, "settings: max_workers is '5'; give a whole number"),
        ({"max_workers": True}, "max_workers is True; give a whole number"),
        ({"timeout_per_item": "5"}, "timeout_per_item is '5'; give a number"),
        ({"dry_run": 1}, "dry_run is 1; give true or false"),
        ({"retry": 3}, "retry is 3; give a table of settings (max_attempts, "),
        ({"retry": {"max_attempts": 0}}, "settings: retry.max_attempts is 0; give a whole number"),
        ({"retry": {"jitter": "half"}}, "retry.jitter is 'half'; give True, False, 'equal'"),
        ({"window": 0}, "settings: window is 0; give a whole number of at least 1"),
        ({"fail_fast": {"categories": "abc"}}, "fail_fast.categories is 'abc'; give a list"),
        ({"fail_fast": {"categories": [1]}}, "fail_fast.categories is [1]; give a list of names"),
        ([1], "settings: the whole is [1]; give a table of settings (max_workers, "),
        ({1: 2}, "1 is no setting"),
    ],
)
def test_wrong_settings_are_named_by_their_path(data: Any, message: str) -> None:
    """Path, value and what to give instead, or the nearest key that there is."""
    with pytest.raises(ConfigError) as caught:
        config_from_dict(data)
    assert message in str(caught.value)


def test_all_wrong_settings_are_told_at_once() -> None:
    """One look at the message is enough to put everything right."""
    data = {"max_workers": "5", "retry": {"jiter": True, "max_wait": "1"}}
    with pytest.raises(ConfigError) as caught:
        config_from_dict(data, source="my.toml")
    assert str(caught.value).splitlines() == [
        "my.toml: 3 settings are wrong:",
        "  max_workers is '5'; give a whole number",
        "  retry.max_wait is '1'; give a number",
        "  retry.jiter is no setting, did you mean retry.jitter?",
    ]


@pytest.mark.parametrize("name", ["run.toml", "run.JSON"])
def test_files_are_written_and_read(tmp_path: Path, name: str) -> None:
    """The name's end decides the format; a byte order mark does no harm."""
    path, config = tmp_path / name, ProcessorConfig(max_workers=7, seed=3)
    dump_config(config, path)
    assert load_config(path) == config
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(str(path)) == config


def test_broken_files_are_named(tmp_path: Path) -> None:
    """A wrong format, wrong letters, wrong settings and a wrong name all tell the path."""
    for name, content, why in [
        ("a.toml", b"= 3", "this is not TOML"),
        ("a.json", b"{", "this is not JSON"),
        ("b.json", b"\xff{}", "this is not UTF-8"),
        ("c.json", json.dumps({"max_worker": 1}).encode(), "did you mean max_workers"),
        ("a.yaml", b"", r"ends in '\.yaml'; give a \.toml or a \.json file"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=why) as caught:
            load_config(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match=r"ends in ''"):
        dump_config(ProcessorConfig(), tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "missing.toml")
