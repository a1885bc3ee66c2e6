"""The parts that the wires of all providers have in common."""

from batchllm.providers.wire.answers import (
    as_list,
    as_parts,
    attach_usage,
    check_answered,
    cut_off,
    is_first,
    joined,
    make_response,
    malformed,
    mapping_of,
    mappings_of,
)
from batchllm.providers.wire.embedding import Embedder, Vector, as_texts, check_vectors
from batchllm.providers.wire.endpoints import (
    Account,
    Connected,
    ConnectionOptions,
    Endpoint,
    ServerOptions,
    lasting_address,
    mask_options,
)
from batchllm.providers.wire.error_replies import Peer, error_reply, request_id_of
from batchllm.providers.wire.errors_inside import MayBeError, error_within, is_error
from batchllm.providers.wire.exchange import (
    Exchange,
    JsonObject,
    Progress,
    ReplyFormat,
    StreamReader,
    decode_event,
    decode_object,
    not_readable,
)
from batchllm.providers.wire.extras import Cited, cited, token_logprobs
from batchllm.providers.wire.finish import Finish, normalize_finish
from batchllm.providers.wire.held_to_schema import HeldToSchema
from batchllm.providers.wire.model import Dialect, JsonDialect, WireModel, WireOptions
from batchllm.providers.wire.prompt_parts import messages_of, no_data, parts_of, read_media
from batchllm.providers.wire.request import (
    OnlineOnlyError,
    WireRequest,
    as_dict,
    check_names,
    check_options,
    cost_of,
    encode,
)
from batchllm.providers.wire.streamed import DONE, read_events

__all__ = [
    "DONE",
    "Account",
    "Cited",
    "Connected",
    "ConnectionOptions",
    "Dialect",
    "Embedder",
    "Endpoint",
    "Exchange",
    "Finish",
    "HeldToSchema",
    "JsonDialect",
    "JsonObject",
    "MayBeError",
    "OnlineOnlyError",
    "Peer",
    "Progress",
    "ReplyFormat",
    "ServerOptions",
    "StreamReader",
    "Vector",
    "WireModel",
    "WireOptions",
    "WireRequest",
    "as_dict",
    "as_list",
    "as_parts",
    "as_texts",
    "attach_usage",
    "check_answered",
    "check_names",
    "check_options",
    "check_vectors",
    "cited",
    "cost_of",
    "cut_off",
    "decode_event",
    "decode_object",
    "encode",
    "error_reply",
    "error_within",
    "is_error",
    "is_first",
    "joined",
    "lasting_address",
    "make_response",
    "malformed",
    "mapping_of",
    "mappings_of",
    "mask_options",
    "messages_of",
    "no_data",
    "normalize_finish",
    "not_readable",
    "parts_of",
    "read_events",
    "read_media",
    "request_id_of",
    "token_logprobs",
]
