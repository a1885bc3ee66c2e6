"""What the wires of all providers have in common."""

from batchllm.providers.wire.answers import (
    as_parts,
    check_answered,
    joined,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
    without_halves,
)
from batchllm.providers.wire.billing import attach_usage
from batchllm.providers.wire.endpoints import Endpoint, open_client
from batchllm.providers.wire.error_replies import error_reply, request_id_of
from batchllm.providers.wire.errors_inside import error_within, is_error
from batchllm.providers.wire.finish import Finish, normalize_finish
from batchllm.providers.wire.held_to_schema import HeldToSchema
from batchllm.providers.wire.model import JsonObject, Progress, WireModel, decode_object
from batchllm.providers.wire.parameters import check_names
from batchllm.providers.wire.prompt_parts import parts_of, read_media
from batchllm.providers.wire.request_body import encode
from batchllm.providers.wire.streamed import DONE, is_events, read_events, read_stream

__all__ = [
    "DONE",
    "Endpoint",
    "Finish",
    "HeldToSchema",
    "JsonObject",
    "Progress",
    "WireModel",
    "as_parts",
    "attach_usage",
    "check_answered",
    "check_names",
    "decode_object",
    "encode",
    "error_reply",
    "error_within",
    "is_error",
    "is_events",
    "joined",
    "make_response",
    "malformed",
    "mapping_of",
    "mappings_of",
    "normalize_finish",
    "open_client",
    "parts_of",
    "read_events",
    "read_media",
    "read_stream",
    "request_id_of",
    "without_halves",
]
