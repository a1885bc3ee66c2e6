"""The meaning of exceptions of our own, of the language and of foreign libraries."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.classifiers import DefaultErrorClassifier, classify
from batchllm.core import (
    BatchFailures,
    Category,
    ConfigError,
    EmptyResponseError,
    ErrorClassifier,
    ErrorInfo,
    FrameworkTimeoutError,
    InvalidItemError,
    ItemStopped,
    MalformedResponseError,
    Outcome,
    ProviderError,
    ScopeParkedError,
    ServerHint,
    StallError,
    TokenTrackingError,
    TransportError,
)

DEFAULT = DefaultErrorClassifier()


def look(exception: BaseException) -> ErrorInfo:
    return DEFAULT.classify(exception)


def category(exception: BaseException) -> str:
    return look(exception).error_category


class SDKError(Exception):
    """An exception with whatever attributes a library gives to its own."""

    def __init__(self, message: str = "failed", **attributes: Any) -> None:
        super().__init__(message)
        self.__dict__.update(attributes)


class Response:
    """A reply of some HTTP library."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def foreign(module: str, *names: str, base: type[BaseException] = Exception) -> BaseException:
    """An exception that looks like one of *module*, its ancestors named from the oldest on."""
    for name in names:
        base = type(name, (base,), {"__module__": module})
    return base("failed")


