"""Answers that have to be JSON, and the error where one is not."""

from __future__ import annotations

import msgspec

from batchllm.core import LLMResponse

__all__ = ["check_json"]


def check_json(response: LLMResponse) -> None:
    """Pass if the answer's text is JSON.

    Raises:
        ValueError: It is not. The error carries the ``response`` and the tokens that it cost.
    """
    try:
        msgspec.json.decode(response.text)
    except msgspec.DecodeError as error:
        cut = (response.metadata or {}).get("finish_reason") == "length"
        why = "the limit on tokens cut it off; raise max_tokens" if cut else str(error)
        msg = f"the answer is no JSON although a schema was given: {why}"
        failure = ValueError(msg)
        failure.response = response  # type: ignore[attr-defined]
        failure._failed_token_usage = response.usage or None  # type: ignore[attr-defined]
        raise failure from error
