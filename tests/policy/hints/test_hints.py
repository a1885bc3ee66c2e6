"""The waits and limits in headers and error bodies."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import LimitHint, ServerHint
from batchllm.policy import LONGEST, read_error, read_headers

NOW = 1_755_780_000.0  # 2025-08-21 12:40:00 UTC
DATE = {"Date": "Thu, 21 Aug 2025 12:40:00 GMT"}


def wait_of(headers: dict[str, str], body: object = None) -> float | None:
    return read_error(429, headers, body).wait


class TestWaits:
    @pytest.mark.parametrize(
        ("headers", "wait"),
        [
            ({"retry-after": "30"}, 30.0),
            ({"Retry-After": "1.5"}, 1.5),
            ({"retry-after-ms": "644"}, 0.644),
            ({"retry-after-ms": "644", "retry-after": "1"}, 0.644),
            ({"x-amz-retry-after": "2500"}, 2.5),
            ({"retry-after": "86400"}, 86_400.0),
            ({"retry-after": "99999999999"}, LONGEST),
            ({"retry-after-ms": "-1", "retry-after": "3"}, 3.0),
        ],
    )
    def test_reads_the_headers_that_ask_for_a_wait(
        self, headers: dict[str, str], wait: float
    ) -> None:
        """Seconds and milliseconds, in any case, the finer header first."""
        assert wait_of(headers) == wait

    @pytest.mark.parametrize(
        "text", ["-5", "0", "abc", "NaN", "inf", "1e309", "soon", "7" * 10_240, "", "−5"]
    )
    def test_garbage_is_no_hint(self, text: str) -> None:
        """A header that cannot be meant is as good as absent."""
        assert read_headers({"retry-after": text, "retry-after-ms": text}) is None
        assert read_error(429, {"retry-after": text}) == ServerHint()

    def test_a_date_counts_from_the_servers_date(self) -> None:
        """Our clock may be ten minutes wrong: the reply carries the server's."""
        headers = {**DATE, "retry-after": "Thu, 21 Aug 2025 12:40:07 GMT"}

        assert read_error(429, headers, now_wall=NOW + 600).wait == 7.0

    def test_a_date_counts_from_our_clock_where_there_is_no_other(self) -> None:
        """Without a Date header the caller's clock decides; without either there is no hint."""
        headers = {"retry-after": "Thu, 21 Aug 2025 12:40:07 GMT"}

        assert read_error(429, headers, now_wall=NOW).wait == 7.0
        assert read_error(429, headers).wait is None

    def test_a_date_of_the_far_future_is_cut(self) -> None:
        """No wait is longer than the cap."""
        assert wait_of({**DATE, "retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) == LONGEST

    def test_a_date_of_the_past_is_no_hint(self) -> None:
        """There is nothing to wait for."""
        assert wait_of({**DATE, "retry-after": "Thu, 21 Aug 2025 12:39:00 GMT"}) is None

    @pytest.mark.parametrize(
        ("message", "wait"),
        [
            ("Please try again in 644ms.", 0.644),
            ("Please try again in 1m47.5854s", 107.5854),
            ("Please retry in 36.429760048s.", 36.429760048),
            ("Please retry after 7 seconds.", 7.0),
            ("Please retry after 450 milliseconds.", 0.45),
            ("Please wait 47503 seconds before retrying.", 47_503.0),
            ("Try again in 1 minute 30 seconds", 90.0),
            ("try again in 20.", 20.0),
            ("retry after 5", 5.0),
            ("try again in 0s", None),
            ("try again in a moment", None),
            ("retry after 2 attempts", None),
            ("wait 2 users", None),
            ("We retry 3 times.", None),
        ],
    )
    def test_reads_messages(self, message: str, wait: float | None) -> None:
        """The texts that providers write hold a wait, others do not."""
        assert wait_of({}, message) == (None if wait is None else pytest.approx(wait))

    def test_headers_come_before_messages(self) -> None:
        """The header is the finer source."""
        assert wait_of({"retry-after": "3"}, "try again in 20s") == 3.0

    def test_the_reset_of_a_used_up_limit_is_the_last_resort(self) -> None:
        """Only a limit of which nothing remains holds calls back, and only after a refusal."""
        headers = {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-remaining-tokens": "50",
            "x-ratelimit-reset-tokens": "9m0s",
        }

        assert wait_of(headers) == 360.0
        assert wait_of(headers, "try again in 2s") == 2.0
        assert read_error(400, headers).wait is None
        told = read_headers(headers)
        assert told is not None
        assert told.wait is None


class TestLimits:
    def limits(self, **headers: str) -> tuple[LimitHint, ...]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        hint = read_headers({**DATE, **named})
        return () if hint is None else hint.limits

    def test_reads_openai(self) -> None:
        """Requests and tokens per minute with Go durations."""
        assert self.limits(
            x_ratelimit_limit_requests="5000",
            x_ratelimit_limit_tokens="160000",
            x_ratelimit_remaining_requests="4999",
            x_ratelimit_remaining_tokens="159976",
            x_ratelimit_reset_requests="12ms",
            x_ratelimit_reset_tokens="9ms",
        ) == (
            LimitHint(dimension="requests", amount=5000, per=60.0, remaining=4999, reset=0.012),
            LimitHint(
                dimension="tokens",
                amount=160_000,
                per=60.0,
                remaining=159_976,
                reset=pytest.approx(0.009),  # type: ignore[arg-type]
            ),
        )

    def test_reads_the_limits_of_a_project_beside_them(self) -> None:
        """A project has limits of its own."""
        (limit,) = self.limits(x_ratelimit_limit_project_tokens="7")

        assert limit == LimitHint(dimension="tokens", amount=7, per=60.0)

    @pytest.mark.parametrize(
        ("amount", "remaining", "reset", "per"),
        [
            ("14400", "14370", "2m59.56s", 86_400.0),  # Groq, some way into a day
            ("200", "199", "7m12s", 86_400.0),  # OpenAI, a small account
            ("1000", "0", "23h59m0s", 86_400.0),
            ("1000", "900", "2h0m0s", 86_400.0),  # a window that ends in two hours
            ("1440", "1439", "60", 60.0),  # whole seconds of a window of a minute
            ("14400", "14399", "6s", None),  # Groq's first call: fits a day and a minute
            ("600", "599", "60", 60.0),  # Azure's whole seconds of a window
            ("100", "90", "5m0s", None),
            ("100", "100", "0s", 60.0),
        ],
    )
    def test_tells_a_day_from_a_minute(
        self, amount: str, remaining: str, reset: str, per: float | None
    ) -> None:
        """A header of one name is a daily limit at some providers; its refill gives it away."""
        (limit,) = self.limits(
            x_ratelimit_limit_requests=amount,
            x_ratelimit_remaining_requests=remaining,
            x_ratelimit_reset_requests=reset,
        )

        assert limit.per == per

    def test_reads_azure(self) -> None:
        """Whole seconds are seconds."""
        (limit,) = self.limits(x_ratelimit_remaining_tokens="1000", x_ratelimit_reset_tokens="52")

        assert limit == LimitHint(dimension="tokens", remaining=1000, reset=52.0)

    @pytest.mark.parametrize(
        ("remaining", "left"),
        [("-430", 0), ("-1", None), ("--4", None), ("-", None), ("-x", None), ("0", 0), ("7", 7)],
    )
    def test_what_is_overdrawn_is_nothing_that_is_left(
        self, remaining: str, left: int | None
    ) -> None:
        """LiteLLM counts tokens when it has answered, and goes below nothing."""
        headers = {
            "x-ratelimit-limit-tokens": "2000",
            "x-ratelimit-remaining-tokens": remaining,
        }
        hint = read_headers(headers)
        assert hint is not None
        assert hint.limits[0].remaining == left
        assert read_headers({"x-ratelimit-remaining-tokens": "-430"}) is None

    def test_azures_minus_one_is_no_information(self) -> None:
        """A limit of -1 with a reset of 0 says nothing, and neither does a limit of 0."""
        for amount in ("-1", "0"):
            assert not self.limits(
                x_ratelimit_limit_tokens=amount,
                x_ratelimit_remaining_tokens=amount,
                x_ratelimit_reset_tokens="0",
            )

    def test_reads_mistral(self) -> None:
        """The period is part of the name."""
        assert self.limits(
            x_ratelimit_limit_req_minute="720",
            x_ratelimit_remaining_req_minute="719",
            x_ratelimit_limit_tokens_minute="5000000",
        ) == (
            LimitHint(dimension="requests", amount=720, per=60.0, remaining=719),
            LimitHint(dimension="tokens", amount=5_000_000, per=60.0),
        )

    def test_reads_openrouter(self) -> None:
        """The reset is a time in milliseconds since the epoch."""
        hint = read_headers(
            {
                "X-RateLimit-Limit": "20",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1756310470000",
            },
            now_wall=1_756_310_460.0,
        )

        assert hint is not None
        assert hint.limits == (LimitHint(dimension="requests", amount=20, remaining=0, reset=10.0),)

    def test_reads_a_reset_in_seconds_since_the_epoch(self) -> None:
        """Other gateways write the time in seconds."""
        (limit,) = self.limits(x_ratelimit_limit="20", x_ratelimit_reset=str(int(NOW) + 9))

        assert limit.reset == 9.0

    def test_reads_anthropic(self) -> None:
        """Resets are RFC 3339 times, and what remains of tokens was rounded to thousands."""
        assert self.limits(
            anthropic_ratelimit_requests_limit="50",
            anthropic_ratelimit_requests_remaining="49",
            anthropic_ratelimit_requests_reset="2025-08-21T12:40:59Z",
            anthropic_ratelimit_input_tokens_limit="40000",
            anthropic_ratelimit_input_tokens_remaining="40000",
            anthropic_ratelimit_output_tokens_remaining="0",
        ) == (
            LimitHint(dimension="requests", amount=50, per=60.0, remaining=49, reset=59.0),
            LimitHint(dimension="input_tokens", amount=40_000, per=60.0, remaining=39_000),
            LimitHint(dimension="output_tokens", remaining=0),
        )

    @pytest.mark.parametrize("reset", ["2025-08-21T12:40:59Z", str(int(NOW) + 59)])
    def test_a_moment_is_read_by_the_clock_of_its_own_reply(self, reset: str) -> None:
        """Less with each second, of the same texts; a duration says what it said before."""
        for later in (0, 1, 30):
            headers = {"x-ratelimit-limit": "20", "x-ratelimit-reset": reset}
            hint = read_headers(headers, now_wall=NOW + later)
            assert hint is not None
            assert hint.limits[0].reset == 59.0 - later

    def test_no_more_can_remain_than_the_limit(self) -> None:
        """An absurd header does not widen the room."""
        (limit,) = self.limits(
            x_ratelimit_limit_requests="10", x_ratelimit_remaining_requests="1000"
        )

        assert limit.remaining == 10

    @pytest.mark.parametrize(
        ("text", "retry"), [("true", True), ("False", False), ("perhaps", None)]
    )
    def test_reads_whether_to_try_again(self, text: str, retry: bool | None) -> None:
        """x-should-retry is true, false, or nothing."""
        hint = read_headers({"x-should-retry": text})

        assert (hint and hint.retry) == retry

    def test_says_nothing_where_the_headers_say_nothing(self) -> None:
        """The usual reply gives no hint."""
        assert read_headers({"content-type": "application/json", **DATE}) is None


def gemini(quota: str, delay: str = "36s", value: object = "20") -> dict[str, Any]:
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": quota, "quotaValue": value}],
        },
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    message = f"You exceeded your current quota. Please retry in {delay}."
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message, "details": details}
    return {"error": error}


