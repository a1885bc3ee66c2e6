"""The categories of statuses, codes, sentences and types of exceptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from attrs import frozen

from batchllm.core import Category
from batchllm.policy import EXHAUSTED_CODES

__all__ = [
    "COMMON",
    "RETRYABLE",
    "STATUS_OF",
    "Phrase",
    "Tables",
    "by_status",
    "by_type",
    "by_words",
]

RETRYABLE: Final = frozenset(
    {
        Category.RATE_LIMIT,
        Category.OVERLOADED,
        Category.TIMEOUT,
        Category.CONNECTION,
        Category.SERVER_ERROR,
        Category.BAD_OUTPUT,
        Category.UNKNOWN,
    }
)
"""The categories in which another attempt may help."""


class Phrase(NamedTuple):
    """Words that show a category if only a status, and no finer code, is given."""

    category: Category
    statuses: frozenset[int]
    words: re.Pattern[str]
    unless_coded: bool = False

    @classmethod
    def of(
        cls, category: Category, statuses: set[int], words: str, *, unless_coded: bool = False
    ) -> Phrase:
        """A phrase from the text of its pattern; *unless_coded* yields to any code at all."""
        pattern = re.compile(words, re.IGNORECASE)
        return cls(category, frozenset(statuses), pattern, unless_coded)


@frozen
class Tables:
    """One provider's errors as a classifier knows them; codes are in lower case."""

    codes: Mapping[str, Category]
    phrases: tuple[Phrase, ...]

    def extended(self, codes: Mapping[str, Category], *phrases: Phrase) -> Tables:
        """These tables with a provider's own entries, which come first."""
        return Tables({**self.codes, **codes}, (*phrases, *self.phrases))


# Names that say as much as a status and no more: they decide where there is no status, as in a
# stream that fails after its 200. The many 4xx that one API calls invalid_request_error show why
# they do not decide elsewhere.
STATUS_OF: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "validationexception": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "accessdeniedexception": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "conflict_error": 409,
    "aborted": 409,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "rate_limit_error": 429,
    "rate_limited": 429,
    "resource_exhausted": 429,
    "quota_exceeded": 429,
    "cancelled": 499,
    "api_error": 500,
    "internal": 500,
    "internalserverexception": 500,
    "server_error": 500,
    "unavailable": 503,
    "serviceunavailableexception": 503,
    "deadline_exceeded": 504,
    "timeout_error": 504,
}

_CODES: Final[Mapping[str, Category]] = {
    **dict.fromkeys(EXHAUSTED_CODES, Category.INSUFFICIENT_QUOTA),
    "rate_limit_exceeded": Category.RATE_LIMIT,
    "ratelimitreached": Category.RATE_LIMIT,
    "slow_down": Category.RATE_LIMIT,
    "throttlingexception": Category.RATE_LIMIT,
    "too_many_requests": Category.RATE_LIMIT,
    "1300": Category.RATE_LIMIT,
    "overloaded_error": Category.OVERLOADED,
    "server_is_overloaded": Category.OVERLOADED,
    "service_unavailable_error": Category.OVERLOADED,
    "modelnotreadyexception": Category.SERVER_ERROR,
    "context_length_exceeded": Category.TOO_LARGE,
    "request_too_large": Category.TOO_LARGE,
    "string_above_max_length": Category.TOO_LARGE,
    "content_filter": Category.FILTERED,
    "content_policy_violation": Category.FILTERED,
    "invalid_prompt": Category.FILTERED,
    "responsibleaipolicyviolation": Category.FILTERED,
    "invalid_api_key": Category.AUTHENTICATION,
    "api_key_invalid": Category.AUTHENTICATION,
    "deploymentnotfound": Category.MODEL_NOT_FOUND,
    "model_not_found": Category.MODEL_NOT_FOUND,
    "json_validate_failed": Category.BAD_OUTPUT,
    "tool_use_failed": Category.BAD_OUTPUT,
}

