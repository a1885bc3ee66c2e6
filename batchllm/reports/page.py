"""The page of a report: one file of HTML that asks for nothing else.

Every text goes through Jinja's escaping, or as JSON through a script of the page that only ever
sets it as text. Beside that the page allows no script but its own two, by their hashes, and no
request at all, so that even what would slip through could do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from batchllm.core import ProcessorConfig, config_to_json, counted
from batchllm.reports.charts import Chart, charts_of
from batchllm.reports.counting import MOST_KINDS
from batchllm.reports.details import Details, detail_of
from batchllm.reports.figures import facts_of
from batchllm.reports.report import Report
from batchllm.reports.words import clean, clip, date_and_time, dollars, seconds

__all__ = ["MARKER", "page_of"]

MARKER: Final = "batchllm report"
"""Names the program in the page, by which a report is known as one."""

_MOST_BYTES: Final = 4_000_000
"""For the data of the page, of the 5 MB that a report may have beside its script library."""
_LONGEST: Final = 20_000
"""Characters of one prompt or answer."""
_SHORTEST: Final = 100
_SHORT: Final = 1_000
"""Characters of an example, a reason or a setting."""


def page_of(report: Report, *, now: float, texts: bool = True) -> str:
    """Return the page of a report.

    Args:
        report: Its numbers and items.
        now: Seconds since 1970, to say when it was made.
        texts: Whether prompts and answers are shown.
    """
    charts = charts_of(report)
    style, script = _file("page.css"), _file("page.js")
    # Its last line names a file of the library's own makers, for which browsers would ask.
    library = _file("chart.umd.min.js").split("\n//# sourceMappingURL", 1)[0]
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("page.html"))
    return template.render(
        marker=MARKER,
        report=report,
        name=clip(report.name, _SHORT),
        state=clip(report.state, _SHORT),
        warnings=[clip(text, _SHORT) for text in report.warnings[:MOST_KINDS]],
        style=style,
        script=script,
        library=library,
        style_hash=_hash(style),
        script_hashes=f"{_hash(library)} {_hash(script)}",
        data=_data_of(report, charts, texts=texts),
        charts=charts,
        joints=bool(report.joints),
        pauses=bool(report.course.pauses),
        made=date_and_time(now),
        began=None if report.started is None else date_and_time(report.started),
        facts=list(facts_of(report)),
        items_shown=len(report.items),
        items_note=_items_note(report, texts=texts),
        **_tables(report),
    )


def _file(name: str) -> str:
    return (files("batchllm.reports") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _items_note(report: Report, *, texts: bool) -> str:
    shown, every = len(report.items), report.counting.items
    parts = [
        "All items."
        if shown == every
        else f"{shown:,} of {every:,} items: the slowest, some failures of each kind, and others "
        "by chance."
    ]
    if not texts:
        parts.append("Prompts and answers were left out of this report.")
    elif not report.keeps_prompts:
        parts.append("No prompts were kept.")
    return " ".join(parts)


def _data_of(report: Report, charts: Sequence[Chart], *, texts: bool) -> str:
    """Return what the script reads, with texts so short that the page keeps its size."""
    lengths = [length for raw in report.items for length in raw.lengths()] if texts else []
    most = _LONGEST
    while most > _SHORTEST and sum(min(length, most) for length in lengths) > _MOST_BYTES:
        most //= 2
    while True:  # characters can take six bytes each
        items: list[Details] = [detail_of(raw, most, texts=texts) for raw in report.items]
        data = {"seconds": report.seconds, "charts": charts, "items": items}
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # No text may end the script that holds it.
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        if len(text.encode()) <= _MOST_BYTES or most <= _SHORTEST:
            return text
        most //= 2


def _tables(report: Report) -> dict[str, Any]:
    counting = report.counting
    calls = sorted(report.failed_calls.items(), key=lambda one: -one[1])
    return {
        "errors": [
            (f"{count:,}", clean(kind), clip(f"{where} {text}".strip(), _SHORT))
            for count, kind, where, text in counting.errors.ranked(MOST_KINDS)
        ],
        "calls": [(f"{count:,}", clean(kind)) for kind, count in calls],
        "models": list(_models(report)),
        "slowest": [
            (
                clip(slow.item_id, _SHORT),
                seconds(slow.seconds),
                seconds(slow.waited),
                slow.attempts,
                clean(slow.kind),
            )
            for slow in counting.slowest
        ],
        "refused": [clip(text, _SHORT) for text in report.refused],
        "refused_note": f"{counted(report.refused_lines, 'line was', 'lines were')} wrong and "
        "never sent.",
        "runs": [_run(run) for run in reversed(report.runs)],
        "changed": list(_changed(report.settings)),
        "settings": clean(json.dumps(report.settings, indent=2)) if report.settings else "",
        "strategies": [clean(json.dumps(one, indent=2)) for one in report.strategies],
    }


def _models(report: Report) -> Iterator[tuple[str, ...]]:
    models = report.counting.models.items()
    for name, sums in sorted(models, key=lambda one: (-(one[1].cost or 0.0), -one[1].items)):
        kinds = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
        yield (
            clip(name or "unknown", _SHORT),
            f"{sums.items:,}",
            f"{sums.failed:,}",
            *(f"{sums.tokens[kind]:,}" for kind in kinds),
            "unknown" if sums.cost is None else dollars(sums.cost),
        )


def _run(run: Mapping[str, Any]) -> tuple[Any, ...]:
    def count(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    ended = run["ended"] if not run["reason"] else f"{run['ended']}: {run['reason']}"
    return (
        run["number"],
        run["began"],
        "" if run["seconds"] is None else seconds(run["seconds"]),
        count(run["succeeded"]),
        count(run["failed"]),
        "" if run["cost"] is None else dollars(run["cost"]),
        clip(ended, _SHORT),
    )


def _changed(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the settings that are not the defaults: name, value, default."""
    defaults = _flat(json.loads(config_to_json(ProcessorConfig())))
    for name, value in _flat(settings).items():
        if name not in defaults or defaults[name] != value:
            default = json.dumps(defaults[name]) if name in defaults else ""
            yield clean(name), clip(json.dumps(value), _SHORT), default


def _flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found