class TestOurOwn:
    @pytest.mark.parametrize(
        ("exception", "expected", "retryable", "outcome"),
        [
            (FrameworkTimeoutError("late"), Category.TIMEOUT, True, Outcome.TIMEOUT),
            (FrameworkTimeoutError("over", final=True), Category.TIMEOUT, False, Outcome.TIMEOUT),
            (EmptyResponseError("blocked"), Category.FILTERED, False, Outcome.BAD_OUTPUT),
            (StallError("paused"), Category.TIMEOUT, True, Outcome.TIMEOUT),
            (TransportError("reset"), Category.CONNECTION, True, Outcome.TRANSIENT),
            (MalformedResponseError("cut", status=200), Category.SERVER_ERROR, True, "transient"),
            (ProviderError("?", status=200), Category.SERVER_ERROR, True, Outcome.TRANSIENT),
            (ScopeParkedError("parked"), Category.PARKED, False, Outcome.EXHAUSTED),
            (ItemStopped("stopped"), Category.STOPPED, False, Outcome.UNKNOWN),
            (InvalidItemError("bad"), Category.INVALID_ITEM, False, Outcome.UNKNOWN),
            (ConfigError("bad"), Category.PROGRAM_ERROR, False, Outcome.FATAL),
        ],
    )
    def test_has_a_category_each(
        self, exception: Exception, expected: str, retryable: bool, outcome: str
    ) -> None:
        """Our exceptions say by their type what they mean."""
        info = look(exception)

        assert (info.error_category, info.is_retryable) == (expected, retryable)
        assert info.outcome == outcome
        assert not info.is_rate_limit

    def test_a_nested_batch_means_what_its_first_failure_means(self) -> None:
        """BatchFailures says nothing itself; it was raised from a failure."""
        error = BatchFailures("2 of 3 items have no answer")
        error.__cause__ = ProviderError("no", status=401)

        assert category(error) == Category.AUTHENTICATION

    def test_a_wrapper_for_tokens_means_what_it_wraps(self) -> None:
        """TokenTrackingError only carries counts."""
        error = TokenTrackingError("bad json", token_usage={"input_tokens": 1})
        error.__cause__ = json.JSONDecodeError("bad", "", 0)

        assert category(error) == Category.BAD_OUTPUT

    def test_the_hint_of_a_provider_error_is_passed_on(self) -> None:
        """The scope waits for as long as the server said."""
        hint = ServerHint(wait=7.0)
        info = look(ProviderError("slow down", status=429, hint=hint))

        assert info.is_rate_limit
        assert info.outcome == Outcome.THROTTLED
        assert (info.suggested_wait, info.hint) == (7.0, hint)


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "expected", "retryable"),
        [
            (302, Category.INVALID_REQUEST, False),
            (400, Category.INVALID_REQUEST, False),
            (401, Category.AUTHENTICATION, False),
            (402, Category.INSUFFICIENT_QUOTA, False),
            (403, Category.PERMISSION, False),
            (404, Category.NOT_FOUND, False),
            (407, Category.AUTHENTICATION, False),
            (408, Category.SERVER_ERROR, True),
            (409, Category.SERVER_ERROR, True),
            (413, Category.TOO_LARGE, False),
            (418, Category.INVALID_REQUEST, False),
            (422, Category.INVALID_REQUEST, False),
            (424, Category.SERVER_ERROR, True),
            (425, Category.SERVER_ERROR, True),
            (429, Category.RATE_LIMIT, True),
            (498, Category.OVERLOADED, True),
            (500, Category.SERVER_ERROR, True),
            (502, Category.SERVER_ERROR, True),
            (503, Category.OVERLOADED, True),
            (504, Category.SERVER_ERROR, True),
            (520, Category.SERVER_ERROR, True),
            (529, Category.OVERLOADED, True),
        ],
    )
    def test_decides_where_there_is_nothing_finer(
        self, status: int, expected: str, retryable: bool
    ) -> None:
        """Any exception with a status is judged by it, ours and a stranger's alike."""
        for exception in (ProviderError("?", status=status), SDKError(status_code=status)):
            info = look(exception)

            assert (info.error_category, info.is_retryable) == (expected, retryable)
            assert info.is_rate_limit == (status == 429)
            assert not info.is_timeout

    @pytest.mark.parametrize(
        "attributes",
        [
            {"status_code": 429},
            {"status": 429},
            {"code": 429},
            {"http_status": 429},
            {"response": Response(status_code=429)},
            {"response": Response(status=429)},
            {"response": {"ResponseMetadata": {"HTTPStatusCode": 429}, "Error": {"Code": "X"}}},
            {"error": {"code": 429}},
            {"body": b'{"error": {"code": "429", "message": "no"}}'},
        ],
    )
    def test_is_found_wherever_libraries_keep_it(self, attributes: dict[str, Any]) -> None:
        """SDKs differ in where the status is."""
        assert look(SDKError(**attributes)).is_rate_limit

    @pytest.mark.parametrize(
        "attributes", [{"code": 7}, {"status": True}, {"status_code": "429"}, {"status": 200}]
    )
    def test_other_numbers_are_no_status(self, attributes: dict[str, Any]) -> None:
        """A number out of range, a boolean, a text or a success says nothing."""
        assert category(SDKError(**attributes)) == Category.UNKNOWN

    def test_the_message_of_a_gateway_is_no_json(self) -> None:
        """An HTML page behind a 502 is a server's error like any other."""
        response = httpx.Response(
            502, text="<html>bad gateway</html>", request=httpx.Request("POST", "https://x.test")
        )
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()

        assert category(caught.value) == Category.SERVER_ERROR

    def test_headers_and_body_of_the_response_give_the_hint(self) -> None:
        """The wait is the header's, the limit the message's."""
        message = "on tokens per min (TPM): Limit 30000, Used 29937, Requested 385."
        response = httpx.Response(
            429,
            headers={"Retry-After": "7"},
            json={"error": {"message": message, "code": "rate_limit_exceeded"}},
            request=httpx.Request("POST", "https://x.test"),
        )
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()
        info = look(caught.value)

        assert info.suggested_wait == 7.0
        assert info.hint is not None
        assert info.hint.limits[0].amount == 30_000

    def test_an_unread_body_stays_unread(self) -> None:
        """Reading it could block: requests goes to the network for it."""

        asked: list[str] = []

        class Unread:
            status_code = 503
            _content = False

            @property
            def content(self) -> bytes:
                asked.append("content")
                return b""

        assert category(SDKError(response=Unread())) == Category.OVERLOADED
        assert not asked

    def test_a_wait_as_an_attribute_counts(self) -> None:
        """Some libraries parse Retry-After themselves."""
        assert look(SDKError(status_code=429, retry_after=2.5)).suggested_wait == 2.5
        assert look(SDKError(status_code=429, retry_after=float("nan"))).suggested_wait is None
        assert look(SDKError(status_code=429, headers={"retry-after": "4"})).suggested_wait == 4.0


