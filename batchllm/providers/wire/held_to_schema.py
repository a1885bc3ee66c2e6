"""Models whose answers have to be JSON, and the error if one is not."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

from batchllm.core import LLMResponse
from batchllm.policy import JsonError, read_json

if TYPE_CHECKING:
    from batchllm.structured import OutputSchema, SchemaRules

__all__ = ["HeldToSchema", "check_json"]


class HeldToSchema:
    """A model that can be held to a JSON schema.

    Attributes:
        schema: The schema that answers have to follow, if any.
        schema_rules: Whose rules a schema has to keep to be accepted; ``None`` if the server
            takes what it does not know, or has a flag for schemas without a strict form.
    """

    schema_rules: ClassVar[SchemaRules | None] = None
    schema: Mapping[str, Any] | None = None
    _schema_name: str = "answer"
    _schema_is_strict: bool = True
    _checks_json: bool = True

    def with_output(self, wanted: OutputSchema) -> Self:
        """Return the same model, over the same connections, held to an output type's schema.

        Its answers are not checked here: the strategy that asks for a type reads them, and can
        make more of one that is not quite JSON.
        """
        other = copy(self)
        other.schema = wanted.schema
        other._schema_name = wanted.name
        other._schema_is_strict = wanted.strict
        other._checks_json = False
        return other

    @property
    def _named_schema(self) -> dict[str, Any]:
        """The schema as OpenAI's wires take it."""
        return {"name": self._schema_name, "strict": self._schema_is_strict, "schema": self.schema}

    def _check(self, response: LLMResponse) -> None:
        if self.schema is not None and self._checks_json:
            check_json(response)


def check_json(response: LLMResponse) -> None:
    """Pass if the answer's text is JSON.

    Raises:
        ValueError: It is not. The error carries the ``response`` and the tokens that it cost.
    """
    try:
        read_json(response.text)
    except JsonError as error:
        cut = (response.metadata or {}).get("finish_reason") == "length"
        why = "the limit on tokens cut it off; raise max_tokens" if cut else str(error)
        msg = f"the answer is no JSON although a schema was given: {why}"
        failure = ValueError(msg)
        failure.response = response  # type: ignore[attr-defined]
        failure._failed_token_usage = response.usage or None  # type: ignore[attr-defined]
        raise failure from error
