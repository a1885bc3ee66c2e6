import inspect
from typing import Any

import anyio
import pytest

from batchllm.core import (
    Budget,
    ConfigError,
    FailFast,
    HedgeConfig,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    UnknownArgumentError,
    config_from_dict,
    explain_arguments,
    places_of_settings,
)

ATTEMPTS = "RetryConfig(max_attempts=…), which counts the first attempt too"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (RetryConfig, "max_retries", "did you mean max_attempts=…, which counts the first"),
        (RetryConfig, "jiter", "did you mean jitter=…?"),
        (RetryConfig, "backoff_factor", "did you mean exponential_base=…?"),
        (RateLimitConfig, "cooldown", "did you mean cooldown_seconds=…?"),
        (FailFast, "zzz", "it has categories, after"),
        (HedgeConfig, "min_dely", "did you mean min_delay=…?"),
        (ProcessorConfig, "max_worker", "did you mean max_workers=…?"),
        (ProcessorConfig, "concurrency", "did you mean max_workers=…?"),
        (ProcessorConfig, "rpm", "did you mean max_requests_per_minute=…?"),
        (ProcessorConfig, "max_attempts", f"did you mean retry={ATTEMPTS}"),
        (ProcessorConfig, "cooldown_seconds", "rate_limit=RateLimitConfig(cooldown_seconds=…)"),
        (ProcessorConfig, "timeout", "timeout_per_item=… or attempt_timeout=…?"),
    ],
)
def test_an_unknown_setting_is_explained(kind: Any, name: str, message: str) -> None:
    """The setting that was meant, by spelling or by the name that other libraries use."""
    with pytest.raises(UnknownArgumentError) as caught:
        kind(**{name: 1})
    assert str(caught.value).startswith(f"{kind.__name__}() has no argument {name}; ")
    assert message in str(caught.value)


def test_a_change_of_settings_is_checked_the_same_way() -> None:
    """A copy with changes names the setting, too; the error is one of both kinds."""
    with pytest.raises(ConfigError, match="did you mean max_workers") as caught:
        ProcessorConfig().with_changes(max_worker=3)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"retry": {"max_retries": 3}}, "retry.max_retries is no setting, did you mean retry.max_"),
        ({"concurrency": 3}, "concurrency is no setting, did you mean max_workers?"),
        ({"hedge": {"dely": 3}}, "hedge.dely is no setting, did you mean hedge.delay?"),
        ({"hedge": {"zzzzz": 3}}, "hedge.zzzzz is no setting; there are delay, min_delay"),
    ],
)
def test_files_know_the_names_of_other_libraries(data: Any, message: str) -> None:
    """Files are explained as keywords are, in every table."""
    with pytest.raises(ConfigError) as caught:
        config_from_dict(data)
    assert message in str(caught.value)


def test_each_place_can_be_written_as_it_is_shown() -> None:
    """The sentence's example is valid Python that makes the setting."""
    names = {kind.__name__: kind for kind in (ProcessorConfig, RetryConfig, RateLimitConfig)}
    names |= {"FailFast": FailFast, "HedgeConfig": HedgeConfig, "Budget": Budget, "config": None}
    for name, place in places_of_settings().items():
        assert place.startswith("config=ProcessorConfig(")
        code = place.removeprefix("config=").replace("=…", "=DEFAULT")
        default = next(
            kind.__attrs_attrs__  # type: ignore[attr-defined]
            for kind in names.values()
            if kind is not None and name in inspect.signature(kind).parameters
        )
        value = next(one.default for one in default if one.name == name)
        value = value.factory() if hasattr(value, "factory") else value
        value = 1 if "Budget" in code and value is None else value  # one that bounds nothing
        assert isinstance(eval(code, {**names, "DEFAULT": value}), ProcessorConfig)


def test_a_target_stays_what_it_was() -> None:
    """Its signature, its kind, its positional arguments and its own mistakes."""

    @explain_arguments()
    async def double(number: int, *, by: int = 2) -> int:
        """Return the product."""
        return number * by

    assert inspect.iscoroutinefunction(double)
    assert list(inspect.signature(double).parameters) == ["number", "by"]
    assert double.__doc__ == "Return the product."
    assert anyio.run(double, 4) == 8
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        anyio.run(double)
    assert RetryConfig(4).max_attempts == 4
    assert next(iter(inspect.signature(RetryConfig).parameters)) == "max_attempts"