class TestCodes:
    @pytest.mark.parametrize(
        ("status", "code", "kind", "expected"),
        [
            (429, "insufficient_quota", "insufficient_quota", Category.INSUFFICIENT_QUOTA),
            (429, "credit_balance_exhausted", "insufficient_quota", Category.INSUFFICIENT_QUOTA),
            (429, None, "insufficient_quota", Category.INSUFFICIENT_QUOTA),
            (429, "rate_limit_exceeded", "tokens", Category.RATE_LIMIT),
            (429, "slow_down", "rate_limit_error", Category.RATE_LIMIT),
            (503, "slow_down", None, Category.RATE_LIMIT),
            (429, None, "invalid_request_error", Category.RATE_LIMIT),
            (429, "ModelNotReadyException", None, Category.SERVER_ERROR),
            (503, "server_is_overloaded", "service_unavailable_error", Category.OVERLOADED),
            (500, None, "overloaded_error", Category.OVERLOADED),
            (200, None, "overloaded_error", Category.OVERLOADED),
            (200, "server_error", None, Category.SERVER_ERROR),
            (200, "rate_limit_exceeded", None, Category.RATE_LIMIT),
            (200, None, "invalid_request_error", Category.INVALID_REQUEST),
            (400, "context_length_exceeded", "invalid_request_error", Category.TOO_LARGE),
            (400, "content_filter", None, Category.FILTERED),
            (400, "json_validate_failed", "invalid_request_error", Category.BAD_OUTPUT),
            (401, "invalid_api_key", "invalid_request_error", Category.AUTHENTICATION),
            (404, "model_not_found", "invalid_request_error", Category.MODEL_NOT_FOUND),
            (404, "DeploymentNotFound", None, Category.MODEL_NOT_FOUND),
            (429, "1300", "rate_limited", Category.RATE_LIMIT),
        ],
    )
    def test_decide_before_the_status(
        self, status: int, code: str | None, kind: str | None, expected: str
    ) -> None:
        """The finest thing that the provider says is what counts."""
        assert category(ProviderError("?", status=status, code=code, kind=kind)) == expected

    def test_are_read_from_bodies_and_attributes(self) -> None:
        """An SDK keeps them on the exception, in the body or in the body's error."""
        inner = {"message": "no", "type": "insufficient_quota", "code": None}

        for attributes in (
            {"body": inner},
            {"body": {"error": inner}},
            {"code": "insufficient_quota"},
            {"type": "insufficient_quota"},
        ):
            error = SDKError(status_code=429, **attributes)
            assert category(error) == Category.INSUFFICIENT_QUOTA

    def test_a_request_that_can_never_pass_is_no_rate_limit(self) -> None:
        """The code is the same; the numbers or the words tell it apart."""
        code = "rate_limit_exceeded"
        words = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 36278"
        numbers = "on tokens per min (TPM): Limit 30000, Used 0, Requested 36278."
        fits = "on tokens per min (TPM): Limit 30000, Used 29937, Requested 385."

        assert category(ProviderError(words, status=429, code=code)) == Category.TOO_LARGE
        assert category(ProviderError(numbers, status=429, code=code)) == Category.TOO_LARGE
        assert category(ProviderError(fits, status=429, code=code)) == Category.RATE_LIMIT

    def test_an_empty_account_is_not_a_rate_limit(self) -> None:
        """It is final for the item, and the gate learns that the scope is exhausted."""
        info = look(ProviderError("pay", status=429, code="insufficient_quota"))

        assert not info.is_rate_limit
        assert not info.is_retryable
        assert info.outcome == Outcome.EXHAUSTED

    @pytest.mark.parametrize(
        ("status", "message", "expected"),
        [
            (400, "This model's maximum context length is 8192 tokens", Category.TOO_LARGE),
            (400, "prompt is too long: 9 tokens > 8 maximum", Category.TOO_LARGE),
            (400, "input length and `max_tokens` exceed context limit: 9", Category.TOO_LARGE),
            (400, "Your credit balance is too low", Category.INSUFFICIENT_QUOTA),
            (429, "You exceeded your current quota", Category.INSUFFICIENT_QUOTA),
            (404, "The model `x` does not exist.", Category.MODEL_NOT_FOUND),
            (404, "model 'x' not found", Category.MODEL_NOT_FOUND),
            (503, "server busy, please try again.", Category.OVERLOADED),
            (503, "Service Unavailable", Category.OVERLOADED),
            (502, "Bad Gateway", Category.SERVER_ERROR),
        ],
    )
    def test_words_decide_where_there_is_no_code(
        self, status: int, message: str, expected: str
    ) -> None:
        """Ollama, gateways and some refusals have words only."""
        assert category(SDKError(status_code=status, body={"error": message})) == expected

    def test_words_yield_to_a_code(self) -> None:
        """Gemini says "exceeded your current quota" at every rate limit, and OpenAI at an empty
        account; their codes differ."""
        message = "You exceeded your current quota"

        assert look(ProviderError(message, status=429, code="RESOURCE_EXHAUSTED")).is_rate_limit

    def test_a_status_given_as_code_is_no_code(self) -> None:
        """It says nothing that the status does not say, so the words still count."""
        error = ProviderError("You exceeded your current quota", status=429, code="429")

        assert category(error) == Category.INSUFFICIENT_QUOTA

    def test_a_wait_makes_a_503_an_overload(self) -> None:
        """A server that says when to come back has too much to do."""
        error = ProviderError("busy", status=503, hint=ServerHint(wait=3.0))
        info = look(error)

        assert info.outcome == Outcome.OVERLOADED
        assert info.is_retryable
        assert info.suggested_wait == 3.0

    def test_a_wait_makes_a_402_a_rate_limit(self) -> None:
        """Credits that are bound by calls in flight come back."""
        assert look(ProviderError("credits", status=402, hint=ServerHint(wait=3.0))).is_rate_limit

    @pytest.mark.parametrize(
        ("status", "retry", "expected"),
        [
            (500, False, False),
            (503, False, False),
            (418, True, True),
            (400, True, False),
            (404, True, False),
            (413, True, False),
            (500, True, True),
            (429, False, True),
        ],
    )
    def test_obeys_what_the_server_says_of_retries(
        self, status: int, retry: bool, expected: bool
    ) -> None:
        """x-should-retry decides in both directions, but no wrong request is repeated, and a
        rate limit stays one: the item runs again after the scope has waited."""
        error = ProviderError("?", status=status, hint=ServerHint(retry=retry))

        assert look(error).is_retryable == expected


