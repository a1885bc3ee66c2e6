"""Requests and replies that the exceptions of HTTP libraries and SDKs hold.

``openai.BadRequestError`` holds its response, which holds its request, which holds the prompt:
60 kB a failed item where the prompt has 50. A result that is kept has room for none of it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from attrs import evolve

from batchllm.core import LLMResponse

__all__ = ["drop_replies"]

_HTTPX: Final = ("httpx", "httpx2")
_OTHERS: Final = ("aiohttp", "requests")
_HELD: Final = ("Request", "Response", "PreparedRequest", "ClientResponse")


def drop_replies(error: BaseException) -> None:
    """Put small stand-ins in place of the requests and replies among the fields of *error*.

    One of httpx keeps its method, address and status, since code that looks at an exception
    expects one there; of other libraries' nothing is left. An ``LLMResponse`` loses the
    provider's own reply; its metadata say the same.
    """
    fields = getattr(error, "__dict__", {})
    for name, value in list(fields.items()):
        if isinstance(value, LLMResponse):
            if value.raw is not None:
                fields[name] = evolve(value, raw=None)
        elif type(value).__name__ in _HELD:
            fields[name] = _stand_in(value)


def _stand_in(held: Any) -> Any:
    kind: Any = type(held)
    library = kind.__module__.partition(".")[0]
    if library in _OTHERS:
        return None
    if library not in _HTTPX:
        return held
    with suppress(Exception):  # a response may have no request
        request: Any = held if kind.__name__ == "Request" else held.request
        of: Any = type(request)
        bare = _bare_request(of, request.method, str(request.url))
        return bare if request is held else _bare_response(kind, held.status_code, bare)
    return None


# One for all items: a Request is a kilobyte.


@lru_cache(maxsize=256)
def _bare_request(kind: Any, method: str, url: str) -> Any:
    return kind(method, url)


@lru_cache(maxsize=256)
def _bare_response(kind: Any, status: int, request: Any) -> Any:
    return kind(status, request=request)
