"""Words for a model on what was right in its answer and what to fix."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import cattrs
import msgspec

from batchllm.policy import mended_text
from batchllm.structured.models import model_problems
from batchllm.structured.problems import MISSING, OutputValidationError, Problem

__all__ = ["feedback_prompt", "feedback_text", "problems_of", "with_text"]

_VALUE_SHOWN = 120
"""Characters of a value that are quoted, enough to know it by; the model has the rest."""
_PROBLEMS_SHOWN = 30
"""Problems in one feedback, at some 20 tokens each; more are of few kinds."""


def feedback_prompt(original_prompt: Any, error: BaseException) -> Any:
    """Write the prompt for another try: the original one, followed by what was right and wrong.

    Args:
        original_prompt: A text, a list of chat messages or a list of content parts.
        error: Why the answer was refused: an ``OutputValidationError``, a ``ValidationError``
            of Pydantic or msgspec, an error of cattrs, or any other.

    Returns:
        A prompt of the same shape as the original.
    """
    return with_text(original_prompt, feedback_text(error))


def with_text(prompt: Any, text: str) -> Any:
    """Put *text* behind *prompt*, in the shape that the prompt has.

    Args:
        prompt: A text, a list of chat messages or a list of content parts.
        text: Becomes a paragraph, a message of the user or a content part.
    """
    if isinstance(prompt, str):
        return f"{prompt}\n\n{text}"
    entries = list(cast("Sequence[Mapping[str, Any]]", prompt))
    if entries and "role" in entries[0]:
        return [*entries, {"role": "user", "content": text}]
    return [*entries, {"type": "text", "text": text}]


def feedback_text(error: BaseException) -> str:
    """Say what was right in an answer, what is to be fixed, and why."""
    lines = ["Your previous answer was not valid."]
    valid = error.valid if isinstance(error, OutputValidationError) else {}
    if valid:
        lines += ["", "These fields were right, keep their values:"]
        lines += [f"- {key}: {_shown(value)}" for key, value in valid.items()]
    problems = problems_of(error)
    lines += ["", "Fix the following:"]
    lines += [f"- {_line(problem)}" for problem in problems[:_PROBLEMS_SHOWN]]
    if len(problems) > _PROBLEMS_SHOWN:
        lines.append(f"- and {len(problems) - _PROBLEMS_SHOWN} more of the same kind")
    lines += ["", "Answer again with the complete, corrected JSON and nothing else."]
    # A quoted value may hold half a surrogate pair, and a prompt must not.
    return mended_text("\n".join(lines))


def problems_of(error: BaseException) -> list[Problem]:
    """Return what *error* says is wrong, field by field as far as it does."""
    if isinstance(error, OutputValidationError) and error.problems:
        return list(error.problems)
    if isinstance(error, cattrs.BaseValidationError):
        return list(_cattrs_problems(error))
    if isinstance(error, msgspec.ValidationError):
        text, _, path = str(error).partition(" - at `$")
        return [Problem(path.rstrip("`").lstrip("."), text)]
    if callable(getattr(error, "errors", None)) and hasattr(error, "error_count"):
        return list(model_problems(error))
    return [Problem("", str(error) or type(error).__name__)]


def _cattrs_problems(error: cattrs.BaseValidationError) -> Iterator[Problem]:
    for line in cattrs.transform_error(error):
        text, _, path = line.partition(" @ $")
        yield Problem(re.sub(r"\['([^']*)'\]", r".\1", path).lstrip("."), text)


def _line(problem: Problem) -> str:
    if problem.value is MISSING or not problem.path:
        return str(problem)
    return f"{problem} (you gave {_shown(problem.value)})"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"
