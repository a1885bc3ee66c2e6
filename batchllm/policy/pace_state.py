"""The state of an adaptive pace as plain values, so that another process takes it up.

Only the parts that are listed here are written and made again, whatever a file says. What several
of them hold together, such as the record of sends, is written once and given to each.
"""

from __future__ import annotations

from array import array
from collections import deque
from operator import attrgetter
from typing import Any, Final

from attrs import fields_dict, has

from batchllm.core import CallCost
from batchllm.policy.adaptive import AdaptivePace
from batchllm.policy.cap_search import CapSearch
from batchllm.policy.cold_start import ColdStart
from batchllm.policy.cooldown import Cause, Cooldown, State
from batchllm.policy.diagnosis import Diagnosis, RefusalTimes
from batchllm.policy.episodes import Episodes
from batchllm.policy.events import Send
from batchllm.policy.findings import Findings
from batchllm.policy.noise import Doubt, Noise
from batchllm.policy.overload import OverloadLeaks
from batchllm.policy.probing import Probing, Stretch
from batchllm.policy.quota_search import QuotaSearch
from batchllm.policy.rate_meter import RateMeter
from batchllm.policy.send_log import Point, SendLog
from batchllm.policy.windows import Episode, Windows

__all__ = ["dump_pace", "load_pace"]

_KINDS: Final[tuple[type[Any], ...]] = (
    AdaptivePace, CallCost, CapSearch, ColdStart, Cooldown, Diagnosis, Doubt, Episode, Episodes,
    Findings, Noise, OverloadLeaks, Point, Probing, QuotaSearch, RateMeter, RefusalTimes, Send,
    SendLog, Stretch, Windows,
)  # fmt: skip
_HELD: Final = ("log", "times", "cooldown", "findings")
"""Parts that several others hold: each is written once, before them, and given to them."""
_GIVEN: Final = frozenset(
    {*_HELD, "calls", "events", "flying", "learned_before", "park_after", "rng", "slack"}
)
"""Fields that are no state of their part: what it was made with, or what others hold, too."""
_PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
_COLUMN, _DEQUE, _SET, _TABLE, _TUPLE = "column", "deque", "set", "table", "tuple"
_CAUSE, _STATE = "cause", "state"


def _names(kind: type[Any], *, given: bool) -> tuple[str, ...]:
    names = fields_dict(kind) if has(kind) else kind.__slots__
    return tuple([name for name in names if (name in _GIVEN) == given])


_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}
_FIELDS: Final = [_names(kind, given=False) for kind in _KINDS]
_SHARED: Final = [_names(kind, given=True) for kind in _KINDS]
# The class comes last, so that a part with one field gives a tuple, too.
_READERS: Final = [attrgetter(*names, "__class__") for names in _FIELDS]


def dump_pace(pace: AdaptivePace) -> dict[str, Any]:
    """Return the state of *pace*, in which no events are left."""
    held = {name: _freeze(getattr(pace, name)) for name in _HELD}
    return {**held, "pace": _freeze(pace)}


def load_pace(state: dict[str, Any], pace: AdaptivePace) -> None:
    """Put *pace*, which is new, into the state of the one that ``dump_pace`` was called on."""
    given = {name: getattr(pace, name) for name in _GIVEN}
    for name in _HELD:
        given[name] = _thaw(state[name], given)
    made = _thaw(state["pace"], given)
    for name in fields_dict(AdaptivePace):
        setattr(pace, name, getattr(made, name))


def _freeze(value: Any) -> Any:
    kind = value.__class__
    if kind in _PLAIN:
        return value
    code = _CODES.get(kind)
    if code is not None:
        values = _READERS[code](value)[:-1]
        return {code: [v if v.__class__ in _PLAIN else _freeze(v) for v in values]}
    if kind is array:
        return {_COLUMN: [value.typecode, value.tobytes()]}
    if kind is deque:
        return {_DEQUE: [value.maxlen, [_freeze(each) for each in value]]}
    if kind is set:
        return {_SET: list(value)}
    if kind is dict:
        return {_TABLE: [[key, _freeze(each)] for key, each in value.items()]}
    if kind is State or kind is Cause:
        return {_STATE if kind is State else _CAUSE: value.value}
    if kind is tuple:
        return {_TUPLE: [_freeze(each) for each in value]}
    if kind is list:
        return [_freeze(each) for each in value]
    raise TypeError(f"{kind.__name__} is no part of the state of a pace")


def _thaw(value: Any, given: dict[str, Any]) -> Any:
    if value.__class__ is list:
        return [_thaw(each, given) for each in value]
    if value.__class__ is not dict:
        return value
    ((code, held),) = value.items()
    if code.__class__ is int:
        return _make(code, held, given)
    if code == _COLUMN:
        column = array("d") if held[0] == "d" else array("q")
        column.frombytes(held[1])
        return column
    if code == _DEQUE:
        return deque([_thaw(each, given) for each in held[1]], held[0])
    if code == _SET:
        return set(held)
    if code == _TUPLE:
        return tuple([_thaw(each, given) for each in held])
    if code == _TABLE:
        return {key: _thaw(each, given) for key, each in held}
    return State(held) if code == _STATE else Cause(held)


def _make(code: int, values: list[Any], given: dict[str, Any]) -> Any:
    kind = _KINDS[code]
    part = object.__new__(kind)
    put = object.__setattr__  # some of them are frozen
    for name in _SHARED[code]:
        put(part, name, given[name])
    for name, value in zip(_FIELDS[code], values, strict=True):
        plain = value.__class__ is not dict and value.__class__ is not list
        put(part, name, value if plain else _thaw(value, given))
    return part
