"""One item in full, as plain values for the page: what was asked, answered, and said beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from batchllm.core import SPANS_PER_CALL, AnswerViews, TokenLogprob
from batchllm.reports.words import clean, clip, shown

__all__ = ["Details", "Raw", "detail_of"]

Details = dict[str, Any]

_TOKENS: Final = 200
"""Tokens whose probability is shown."""
_MANY: Final = 20
"""Tool calls, citations, notes and calls of one item that are shown."""
_SHORT: Final = 2_000
"""Characters of a text beside the answer, such as the arguments of a tool."""
_WEB: Final = ("https://", "http://")


@frozen(kw_only=True)
class Raw(AnswerViews):
    """An item as its journal or its result has it.

    Attributes:
        item_id: Its id.
        source: Its input, if there are several.
        success: Whether it has an answer.
        prompt: What was asked, if that was kept.
        output: The answer.
        error: Why there is none.
        category: The kind of that failure.
        model: The model that answered.
        usage: Tokens by kind.
        cost: In US dollars.
        attempts: Attempts that were made.
        spans: Seconds, four per call.
        failures: Calls that gave no answer, as sentences.
        metadata: What the provider said beside the text.
        at: Seconds on the axis of time at which it was finished.
    """

    item_id: str
    source: str = ""
    success: bool
    prompt: Any = None
    output: Any = None
    error: str | None = None
    category: str | None = None
    model: str | None = None
    usage: Mapping[str, Any]
    cost: float | None = None
    attempts: int = 0
    spans: Sequence[float] = ()
    failures: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    at: float | None = None

    def lengths(self) -> list[int]:
        """Return the characters of its long texts."""
        texts = (self.prompt, self.output, self.reasoning)
        return [len(shown(text)) for text in texts if text is not None]


def detail_of(raw: Raw, most: int, *, texts: bool = True) -> Details:
    """Return an item as the page's script reads it; what is not there is left out.

    Args:
        raw: The item.
        most: Characters of each long text.
        texts: Whether prompts, answers and what was said beside them are shown.
    """
    found: Details = {
        "id": clip(raw.item_id, _SHORT),
        "source": clean(raw.source),
        "kind": "" if raw.success else clean(raw.category or "unknown"),
        "model": clean(raw.model or ""),
        "at": None if raw.at is None else round(raw.at, 2),
        "called": round(sum(raw.spans[2::SPANS_PER_CALL]), 3),
        "waited": round(sum(raw.spans) - sum(raw.spans[2::SPANS_PER_CALL]), 3),
        "attempts": raw.attempts,
        "in": raw.usage.get("input_tokens"),
        "out": raw.usage.get("output_tokens"),
        "cost": raw.cost,
        "error": clip(raw.error or "", _SHORT),
        "failures": [clip(text, _SHORT) for text in raw.failures[:_MANY]],
        "calls": [
            [round(part, 3) for part in raw.spans[n : n + SPANS_PER_CALL]]
            for n in range(0, min(len(raw.spans), SPANS_PER_CALL * _MANY), SPANS_PER_CALL)
        ],
        "finish": clean(raw.finish_reason or ""),
        "usage": {str(kind): n for kind, n in raw.usage.items() if isinstance(n, int) and n},
        "safety": {clean(kind): clean(rating) for kind, rating in raw.safety_ratings.items()},
    }
    if texts:
        found |= _texts_of(raw, most)
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _texts_of(raw: Raw, most: int) -> Details:
    notes = (raw.metadata or {}).get("notes") or ()
    return {
        "prompt": "" if raw.prompt is None else clip(shown(raw.prompt), most),
        "output": "" if raw.output is None else clip(shown(raw.output), most),
        "reasoning": clip(raw.reasoning or "", most),
        "tools": [
            [clean(call.name), clip(shown(call.arguments), _SHORT)]
            for call in raw.tool_calls[:_MANY]
        ],
        "citations": [
            {
                # Only these are made links: another scheme may be a program.
                "url": clean(one.url) if (one.url or "").startswith(_WEB) else "",
                "text": clip(
                    clean(" · ".join(filter(None, (one.title, one.source, one.text, one.url)))),
                    _SHORT,
                ),
            }
            for one in raw.citations[:_MANY]
        ],
        "logprobs": [_probability(one) for one in raw.logprobs[:_TOKENS]],
        "notes": [clip(note, _SHORT) for note in list(notes)[:_MANY]],
    }


def _probability(one: TokenLogprob) -> list[Any]:
    """Return a token with its logarithmic probability, and the others that were likely."""
    others = ", ".join(f"{clean(top.token)!r} {top.logprob:.2f}" for top in one.top[:5])
    return [clip(one.token, 100), round(one.logprob, 3), others]
