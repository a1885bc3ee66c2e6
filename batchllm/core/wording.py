"""Words of messages: what kind of thing a value is."""

from __future__ import annotations

__all__ = ["a_or_an", "kind_of"]

# By sound, as far as names of types go: "an LLMModel", but "a UserDict".
_AN = ("a", "e", "i", "o", "llm", "html", "http")


def a_or_an(noun: str) -> str:
    """*noun* with its article: ``"an int"``, ``"a str"``."""
    return f"{'an' if noun.lower().startswith(_AN) else 'a'} {noun}"


def kind_of(value: object) -> str:
    """Return what *value* is, for a message: ``"an int"``, ``"None"`` or ``"the class Gate"``."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return a_or_an(type(value).__name__)
