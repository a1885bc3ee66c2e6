"""Keep what was right in an answer, and ask only for the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Generic

from attrs import define, field, frozen
from typing_extensions import TypeVar

from batchllm.core import Reply, RetryState, explain_arguments, with_notes
from batchllm.llm_strategies.accept import StrategyLike, as_strategy
from batchllm.llm_strategies.composite import Composite
from batchllm.llm_strategies.output import is_output, name_of
from batchllm.structured import (
    OutputValidationError,
    Parsed,
    feedback_prompt,
    merge_fields,
    parse,
    parse_noted,
    with_text,
)

__all__ = ["PartialRecovery"]

T = TypeVar("T", default=Any)


@frozen
class _Partial:
    """The state of one item: fields that are right, and why the others are not."""

    known: dict[str, Any]
    error: OutputValidationError


@explain_arguments()
@define(eq=False, slots=False, init=False, repr=False)
class PartialRecovery(Composite[T], Generic[T]):
    """After an answer that is partly right, asks only for the fields that were not, and merges.

    The second answer is shorter, so it costs less and takes less time, and what was right cannot
    get wrong again. If nothing was right, or the output is no record of fields, the whole
    answer is asked for again, with feedback.

    Example::

        PartialRecovery("openai:gpt-5-mini", Person)

    Args:
        inner: Makes the calls and gives the model's text.
        output: An attrs class, dataclass, TypedDict or Pydantic model.

    Raises:
        StrategyError: *inner* cannot be a strategy.
        ConfigError: *output* is not a type.
    """

    opens_with_first = True
    output: Any = field(init=False, validator=is_output)

    def __init__(self, inner: StrategyLike[Any], output: type[T]) -> None:
        self.parts = (as_strategy(inner),)
        self.output = output

    async def run(self, prompt: Any, attempt: int, timeout: float, memory: RetryState) -> Reply:
        """Ask for what the item does not have yet.

        Raises:
            OutputValidationError: It is still not complete; ``valid`` has what is right so far.
            Exception: What the call raised.
        """
        (inner,) = self.parts
        got: _Partial | None = self.recall(memory)
        asked = prompt if got is None else _prompt_for_the_rest(prompt, got)
        reply = await memory.call(inner, asked, attempt, timeout)
        try:
            parsed = self._read(reply.output, {} if got is None else got.known)
        except OutputValidationError as error:
            self.keep(memory, _Partial(error.valid, error))
            raise
        return Reply(parsed.output, reply.usage, with_notes(reply.metadata, parsed.notes))

    def identity(self) -> Mapping[str, Any]:
        """Name the strategy with the output's type."""
        return {**super().identity(), "output": name_of(self.output)}

    def _read(self, answer: Any, known: Mapping[str, Any]) -> Parsed[T]:
        if not isinstance(answer, str):
            msg = (
                f"PartialRecovery reads the model's text, and its inner strategy gave a "
                f"{type(answer).__name__}; give one without a response parser of its own"
            )
            raise TypeError(msg)
        text = answer if not known else _merged(answer, known)
        return parse_noted(text, self.output)


def _merged(answer: str, known: Mapping[str, Any]) -> str:
    """Write the JSON of *known* fields with those that *answer* adds."""
    try:
        value: Any = parse(answer, dict[str, Any])
    except OutputValidationError as error:
        value = error.value if isinstance(error.value, dict) else {}
    return json.dumps(merge_fields(known, value), ensure_ascii=False)


def _prompt_for_the_rest(prompt: Any, got: _Partial) -> Any:
    missing = _wrong_fields(got.error)
    if not got.known or not missing:
        return feedback_prompt(prompt, got.error)
    known = json.dumps(got.known, ensure_ascii=False)
    lines = "\n".join(f"- {name}: {why}" for name, why in missing.items())
    return with_text(
        prompt,
        f"These fields are known and must not be repeated: {known}\n"
        f"Answer with a JSON object of the fields that are missing, and nothing else:\n{lines}",
    )


def _wrong_fields(error: OutputValidationError) -> dict[str, str]:
    """Return the top-level fields that *error* names, each with what is wrong with it."""
    reasons: dict[str, list[str]] = {}
    for problem in error.problems:
        name = re.split(r"[.\[]", problem.path, maxsplit=1)[0]
        if name:
            within = problem.path[len(name) :].lstrip(".")
            reasons.setdefault(name, []).append(
                f"{within}: {problem.message}" if within else problem.message
            )
    return {name: "; ".join(messages) for name, messages in reasons.items()}