class TestTypes:
    @pytest.mark.parametrize(
        ("exception", "expected"),
        [
            (ValueError("no"), Category.BAD_OUTPUT),
            (json.JSONDecodeError("no", "", 0), Category.BAD_OUTPUT),
            (UnicodeDecodeError("utf-8", b"", 0, 1, "no"), Category.BAD_OUTPUT),
            (KeyError("no"), Category.BAD_OUTPUT),
            (IndexError("no"), Category.BAD_OUTPUT),
            (TypeError("no"), Category.PROGRAM_ERROR),
            (AttributeError("no"), Category.PROGRAM_ERROR),
            (NameError("no"), Category.PROGRAM_ERROR),
            (AssertionError("no"), Category.PROGRAM_ERROR),
            (ModuleNotFoundError("no"), Category.PROGRAM_ERROR),
            (TimeoutError("no"), Category.TIMEOUT),
            (ConnectionResetError("no"), Category.CONNECTION),
            (OSError("no"), Category.CONNECTION),
            (EOFError("no"), Category.CONNECTION),
            (anyio.BrokenResourceError("no"), Category.CONNECTION),
            (anyio.EndOfStream("no"), Category.CONNECTION),
            (httpx.ConnectError("no"), Category.CONNECTION),
            (httpx.ReadTimeout("no"), Category.TIMEOUT),
            (httpx.UnsupportedProtocol("no"), Category.INVALID_REQUEST),
            (RuntimeError("no"), Category.UNKNOWN),
            (Exception("no"), Category.UNKNOWN),
            (foreign("trio", "TooSlowError"), Category.TIMEOUT),
            (foreign("openai._x", "APIConnectionError", "APITimeoutError"), Category.TIMEOUT),
            (foreign("anthropic", "APIConnectionError"), Category.CONNECTION),
            (foreign("msgspec", "DecodeError", "ValidationError"), Category.BAD_OUTPUT),
            (foreign("pydantic_ai.exceptions", "UnexpectedModelBehavior"), Category.BAD_OUTPUT),
            (foreign("openai", "ContentFilterFinishReasonError"), Category.FILTERED),
            (foreign("mine", "APITimeoutError"), Category.UNKNOWN),
            (foreign("requests", "Timeout", base=OSError), Category.TIMEOUT),
        ],
    )
    def test_decide_where_no_provider_spoke(self, exception: Exception, expected: Category) -> None:
        """The nearest known class counts, and no library is imported for it."""
        info = look(exception)

        assert info.error_category == expected
        assert info.is_timeout == (expected == Category.TIMEOUT)
        assert info.suggested_wait is None

    def test_unknown_errors_are_tried_again(self) -> None:
        """An unknown error may pass the next time."""
        assert look(Exception("?")).is_retryable

    @pytest.mark.parametrize("module", ["asyncio.exceptions", "trio"])
    def test_a_foreign_cancellation_fails_its_item(self, module: str) -> None:
        """It is neither news of the provider nor a reason to try again."""
        name = "Cancelled" if module == "trio" else "CancelledError"
        info = look(foreign(module, name, base=BaseException))

        assert (info.error_category, info.is_retryable) == (Category.CANCELLED, False)
        assert not look(BaseException("?")).is_retryable

    def test_validation_errors_that_are_groups_are_not_taken_apart(self) -> None:
        """cattrs groups the fields that are wrong; together they are one bad output."""
        cls: Any = type("BaseValidationError", (ExceptionGroup,), {"__module__": "cattrs.errors"})

        assert category(cls("bad", [TypeError("field a")])) == Category.BAD_OUTPUT


