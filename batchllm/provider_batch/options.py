"""The options of ``mode="batch"``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeAlias, TypedDict

import attrs
from attrs import field, frozen

from batchllm.core import ConfigError, UnknownArgumentError, kind_of

__all__ = ["BatchModeOptions", "Mode", "ModeSettings", "OnAmbiguous", "read_mode"]

Mode: TypeAlias = Literal["online", "batch"]
OnAmbiguous: TypeAlias = Literal["quarantine", "resubmit"]
OnLate: TypeAlias = Literal["online", "wait", "fail"]
OnForeignCancel: TypeAlias = Literal["stop", "resubmit"]
OnCancel: TypeAlias = Literal["leave", "cancel"]
OnLost: TypeAlias = Literal["stop", "resubmit"]


class BatchModeOptions(TypedDict, total=False):
    """The options that go with ``mode="batch"``.

    Attributes:
        deadline: Seconds, or a ``timedelta``, from the beginning of this run until its results are
            wanted. ``None``, the default, waits for as long as the provider takes.
        on_late: What becomes of items whose batch would be late: ``"online"``, the default, cancels
            it in time and calls for the rest online; ``"wait"`` waits for it all the same;
            ``"fail"`` ends the run at the deadline and leaves the batch, so that the same call goes
            on later.
        batch_rounds: How often an item may be put into a batch before it is called for online; 2.
        on_ambiguous: What to do if a batch may have been created, and the provider has no name by
            which it would be found again: ``"quarantine"``, the default, waits until it is found
            or cannot be there any more; ``"resubmit"`` creates it again after half an hour, and may
            pay twice.
        on_foreign_cancel: What to do if a batch was cancelled, and not by batchllm: ``"stop"``, the
            default, ends the run; ``"resubmit"`` submits what is missing again.
        on_cancel: What becomes of batches under way when the run is cancelled or stopped by its
            user: ``"leave"``, the default, lets them go on, and the same call goes on with them;
            ``"cancel"`` asks the provider to end them, for at most 10 s.
        on_lost: What to do if the provider has a batch no more: ``"stop"``, the default, ends the
            run; ``"resubmit"`` submits its requests again, which may be paid for twice.
        hedge_budget: US dollars for calls online of items whose batch is late and has not ended
            although it was cancelled. Such items may be paid for twice, and have one result.
            ``None``, the default, makes none: they are left to the same call later. It needs a
            ``deadline``.
        chunk_size: Lines of a batch. By default it begins with 5,000 and follows what the provider
            manages.
        verify_echo: Whether each prompt asks for a mark, which its answer must have: that a
            provider has mixed answers up is noticed by nothing else. An answer without it is asked
            for again, and is paid for. The mark is taken out of the answer. Not with ``output=``,
            nor for embeddings.
        detach: Whether to end as soon as everything is submitted. The same call goes on later.
    """

    deadline: float | timedelta | None
    on_late: OnLate
    batch_rounds: int
    on_ambiguous: OnAmbiguous
    on_foreign_cancel: OnForeignCancel
    on_cancel: OnCancel
    on_lost: OnLost
    hedge_budget: float | None
    chunk_size: int | None
    verify_echo: bool
    detach: bool


def _seconds(value: object) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _one_of(*words: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            given = " or ".join(repr(word) for word in words)
            msg = f"{attribute.name} is {value!r}; give {given}"
            raise ConfigError(msg)

    return check


def _positive(kinds: type | tuple[type, ...], remedy: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < float(value) < math.inf):
            msg = f"{attribute.name} is {value!r}; give {remedy}"
            raise ConfigError(msg)

    return check


def _flag(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        msg = f"{attribute.name} is {value!r}, {kind_of(value)}; give True or False"
        raise ConfigError(msg)


@frozen(kw_only=True)
class ModeSettings:
    """The options as they hold for one run; see ``BatchModeOptions``.

    Raises:
        ConfigError: One is wrong; it is named, with what to give.
    """

    deadline: float | None = field(
        default=None,
        converter=_seconds,
        validator=_positive((int, float), "seconds above 0, a timedelta, or None"),
    )
    on_late: OnLate = field(default="online", validator=_one_of("online", "wait", "fail"))
    batch_rounds: int = field(default=2, validator=_positive(int, "a whole number of at least 1"))
    on_ambiguous: OnAmbiguous = field(
        default="quarantine", validator=_one_of("quarantine", "resubmit")
    )
    on_foreign_cancel: OnForeignCancel = field(
        default="stop", validator=_one_of("stop", "resubmit")
    )
    on_cancel: OnCancel = field(default="leave", validator=_one_of("leave", "cancel"))
    on_lost: OnLost = field(default="stop", validator=_one_of("stop", "resubmit"))
    hedge_budget: float | None = field(
        default=None, validator=_positive((int, float), "US dollars above 0, or None")
    )
    chunk_size: int | None = field(
        default=None, validator=_positive(int, "a whole number of at least 1, or None")
    )
    verify_echo: bool = field(default=False, validator=_flag)
    detach: bool = field(default=False, validator=_flag)

    def __attrs_post_init__(self) -> None:
        if self.hedge_budget is not None and (self.deadline is None or self.on_late != "online"):
            msg = (
                f"hedge_budget is {self.hedge_budget!r}, and it is for items that would miss a "
                "deadline: give deadline= too, and leave on_late at 'online'"
            )
            raise ConfigError(msg)


_KNOWN: Final = tuple(one.name for one in attrs.fields(ModeSettings))


def read_mode(mode: object, given: Mapping[str, Any], owner: str) -> ModeSettings | None:
    """Read ``mode`` and what was said beside it.

    Args:
        mode: ``"online"`` or ``"batch"``.
        given: The options of batch mode.
        owner: The function that was called, for messages.

    Returns:
        ``None`` for the mode online.

    Raises:
        ConfigError: One of them is wrong.
        UnknownArgumentError: There is no such option.
    """
    for name in given:
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            meant = f"; did you mean {near[0]}=…?" if near else ""
            msg = f"{owner}() has no argument {name!r}{meant}"
            raise UnknownArgumentError(msg)
    if mode == "online":
        if given:
            msg = f"{next(iter(given))} belongs to batches of the provider; give mode='batch' too"
            raise ConfigError(msg)
        return None
    if mode != "batch":
        msg = f"mode is {mode!r}; give 'online' or 'batch'"
        raise ConfigError(msg)
    return ModeSettings(**given)
