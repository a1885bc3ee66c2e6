"""The answers of the simulated model: a function of the request and the attempt, nothing else."""

import json
import math
import random
import re
import struct
from hashlib import blake2b

from batchllm.simulator.faults import ANSWER_FAULTS, SHAPE_FAULTS, Fault
from batchllm.simulator.schema_answers import satisfy, spoil
from batchllm.simulator.wires import Answer, Call, count_tokens

_SENTENCE = (
    "the answer is that every small batch of water keeps its own clear path while a long river "
    "turns slowly toward the sea and light follows over stone field and quiet harbour"
)
_WORDS = tuple(_SENTENCE.split())
_MARK = re.compile(r"Begin your answer with the mark (\[[0-9a-f]+\])\.")
"""The mark that a model puts before its answer if it does as it is asked."""

EMBEDDING_DIMENSIONS = 16


def request_rng(seed: int, digest: str, attempt: int, purpose: str) -> random.Random:
    """Randomness that belongs to one attempt of one request and one purpose."""
    key = f"{seed}/{digest}/{attempt}/{purpose}".encode()
    return random.Random(int.from_bytes(blake2b(key, digest_size=8).digest()))


def compose(
    call: Call,
    *,
    length: int,
    said: str | None,
    faults: tuple[Fault, ...],
    words: random.Random,
    rng: random.Random,
) -> Answer:
    """Answer a request with about `length` tokens, or with exactly what it asked to hear.

    What is said is drawn from `words`, what goes wrong with it from `rng`.
    A bound on the output that the caller gave is kept: the answer is cut and ends with "length".
    """
    if call.kind == "embed":
        return _embed(call)
    text = said if said is not None else _text(call, length, words)
    mark = _MARK.search(call.prompt)
    if mark is not None:
        text = f"{mark[1]} {text}"
    for fault in faults:
        if fault.name in SHAPE_FAULTS and (call.schema is not None or _is_json(text)):
            text = spoil(text, fault, rng)
    answer = _within_bound(text, call)
    for fault in faults:
        if fault.name in ANSWER_FAULTS or fault.name == "unknown-finish":
            answer = _cut_short(answer, fault)
    return answer


def _text(call: Call, length: int, rng: random.Random) -> str:
    if call.schema is not None:
        return json.dumps(satisfy(call.schema, rng))
    if call.details.get("json"):
        return json.dumps({"answer": rng.choice(_WORDS)})
    # Four bytes a token: a word of five letters and its space make one and a half.
    words = rng.choices(_WORDS, k=max(1, round(length / 1.4)))
    return " ".join(words).capitalize() + "."


def _is_json(text: str) -> bool:
    return text[:1] in "{["


def _within_bound(text: str, call: Call) -> Answer:
    tokens = count_tokens(text)
    bound = call.tokens_allowed
    if bound is None or tokens <= bound:
        return Answer(text=text, input_tokens=call.input_tokens, output_tokens=tokens)
    cut = text.encode()[: bound * 4].decode(errors="ignore")
    return Answer(text=cut, finish="length", input_tokens=call.input_tokens, output_tokens=bound)


def _cut_short(answer: Answer, fault: Fault) -> Answer:
    inputs = answer.input_tokens
    match fault.name:
        case "empty":
            return Answer(input_tokens=inputs, output_tokens=0)
        case "content-filter":
            return Answer(finish="content_filter", input_tokens=inputs, output_tokens=0)
        case "refusal":
            text = "I cannot help with that."
            return Answer(
                text=text, finish="refusal", input_tokens=inputs, output_tokens=count_tokens(text)
            )
        case "length":
            text = answer.text[: len(answer.text) // 2]
            return Answer(
                text=text, finish="length", input_tokens=inputs, output_tokens=count_tokens(text)
            )
        case _:
            return Answer(
                text=answer.text,
                finish="unknown",
                input_tokens=inputs,
                output_tokens=answer.output_tokens,
            )


def _embed(call: Call) -> Answer:
    dimensions = int(call.details.get("dimensions") or EMBEDDING_DIMENSIONS)
    vectors = tuple(embedding(call.model, text, dimensions) for text in call.texts)
    return Answer(vectors=vectors, input_tokens=call.input_tokens)


def embedding(model: str, text: str, dimensions: int) -> tuple[float, ...]:
    """A vector of length 1 that depends on the model and the text only, in float32 precision."""
    values: list[float] = []
    block = 0
    while len(values) < dimensions:
        digest = blake2b(f"{model}/{block}/{text}".encode(), digest_size=64).digest()
        values += [word / 2**31 - 1.0 for word in struct.unpack("<16I", digest)]
        block += 1
    values = values[:dimensions]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    packed = struct.pack(f"<{dimensions}f", *(value / length for value in values))
    return struct.unpack(f"<{dimensions}f", packed)