class TestBodies:
    @pytest.mark.parametrize(
        ("quota", "dimension", "per"),
        [
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "requests", 60.0),
            ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "input_tokens", 60.0),
            ("GenerateContentOutputTokensPerMinute", "output_tokens", 60.0),
            ("GenerateTokensPerHour", "tokens", 3600.0),
            ("SomethingElse", "requests", None),
        ],
    )
    def test_reads_gemini(self, quota: str, dimension: Any, per: float | None) -> None:
        """RetryInfo gives the wait, QuotaFailure the limit and its dimension."""
        hint = read_error(429, {}, gemini(quota))

        limit = LimitHint(dimension=dimension, amount=20, per=per, remaining=0)
        assert hint == ServerHint(wait=36.0, limits=(limit,))

    def test_a_daily_quota_is_exhausted_however_short_its_delay(self) -> None:
        """The delay beside a violation per day would only meet the next refusal."""
        hint = read_error(429, {}, gemini("GenerateRequestsPerDayPerProjectPerModel", "5s"))

        assert hint.exhausted
        assert hint.wait is None
        assert hint.limits[0].per == 86_400.0

    def test_a_reset_beside_a_daily_quota_is_no_wait(self) -> None:
        """Nothing that a header says of the minute helps against the day."""
        headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}

        assert read_error(429, headers, gemini("GenerateRequestsPerDay")).wait is None

    def test_a_streamed_reply_is_a_list(self) -> None:
        """Gemini wraps an error into a list of one."""
        assert read_error(429, {}, [gemini("GenerateRequestsPerMinute")]).wait == 36.0

    @pytest.mark.parametrize("value", [None, 20, "", "-1", "many", "0", "9" * 30])
    def test_a_quota_value_that_cannot_be_is_left_out(self, value: object) -> None:
        """Only a string of digits is a limit."""
        hint = read_error(429, {}, gemini("GenerateRequestsPerMinute", value=value))

        assert hint.limits[0].amount is None

    @pytest.mark.parametrize("violations", [None, "many", [7], [{}], [{"quotaId": 7}]])
    def test_violations_of_the_wrong_shape_are_left_out(self, violations: object) -> None:
        """The wait beside them still counts, one that is no text does not."""
        failure = {"@type": "google.rpc.QuotaFailure", "violations": violations}
        delays = [{"@type": "google.rpc.RetryInfo", "retryDelay": delay} for delay in ("2s", 7)]

        hint = read_error(429, {}, {"error": {"details": [failure, *delays]}})

        assert hint == ServerHint(wait=2.0)

    @pytest.mark.parametrize(
        ("message", "limit"),
        [
            (
                "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): "
                "Limit 30000, Used 29937, Requested 385.",
                LimitHint(dimension="tokens", amount=30_000, per=60.0, remaining=63),
            ),
            (
                "on requests per day (RPD): Limit 200, Used 200, Requested 1.",
                LimitHint(dimension="requests", amount=200, per=86_400.0, remaining=0),
            ),
            (
                "Request too large for gpt-4o on input tokens per minute: Limit 10, Requested 20",
                LimitHint(dimension="input_tokens", amount=10, per=60.0),
            ),
            ("on (OTPM): Limit 5", LimitHint(dimension="output_tokens", amount=5, per=60.0)),
            ("on : Limit 500000, Used 500370, Requested 252.", None),
            ("on (TPM): Limit 0, Used 0", None),
        ],
    )
    def test_reads_counted_limits(self, message: str, limit: LimitHint | None) -> None:
        """A message that names the limit and its dimension is as good as a header."""
        limits = read_error(429, {}, {"error": {"message": message}}).limits

        assert limits == (() if limit is None else (limit,))

    def test_reads_azures_sentence(self) -> None:
        """The limit and its period stand in the message; a day's limit is exhausted."""
        minute = "Rate limit of 50000 per 60s exceeded for UserByModelByMinuteTokens."
        day = "Rate limit of 150 per 86400s exceeded for UserByModelByDay. Please wait 9 seconds."

        assert read_error(429, {}, minute) == ServerHint(
            limits=(LimitHint(dimension="tokens", amount=50_000, per=60.0, remaining=0),)
        )
        assert read_error(429, {}, day) == ServerHint(
            wait=9.0,
            limits=(LimitHint(dimension="requests", amount=150, per=86_400.0, remaining=0),),
            exhausted=True,
        )

    @pytest.mark.parametrize("place", ["code", "type"])
    def test_an_empty_account_is_exhausted(self, place: str) -> None:
        """The code or the type says that waiting does not help."""
        assert read_error(429, {}, {"error": {place: "insufficient_quota"}}).exhausted


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "status", "details", "@type", "violations"]
            )
            | st.text(max_size=5),
            inner | st.just("google.rpc.RetryInfo") | st.just("google.rpc.QuotaFailure"),
            max_size=6,
        )
    ),
    max_leaves=20,
)
NAMES = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "x-amz-retry-after",
        "x-should-retry",
        "date",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ]
)
VALUES = st.text(max_size=40) | st.from_regex(
    r"-?[0-9]{1,20}(\.[0-9]+)?(ms|s|m|h)?", fullmatch=True
)


@given(
    st.dictionaries(NAMES, VALUES), JSON | st.text() | st.binary(), st.none() | st.floats(0, 1e10)
)
def test_anything_may_come_and_the_hint_is_sane(
    headers: dict[str, str], body: object, now: float | None
) -> None:
    """No reply raises; waits are above 0, finite and capped, counts are not negative."""
    hint = read_error(429, headers, body, now_wall=now)

    assert hint.wait is None or 0 < hint.wait <= LONGEST
    for limit in hint.limits:
        assert limit.amount is None or limit.amount > 0
        assert limit.remaining is None or limit.remaining >= 0
        assert limit.reset is None or (0 < limit.reset <= LONGEST and math.isfinite(limit.reset))