class TestGroupsAndCauses:
    def test_a_group_of_one_is_its_member(self) -> None:
        """Nested as often as it likes."""
        group = ExceptionGroup("a", [ExceptionGroup("b", [ProviderError("?", status=429)])])

        assert look(group).is_rate_limit

    def test_the_least_retryable_of_a_group_decides(self) -> None:
        """An error that cannot pass comes before a rate limit, a rate limit before the rest."""
        final = ProviderError("no", status=401)
        short = ProviderError("?", status=429, hint=ServerHint(wait=1.0))
        long = ProviderError("?", status=429, hint=ServerHint(wait=9.0))
        bad = ValueError("no")

        assert category(ExceptionGroup("g", [bad, short, final])) == Category.AUTHENTICATION
        assert look(ExceptionGroup("g", [bad, short, long])).suggested_wait == 9.0
        assert category(ExceptionGroup("g", [RuntimeError("?"), bad])) == Category.BAD_OUTPUT
        assert category(ExceptionGroup("g", [RuntimeError("?")])) == Category.UNKNOWN

    def test_cancelled_members_of_a_group_do_not_count(self) -> None:
        """They were cancelled because of the others."""
        cancelled = foreign("asyncio", "CancelledError", base=BaseException)
        group = BaseExceptionGroup("g", [cancelled, ValueError("no")])

        assert category(group) == Category.BAD_OUTPUT
        assert category(BaseExceptionGroup("g", [cancelled])) == Category.CANCELLED

    def test_an_error_that_says_nothing_means_what_caused_it(self) -> None:
        """Through any number of wrappers."""
        inner = RuntimeError("inner")
        inner.__cause__ = SDKError(status_code=401)
        outer = RuntimeError("outer")
        outer.__cause__ = inner

        assert category(outer) == Category.AUTHENTICATION

    def test_an_error_that_says_something_is_not_overruled(self) -> None:
        """A ValueError from a parser stays bad output whatever came before."""
        error = ValueError("no")
        error.__cause__ = SDKError(status_code=401)

        assert category(error) == Category.BAD_OUTPUT

    def test_an_implicit_cause_counts_as_news_of_the_provider_only(self) -> None:
        """A slip that happened to be handled is not why the attempt failed."""
        news, slip, hidden = RuntimeError("a"), RuntimeError("b"), RuntimeError("c")
        news.__context__ = SDKError(status_code=429)
        slip.__context__ = TypeError("no")
        hidden.__context__ = SDKError(status_code=429)
        hidden.__suppress_context__ = True

        assert look(news).is_rate_limit
        assert category(slip) == Category.UNKNOWN
        assert category(hidden) == Category.UNKNOWN

    def test_a_circle_of_causes_ends(self) -> None:
        """Chains may be circular; each exception is looked at once."""
        one, two = RuntimeError("one"), RuntimeError("two")
        one.__cause__, two.__cause__ = two, one

        assert category(one) == Category.UNKNOWN

    def test_deep_and_wide_ones_end_soon(self) -> None:
        """A chain of hundreds, a group of thousands: a bounded look."""
        chain: Exception = SDKError(status_code=401)
        for _ in range(200):
            outer = RuntimeError("next")
            outer.__cause__ = chain
            chain = outer

        assert category(chain) == Category.UNKNOWN
        many, larger = (
            ExceptionGroup("g", [ExceptionGroup("h", [KeyError(n)]) for n in range(count)])
            for count in (5_000, 10_000)
        )
        assert category(many) == Category.BAD_OUTPUT
        assert calls_of(category, many) == calls_of(category, larger)


