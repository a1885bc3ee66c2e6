"""Answers with a type: schemas to ask by, parsing, and feedback on what was wrong. Pure."""

from typing import TYPE_CHECKING

from batchllm.on_demand import on_demand

if TYPE_CHECKING:
    from batchllm.structured.feedback import feedback_prompt, feedback_text, problems_of, with_text
    from batchllm.structured.parsed import Parsed
    from batchllm.structured.parsing import parse, parse_noted
    from batchllm.structured.partial import merge_fields
    from batchllm.structured.problems import MISSING, OutputValidationError, Problem
    from batchllm.structured.rules import SchemaRules, strict_problems
    from batchllm.structured.schema import OutputSchema, json_schema, output_schema
    from batchllm.structured.strict import NotStrictError
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "batchllm.structured.feedback": "feedback_prompt feedback_text problems_of with_text",
            "batchllm.structured.parsing": "parse parse_noted",
            "batchllm.structured.parsed": "Parsed",
            "batchllm.structured.partial": "merge_fields",
            "batchllm.structured.problems": "MISSING OutputValidationError Problem",
            "batchllm.structured.rules": "SchemaRules strict_problems",
            "batchllm.structured.schema": "OutputSchema json_schema output_schema",
            "batchllm.structured.strict": "NotStrictError",
        },
    )

__all__ = [
    "MISSING",
    "NotStrictError",
    "OutputSchema",
    "OutputValidationError",
    "Parsed",
    "Problem",
    "SchemaRules",
    "feedback_prompt",
    "feedback_text",
    "json_schema",
    "merge_fields",
    "output_schema",
    "parse",
    "parse_noted",
    "problems_of",
    "strict_problems",
    "with_text",
]
