"""Which part of a prompt a provider would keep for the next request."""

from batchllm.simulator.wires.exchange import Prefix
from batchllm.simulator.wires.parsing import count_tokens, digest_of

SHORTEST_PREFIX = 1024
_STEP = 128
_AUTOMATIC_LIFETIME = 300.0


def automatic_prefix(text: str) -> Prefix | None:
    """The prefix that is kept without being asked for: of 1,024 tokens or more, in steps of 128."""
    tokens = count_tokens(text)
    if tokens < SHORTEST_PREFIX:
        return None
    return Prefix(
        digest=digest_of(text),
        tokens=tokens - tokens % _STEP,
        lifetime=_AUTOMATIC_LIFETIME,
        explicit=False,
    )