_PHRASES: Final = (
    Phrase.of(
        Category.TOO_LARGE,
        {400, 413, 422},
        r"(maximum|exceeds?( the)?) context (length|limit)|(prompt|input) is too long"
        r"|input token count",
    ),
    Phrase.of(
        Category.INSUFFICIENT_QUOTA,
        {400, 403, 429},
        r"credit balance|spend(ing)? limit|enforced_spend_limit_reached",
    ),
    Phrase.of(
        Category.INSUFFICIENT_QUOTA, {429}, r"exceeded your current quota", unless_coded=True
    ),
    Phrase.of(
        Category.MODEL_NOT_FOUND,
        {400, 404},
        r"\bmodel\b.{0,200}(not found|not exist)|not a valid model",
    ),
    Phrase.of(
        Category.OVERLOADED, {500, 502, 503}, r"overloaded|server busy|high demand|at capacity"
    ),
)

COMMON: Final = Tables(_CODES, _PHRASES)
"""The table that holds for every provider."""

_STATUSES: Final[Mapping[int, Category]] = {
    401: Category.AUTHENTICATION,
    402: Category.INSUFFICIENT_QUOTA,
    403: Category.PERMISSION,
    404: Category.NOT_FOUND,
    407: Category.AUTHENTICATION,
    408: Category.SERVER_ERROR,
    409: Category.SERVER_ERROR,
    410: Category.NOT_FOUND,
    413: Category.TOO_LARGE,
    414: Category.TOO_LARGE,
    424: Category.SERVER_ERROR,
    425: Category.SERVER_ERROR,
    429: Category.RATE_LIMIT,
    431: Category.TOO_LARGE,
    451: Category.PERMISSION,
    498: Category.OVERLOADED,
    499: Category.SERVER_ERROR,
    503: Category.OVERLOADED,  # also what nginx says above its limits unless configured otherwise
    529: Category.OVERLOADED,
}


def by_status(status: int) -> Category:
    """Return the category of an HTTP status from 300 up that comes without anything finer."""
    if status >= 500:
        return _STATUSES.get(status, Category.SERVER_ERROR)
    return _STATUSES.get(status, Category.INVALID_REQUEST)


