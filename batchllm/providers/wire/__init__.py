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
from batchllm.providers.wire.embedding import Embedder, Vector, as_texts
from batchllm.providers.wire.endpoints import (
    Account,
    Connected,
    ConnectionOptions,
    Endpoint,
    ServerOptions,
    mask_options,
)
from batchllm.providers.wire.error_replies import error_reply, request_id_of
from batchllm.providers.wire.errors_inside import MayBeError, error_within, is_error
from batchllm.providers.wire.exchange import (
    Exchange,
    JsonObject,
    Progress,
    StreamReader,
    decode_object,
    not_readable,
)
from batchllm.providers.wire.finish import Finish, normalize_finish
from batchllm.providers.wire.held_to_schema import HeldToSchema
from batchllm.providers.wire.model import JsonModel, WireModel, WireOptions
from batchllm.providers.wire.parameters import as_dict, check_names, check_options
from batchllm.providers.wire.prompt_parts import parts_of, read_media
from batchllm.providers.wire.request_body import encode
from batchllm.providers.wire.streamed import DONE, is_events, read_events, read_stream

__all__ = [
    "DONE",
    "Account",
    "Connected",
    "ConnectionOptions",
    "Embedder",
    "Endpoint",
    "Exchange",
    "Finish",
    "HeldToSchema",
    "JsonModel",
    "JsonObject",
    "MayBeError",
    "Progress",
    "ServerOptions",
    "StreamReader",
    "Vector",
    "WireModel",
    "WireOptions",
    "as_dict",
    "as_parts",
    "as_texts",
    "attach_usage",
    "check_answered",
    "check_names",
    "check_options",
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
    "mask_options",
    "normalize_finish",
    "not_readable",
    "parts_of",
    "read_events",
    "read_media",
    "read_stream",
    "request_id_of",
    "without_halves",
]
