"""Answers with a type: schemas to ask by, parsing, and feedback on what was wrong. Pure."""

from batchllm.structured.feedback import feedback_prompt, feedback_text, problems_of, with_text
from batchllm.structured.parse import Parsed, parse, parse_noted
from batchllm.structured.partial import merge_fields
from batchllm.structured.problems import MISSING, OutputValidationError, Problem
from batchllm.structured.rules import SchemaRules, strict_problems
from batchllm.structured.schema import OutputSchema, json_schema, output_schema
from batchllm.structured.strict import NotStrictError

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
