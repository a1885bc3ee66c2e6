"""Values that satisfy a JSON schema, and texts that fail to on purpose. Seeded and pure."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from batchllm.simulator.faults import Fault

Schema = Mapping[str, Any]

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "islet", "jade")
_FORMATS = {
    "date": "2026-03-14",
    "date-time": "2026-03-14T09:26:53Z",
    "time": "09:26:53Z",
    "duration": "P3D",
    "email": "amber@example.org",
    "uri": "https://example.org/amber",
    "uuid": "3f0c1a52-6d1e-4b7a-9c55-0d3b1a7e42aa",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
}
_DEEPEST = 8


def satisfy(schema: Schema, rng: random.Random) -> Any:
    """A value that is valid under `schema` (JSON Schema, or Gemini's upper-case subset).

    Patterns are not solved: a string with a `pattern` is an ordinary word.
    """
    return _Maker(root=schema, rng=rng).make(schema, 0)


class _Maker:
    def __init__(self, *, root: Schema, rng: random.Random) -> None:
        self.root = root
        self.rng = rng

    def make(self, schema: Any, depth: int) -> Any:
        if schema is True:
            return None
        if not isinstance(schema, Mapping):
            msg = f"a schema has to be an object, not {schema!r}"
            raise TypeError(msg)
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self.rng.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                return self._one_of(schema[word], depth)
        if schema.get("allOf"):
            return self.make(_merged([self._plain(part) for part in schema["allOf"]]), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Schema, depth: int) -> Any:
        match self._type_of(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return round(self._number(schema), 6)
            case "boolean":
                return self.rng.random() < 0.5
            case _:
                return None

    def _type_of(self, schema: Schema, depth: int) -> str:
        declared = schema.get("type")
        if isinstance(declared, str):
            return declared.lower()
        if isinstance(declared, Sequence) and declared:
            kinds = [kind for kind in declared if kind != "null"]
            return str(kinds[0] if kinds and depth < _DEEPEST else declared[-1])
        if "properties" in schema:
            return "object"
        return "array" if "items" in schema or "prefixItems" in schema else "string"

    def _one_of(self, choices: Sequence[Any], depth: int) -> Any:
        if depth >= _DEEPEST:
            simplest = min(choices, key=lambda choice: len(json.dumps(self._plain(choice))))
            return self.make(simplest, depth + 1)
        solid = [choice for choice in choices if self._plain(choice).get("type") != "null"]
        return self.make(self.rng.choice(solid or list(choices)), depth + 1)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        wanted = properties if depth < _DEEPEST else [n for n in properties if n in required]
        made = {name: self.make(properties[name], depth + 1) for name in wanted}
        for name in required:
            made.setdefault(name, self.rng.choice(_WORDS))
        return made

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        made = [self.make(part, depth + 1) for part in schema.get("prefixItems", ())]
        items = schema.get("items")
        low = int(schema.get("minItems", 0))
        high = int(schema.get("maxItems", max(low, 3)))
        wanted = max(low, min(high, 2)) if depth < _DEEPEST else low
        if isinstance(items, Mapping):
            made += [self.make(items, depth + 1) for _ in range(wanted - len(made))]
        if schema.get("uniqueItems"):
            made = list({json.dumps(value, sort_keys=True): value for value in made}.values())
        return made

    def _string(self, schema: Schema) -> str:
        text = _FORMATS.get(str(schema.get("format"))) or self.rng.choice(_WORDS)
        low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
        while len(text) < low:
            text += " " + self.rng.choice(_WORDS)
        return text if high is None else text[: int(high)]

    def _integer(self, schema: Schema) -> int:
        low, high = _range(schema, step=1)
        step = int(schema.get("multipleOf", 1))
        return self.rng.randint(-(-int(low) // step), int(high) // step) * step

    def _number(self, schema: Schema) -> float:
        low, high = _range(schema, step=1e-6)
        return self.rng.uniform(low, high)

    def _plain(self, schema: Any) -> Schema:
        while isinstance(schema, Mapping) and "$ref" in schema:
            schema = self._resolve(schema["$ref"])
        return schema if isinstance(schema, Mapping) else {}

    def _resolve(self, reference: str) -> Schema:
        found: Any = self.root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                found = found[part.replace("~1", "/").replace("~0", "~")]
        return found  # type: ignore[no-any-return]


def _merged(parts: Sequence[Schema]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged = {**merged, **part}
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = required
    return merged


def _range(schema: Schema, step: float) -> tuple[float, float]:
    low = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    high = schema.get("maximum")
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, low + 100 if high is None else high


def spoil(text: str, fault: Fault, rng: random.Random) -> str:
    """Make the JSON in `text` wrong, or wrap it, as `fault` says."""
    match fault.name:
        case "fenced":
            return f"Here is the result:\n```json\n{text}\n```"
        case "trailing":
            return f"{text}\n\nLet me know if you need anything else."
        case "invalid-json":
            return text[: max(1, len(text) // 2)]
        case "missing-field":
            return _without_a_field(text, rng)
        case _:
            return _with_a_wrong_type(text, rng)


def _without_a_field(text: str, rng: random.Random) -> str:
    value = _loaded(text)
    if isinstance(value, dict) and value:
        del value[rng.choice(sorted(value))]
        return json.dumps(value)
    return "null"


def _with_a_wrong_type(text: str, rng: random.Random) -> str:
    value = _loaded(text)
    if isinstance(value, dict) and value:
        name = rng.choice(sorted(value))
        value[name] = ["not", "this"] if not isinstance(value[name], list) else "not a list"
        return json.dumps(value)
    return json.dumps({"unexpected": value})


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