def calls_of(function: Callable[[Any], Any], argument: Any) -> int:
    """Count the Python functions that run in one call: its work, on any machine."""
    count = 0

    def see(frame: Any, event: str, value: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        function(argument)
    finally:
        sys.setprofile(before)
    return count


class Hostile(Exception):
    """Everything about it raises."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class Opaque(Exception):
    """Not even its class can be asked for."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


class Broken:
    """Neither mapping nor sequence, whatever it is taken for."""

    def items(self) -> Any:
        raise ZeroDivisionError


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from([429, 500, 200, "insufficient_quota", Broken(), len, Hostile(), object()]),
    st.dictionaries(st.text(max_size=5) | st.just("error"), st.integers() | st.text(), max_size=3),
    st.lists(st.integers() | st.dictionaries(st.just("error"), st.text()), max_size=3),
)
NAMES = ["status_code", "status", "code", "http_status", "body", "details", "error", "type"]
NAMES += ["message", "hint", "headers", "retry_after"]


class TestStrangers:
    def test_a_hostile_exception_is_unknown(self) -> None:
        """Attributes, text and class that raise count as absent."""
        assert category(Hostile()) == Category.UNKNOWN
        assert category(Opaque()) == Category.UNKNOWN
        assert look(SDKError(status_code=429, headers=Broken())).is_rate_limit
        homeless: Any = type("TimeoutError", (KeyError,), {"__module__": 7})
        assert category(homeless()) == Category.BAD_OUTPUT

    @given(
        st.dictionaries(st.sampled_from(NAMES), ODD),
        st.none() | st.dictionaries(st.sampled_from(["status", "headers", "content", "text"]), ODD),
    )
    def test_any_exception_has_an_answer_and_keeps_it(
        self, attributes: dict[str, Any], response: dict[str, Any] | None
    ) -> None:
        """Any attributes are read without an error, and asking again changes nothing."""
        error = SDKError(**attributes)
        if response is not None:
            error.response = Response(**response)  # type: ignore[attr-defined]

        info = look(error)

        assert info == look(error)
        assert info.suggested_wait is None or info.suggested_wait > 0

    @pytest.mark.parametrize(
        ("start", "pattern"),
        [("", "("), ("", "["), ('{"error": "', "try again in 1"), (b"", b"\xff")],
    )
    def test_a_huge_body_takes_no_time(self, start: Any, pattern: Any) -> None:
        """Ten megabytes of anything are looked at only so far: no copy of them is made."""
        body = start + pattern * (10**7 // len(pattern))
        given = SDKError("wait 1" * 10**6, status_code=429, body=body)
        replied = SDKError(response=Response(status_code=429, text=body, content=body))
        tracemalloc.start()
        try:
            look(given)
            look(replied)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 10**6


class Fixed(ErrorClassifier):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def classify(self, exception: Exception) -> ErrorInfo | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


class TestClassify:
    info = ErrorInfo(True, False, False, "mine")

    def test_a_custom_classifier_is_asked_first(self) -> None:
        """Its answer stands."""
        assert classify(ValueError("no"), Fixed(self.info), DEFAULT) == self.info

    def test_none_asks_the_next(self) -> None:
        """No opinion, or no classifier, leaves it to the default, and in the end to ours."""
        assert classify(ValueError("no"), Fixed(None), Fixed(self.info)) == self.info
        assert classify(ValueError("no"), None, Fixed(None)).error_category == Category.BAD_OUTPUT

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (KeyError("oops"), "raised KeyError: 'oops'"),
            (True, "returned bool"),
            *[
                (
                    ErrorInfo(True, False, False, "mine", wait),
                    f"returned an ErrorInfo with suggested_wait={wait!r}; give seconds or None",
                )
                for wait in ("20", float("nan"), -1, float("inf"), True)
            ],
            (
                ErrorInfo(None, False, False, "mine"),
                "returned an ErrorInfo with is_retryable=None; give True or False",
            ),
            (
                ErrorInfo(True, False, False, None),
                "returned an ErrorInfo with error_category=None; give a Category or a word",
            ),
            (
                ErrorInfo(True, False, False, "mine", hint=3),
                "returned an ErrorInfo with hint=3; give a ServerHint or None",
            ),
            (
                ErrorInfo(True, False, False, "mine", hint=ServerHint(wait=-1)),
                "returned an ErrorInfo whose hint has wait=-1; give seconds or None",
            ),
        ],
    )
    def test_a_broken_one_is_an_error_of_the_program(self, answer: Any, told: str) -> None:
        """The item fails with a note that names the classifier, instead of being guessed at."""
        error = ProviderError("?", status=500)

        info = classify(error, Fixed(answer), DEFAULT)

        assert (info.error_category, info.is_retryable) == (Category.PROGRAM_ERROR, False)
        assert error.__notes__ == [
            f"Fixed.classify() {told}; make it return an ErrorInfo, or None for no opinion"
        ]

    def test_only_exceptions_are_shown_to_it(self) -> None:
        """A foreign cancellation is for ours to judge."""
        cancelled = foreign("trio", "Cancelled", base=BaseException)

        assert classify(cancelled, Fixed(self.info), DEFAULT).error_category == Category.CANCELLED