# Names of classes by the top of their module, so that no library needs to be imported. The
# class that is nearest to the exception's own in its ancestry decides.
_TYPES: Final[Mapping[Category, Mapping[str, str]]] = {
    Category.TIMEOUT: {
        "builtins": "TimeoutError",
        "trio": "TooSlowError",
        "httpx": "TimeoutException",
        "httpx2": "TimeoutException",
        "httpcore": "TimeoutException",
        "httpcore2": "TimeoutException",
        "openai": "APITimeoutError",
        "anthropic": "APITimeoutError",
        "aiohttp": "ServerTimeoutError",
        "requests": "Timeout",
        "urllib3": "TimeoutError",
        "botocore": "ReadTimeoutError ConnectTimeoutError",
    },
    Category.CONNECTION: {
        "builtins": "OSError EOFError",
        "anyio": "BrokenResourceError ClosedResourceError EndOfStream IncompleteRead",
        "trio": "BrokenResourceError ClosedResourceError",
        "httpx": "RequestError",
        "httpx2": "RequestError",
        "httpcore": "NetworkError ProtocolError",
        "httpcore2": "NetworkError ProtocolError",
        "h11": "RemoteProtocolError",
        "http": "HTTPException",
        "openai": "APIConnectionError",
        "anthropic": "APIConnectionError",
        "aiohttp": "ClientError",
        "urllib3": "HTTPError",
        "botocore": "HTTPClientError",
        "google": "TransportError",
    },
    Category.SERVER_ERROR: {
        "httpx": "DecodingError",
        "httpx2": "DecodingError",
        "aiohttp": "ContentTypeError",
        "requests": "InvalidJSONError",
        "openai": "APIResponseValidationError",
        "anthropic": "APIResponseValidationError",
    },
    Category.TOO_LARGE: {
        "pydantic_ai": "UsageLimitExceeded",  # the caller's own limit, not the provider's
    },
    Category.INVALID_REQUEST: {
        "httpx": "UnsupportedProtocol LocalProtocolError InvalidURL TooManyRedirects",
        "httpx2": "UnsupportedProtocol LocalProtocolError InvalidURL TooManyRedirects",
        "httpcore": "UnsupportedProtocol LocalProtocolError",
        "httpcore2": "UnsupportedProtocol LocalProtocolError",
        "h11": "LocalProtocolError",
        "aiohttp": "InvalidURL",
        "requests": "InvalidURL InvalidSchema MissingSchema",
    },
    Category.AUTHENTICATION: {
        "botocore": "NoCredentialsError",
        "google": "RefreshError DefaultCredentialsError",
    },
    Category.BAD_OUTPUT: {
        "builtins": "ValueError KeyError IndexError",
        "msgspec": "DecodeError",
        "cattrs": "BaseValidationError",
        "jsonschema": "ValidationError",
        "pydantic_ai": "UnexpectedModelBehavior ModelRetry",
        "openai": "LengthFinishReasonError",
    },
    Category.FILTERED: {
        "google": "BlockedPromptException StopCandidateException",
        "openai": "ContentFilterFinishReasonError",
        "pydantic_ai": "ContentFilterError",
    },
    Category.PROGRAM_ERROR: {
        "builtins": "TypeError AttributeError NameError AssertionError ImportError",
        "pydantic_ai": "UserError",
    },
    Category.CANCELLED: {
        "asyncio": "CancelledError",
        "trio": "Cancelled",
    },
}
_BY_NAME: Final = {
    (module, name): category
    for category, modules in _TYPES.items()
    for module, names in modules.items()
    for name in names.split()
}


def by_type(exception: BaseException) -> Category | None:
    """Return the category of the exception's class or its nearest known ancestor."""
    for ancestor in type(exception).__mro__:
        module = ancestor.__module__
        if isinstance(module, str):
            category = _BY_NAME.get((module.partition(".")[0], ancestor.__name__))
            if category is not None:
                return category
    return None


_LIMIT_TYPES: Final = ("RateLimit", "TooManyRequests")
"""The last evidence, if there is no status and no code: the name of an exception's type, and the
beginning of its message."""
_START: Final = 300
"""Characters of a message that count; behind them stand requests and answers of any content."""

_LIMIT_STATUS: Final = re.compile(
    r"\W{0,3}(?:(?:http|status|error|code)\W{1,3}){0,4}429\b", re.IGNORECASE
)
_NO_QUOTA: Final = re.compile(r"\binsufficient_quota\b", re.IGNORECASE)
_LIMIT_PHRASES: Final = tuple(
    re.compile(rf"\b{words}\b", re.IGNORECASE)
    for words in (
        r"rate[ -_]?limit(?:s|ed)?",
        r"too many requests",
        r"quota (?:was |is |has been )?exceeded",
        r"resource[_ ]exhausted",
        r"throttl(?:ed|ing)",
    )
)


def by_words(exception: BaseException, message: str) -> Category | None:
    """Return the category that type name and message agree on; ``None`` if they say too little.

    One phrase alone is no evidence: "see our docs on rate limits" stands in many a message.
    """
    start = message[:_START]
    if _NO_QUOTA.search(start):
        return Category.INSUFFICIENT_QUOTA
    if any(kind.__name__.startswith(_LIMIT_TYPES) for kind in type(exception).__mro__):
        return Category.RATE_LIMIT
    if _LIMIT_STATUS.match(start) or sum(bool(one.search(start)) for one in _LIMIT_PHRASES) >= 2:
        return Category.RATE_LIMIT
    return None
