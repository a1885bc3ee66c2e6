"""The authority on another machine: a ``batchllm serve-gate``, asked over HTTP."""

from __future__ import annotations

import os
from typing import Final

from batchllm.core import CallError, ConfigError
from batchllm.policy import Lease, LeaseRequest
from batchllm.shared.stores import GateUnreachableError
from batchllm.shared.wire import PATH, read_lease, write
from batchllm.transport import Http, HttpClient, Secret

__all__ = ["SECRET_VARIABLE", "HttpLeases"]

SECRET_VARIABLE: Final = "BATCHLLM_GATE_SECRET"
_MOST_BYTES: Final = 1 << 20
_NOT_ALLOWED: Final = 401
_OK: Final = 200
_WRONG: Final = 409


class HttpLeases:
    """Asks a ``batchllm serve-gate`` for leases.

    Args:
        address: Such as ``"http://10.0.0.5:8765"``.
        secret: What the server was started with; by default ``BATCHLLM_GATE_SECRET``.
        transport: As for other HTTP: a transport of your own, or ``None``.

    Raises:
        ConfigError: There is no secret, or *address* is no address of a server.
    """

    def __init__(
        self, address: str, *, secret: str | None = None, transport: Http | None = None
    ) -> None:
        secret = secret or os.environ.get(SECRET_VARIABLE)
        if not secret:
            msg = (
                f"the shared gate at {address} asks for a secret; set {SECRET_VARIABLE} to the one "
                "that batchllm serve-gate was started with, or give secret="
            )
            raise ConfigError(msg)
        self._client = HttpClient(
            transport,
            base_url=address,
            headers={"authorization": f"Bearer {secret}"},
            secrets=(Secret(secret),),
            max_body=_MOST_BYTES,
        )

    def __repr__(self) -> str:
        return f"HttpLeases({self._client.base_url!r})"

    async def lease(self, request: LeaseRequest) -> Lease:
        """Book slots for the calls of one worker; see ``LeaseStore``."""
        where = f"the shared gate at {self._client.base_url}"
        try:
            reply = await self._client.request_json("POST", PATH, write(request))
        except CallError as error:
            msg = f"{where} cannot be reached: {error}"
            raise GateUnreachableError(msg) from error
        if reply.status == _NOT_ALLOWED:
            msg = f"{where} has another secret; give both the same {SECRET_VARIABLE}"
            raise ConfigError(msg)
        if reply.status == _WRONG:
            raise ConfigError(reply.body.decode("utf-8", "replace")[:2_000])
        try:
            if reply.status != _OK:
                raise ValueError(f"status {reply.status}")
            return read_lease(reply.body)
        except ValueError as error:
            msg = f"{where} answers, but not as a batchllm serve-gate does ({error})"
            raise GateUnreachableError(msg) from error

    async def aclose(self) -> None:
        """Close the connections; the next lease opens them again."""
        await self._client.aclose()
