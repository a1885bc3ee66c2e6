"""Replies of real servers and gateways that are not in any provider's documentation."""

from email.utils import formatdate
from math import isfinite

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchllm.core import LimitHint
from batchllm.policy import LONGEST, is_own_address, read_error, read_headers

NOW = 1_755_780_000.0  # 2025-08-21 12:40:00 UTC


def wait_of(headers: dict[str, str], body: object = None, status: int = 429) -> float | None:
    return read_error(status, headers, body, now_wall=NOW).wait


class TestWaits:
    @pytest.mark.parametrize(
        ("text", "wait"),
        [
            ("7, 7", 7.0),
            ("2,9", 9.0),
            ("soon, 3", 3.0),
            ("Thu, 21 Aug 2025 12:40:07 GMT, Thu, 21 Aug 2025 12:40:07 GMT", 7.0),
            ("Thu, 21 Aug 2025 12:40:07 GMT, 9", 9.0),
            ("7," * 100 + "9", 7.0),
        ],
    )
    def test_the_longest_of_a_header_that_came_twice_counts(self, text: str, wait: float) -> None:
        """Two layers of a gateway may each add one; both have to be satisfied."""
        assert wait_of({"retry-after": text}) == wait

    @pytest.mark.parametrize(
        ("text", "wait"),
        [
            (f"{NOW + 3:.0f}", 3.0),
            (f"{(NOW + 3) * 1000:.0f}", 3.0),
            (f"{NOW + 3.5:.1f}", 3.5),
            (f"{NOW - 3:.0f}", None),
            ("999999999", LONGEST),
            ("99999999999", LONGEST),
        ],
    )
    def test_a_moment_instead_of_seconds_is_read_as_a_moment(
        self, text: str, wait: float | None
    ) -> None:
        """Nobody asks for thirty years; a number near the clock is what the clock will show."""
        assert wait_of({"retry-after": text}) == wait

    def test_the_local_clock_stands_in_for_a_missing_or_unreadable_date(self) -> None:
        """The date of the reply counts as soon as it can be read."""
        until = {"retry-after": formatdate(NOW + 7, usegmt=True)}
        assert wait_of(until) == 7.0
        assert wait_of({**until, "date": "yesterday"}) == 7.0
        assert wait_of({**until, "date": formatdate(NOW + 5, usegmt=True)}) == 2.0

    @pytest.mark.parametrize("status", [429, 503, 529])
    @pytest.mark.parametrize(
        ("headers", "wait"),
        [
            ({"retry-after-ms": "644", "retry-after": "1"}, 0.644),
            ({"x-ms-retry-after-ms": "1500", "retry-after": "2"}, 1.5),
            ({"retry-after": "9", "x-amz-retry-after": "2500"}, 9.0),
            ({"llm_provider-retry-after": "60"}, 60.0),
            ({"llm_provider-retry-after": "60", "retry-after": "2"}, 2.0),
            ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 4:.0f}"}, 4.0),
        ],
    )
    def test_the_most_exact_field_of_one_reply_counts(
        self, status: int, headers: dict[str, str], wait: float
    ) -> None:
        """On every status that means too much, and the server before the one behind it."""
        assert wait_of(headers, status=status) == wait

    def test_words_name_the_moment_of_a_reset(self) -> None:
        """LiteLLM writes it without a zone."""
        words = "Limit type: requests. Current limit: 30, Remaining: 0. Limit resets at: "
        assert wait_of({}, words + "2025-08-21 12:40:42 UTC") == 42.0
        assert wait_of({}, words + "2025-08-21 12:39:00 UTC") is None

    def test_a_header_in_whole_seconds_gives_way_to_the_exact_words_beside_it(self) -> None:
        """One that says something else does not."""
        body = {"error": {"details": [{"@type": "x.RetryInfo", "retryDelay": "4.34s"}]}}
        assert wait_of({"retry-after": "5"}, body) == 4.34
        assert wait_of({"retry-after": "9"}, body) == 9.0

    @pytest.mark.parametrize("body", [b"\x1f\x8b\x00junk", b"\xff\xfe", "\ud800", [[]], "{" * 999])
    def test_a_body_that_cannot_be_read_leaves_the_headers(self, body: object) -> None:
        """The header counts, however the body is packed or cut."""
        assert wait_of({"retry-after": "2"}, body) == 2.0


class TestParallelCaps:
    @pytest.mark.parametrize(
        ("words", "amount"),
        [
            (
                "Rate limit exceeded for api_key: 88. Limit type: max_parallel_requests. "
                "Current limit: 4, Remaining: 0. Limit resets at: 2025-08-21 12:41:00 UTC",
                4,
            ),
            ("request reached max organization concurrency: 3, try again after 1 seconds", 3),
            ("You exceeded the limit of 5 concurrent requests", 5),
            ("Too many concurrent requests", None),
            ("Number of concurrent connections has exceeded your rate limit.", None),
        ],
    )
    def test_words_that_name_a_cap_are_no_wait(self, words: str, amount: int | None) -> None:
        """A place comes back when a call ends, whatever number of seconds stands beside it."""
        hint = read_error(429, {"retry-after": "60"}, {"error": {"message": words}}, now_wall=NOW)
        assert hint.wait is None
        assert hint.names_parallel_cap
        assert hint.limits == (LimitHint(dimension="concurrency", amount=amount, remaining=0),)

    @pytest.mark.parametrize(
        "name", ["concurrent-requests", "concurrency", "max_parallel_requests", "parallel-requests"]
    )
    def test_headers_name_a_cap(self, name: str) -> None:
        """On any reply; only a refusal with no place left is for the cap."""
        headers = {f"x-ratelimit-limit-{name}": "8", f"x-ratelimit-remaining-{name}": "3"}
        hint = read_error(429, {"retry-after": "60", **headers})
        assert hint.limits == (LimitHint(dimension="concurrency", amount=8, remaining=3),)
        assert (hint.wait, hint.names_parallel_cap) == (60.0, False)
        hint = read_error(
            429, {"retry-after": "60", **headers, f"x-ratelimit-remaining-{name}": "0"}
        )
        assert (hint.wait, hint.names_parallel_cap) == (None, True)

    def test_another_type_in_the_same_words_is_another_limit(self) -> None:
        """The key's alias may be called anything."""
        words = "exceeded for concurrency team. Limit type: tokens. Current limit: 9, Remaining: 0"
        hint = read_error(429, {}, words)
        assert hint.limits == (LimitHint(dimension="tokens", amount=9, remaining=0),)
        assert not hint.names_parallel_cap


class TestLimits:
    def test_reads_the_limits_of_a_key_of_a_gateway(self) -> None:
        """LiteLLM puts the owner into the name, and says nothing about periods."""
        hint = read_headers(
            {
                "x-ratelimit-api_key-remaining-requests": "29",
                "x-ratelimit-api_key-limit-requests": "30",
                "llm_provider-x-ratelimit-limit-requests": "9",
            }
        )
        assert hint is not None
        (limit,) = hint.limits
        assert (limit.name, limit.amount, limit.remaining) == ("api_key requests", 30, 29)
        assert limit.assumed

    def test_a_period_counts_as_stated_only_if_the_name_gives_it(self) -> None:
        """The minute is the habit of providers, not of gateways."""
        usual = read_headers({"x-ratelimit-limit-requests": "9"})
        named = read_headers({"x-ratelimit-limit-requests-day": "9"})
        assert usual is not None
        assert named is not None
        assert [(one.per, not one.assumed) for one in (*usual.limits, *named.limits)] == [
            (60.0, False),
            (86_400.0, True),
        ]

    def test_headers_overrule_the_words_of_the_same_reply(self) -> None:
        """A template that writes TPM under every refusal is not believed."""
        words = "on tokens per min (TPM): Limit 100, Used 100, Requested 1."
        headers = {"x-ratelimit-limit-tokens": "20000", "x-ratelimit-remaining-tokens": "5"}
        error = {"error": {"message": words, "type": "tokens"}}
        assert [one.amount for one in read_error(429, headers, error).limits] == [20_000]
        assert [one.amount for one in read_error(429, {}, error).limits] == [100]

    def test_words_that_contradict_their_type_say_nothing(self) -> None:
        """One of the two is wrong, and it cannot be known which."""
        words = "on tokens per min (TPM): Limit 100, Used 100, Requested 1."
        error = {"error": {"message": words, "type": "requests"}}
        assert read_error(429, {}, error).limits == ()

    def test_reads_the_limit_of_a_model_behind_a_gateway(self) -> None:
        """The letters name unit and period."""
        words = "Model rate limit exceeded. RPM limit=60, current usage=61"
        limit = LimitHint(dimension="requests", amount=60, per=60.0, remaining=0)
        assert read_error(429, {}, {"error": {"message": words}}).limits == (limit,)

    def test_what_is_no_multiple_of_a_thousand_was_not_rounded(self) -> None:
        """A server that only borrows Anthropic's names keeps its last thousand."""
        name = "anthropic-ratelimit-input-tokens-"
        for written, left in (("1982", 1982), ("3000", 2000)):
            hint = read_headers({f"{name}limit": "4000", f"{name}remaining": written})
            assert hint is not None
            assert hint.limits[0].remaining == left

    def test_the_least_of_a_doubled_number_counts(self) -> None:
        """And a window written behind it, as a draft of a standard has it, is passed over."""
        hint = read_headers({"ratelimit-limit": "100, 90;w=60", "ratelimit-remaining": "7, 7"})
        assert hint is not None
        assert [(one.amount, one.remaining) for one in hint.limits] == [(90, 7)]


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://europe-west1-aiplatform.googleapis.com/v1", True),
        ("https://mine.openai.azure.com", True),
        ("http://localhost:4000/v1", False),
        ("https://api.openai.com.evil.test/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_knows_the_addresses_of_providers(address: str, own: bool) -> None:
    """Only there a limit without a period is a minute's."""
    assert is_own_address(address) is own


PARTS = ["limit", "remaining", "reset"]
OWNERS = ["", "api_key-", "project-"]
UNITS = ["", "-requests", "-tokens", "-requests-day", "-req-minute", "-concurrency", "-else"]
NAMES = st.one_of(
    st.sampled_from(["Retry-After", "retry-after-ms", "llm_provider-retry-after", "Date"]),
    st.builds(
        "x-ratelimit-{}{}{}".format, st.sampled_from(OWNERS), st.sampled_from(PARTS),
        st.sampled_from(UNITS),
    ),
    st.text(max_size=20),
)  # fmt: skip
MOMENTS = st.floats(NOW - 1e9, NOW + 1e9, allow_nan=False).map(lambda t: formatdate(t, usegmt=True))
VALUE = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]+)?(ms|s|m|h)?", fullmatch=True),
    MOMENTS,
)
DOUBLED = st.lists(VALUE, min_size=1, max_size=3).map(", ".join)
WORDS = st.lists(
    st.sampled_from(
        ["Limit", " type: ", "max_parallel_requests", ". Current limit: ", "4", ", Remaining: ",
         "0", "concurrent requests", " (TPM): ", "Limit 9", " retry in ", "5s", "resets at "]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)  # fmt: skip


@given(
    headers=st.dictionaries(NAMES, DOUBLED, max_size=6),
    body=WORDS | st.binary(max_size=40),
    now=st.none() | st.floats(0, 1e10),
    status=st.sampled_from([None, 200, 401, 429, 503, 529]),
)
@example({"retry-after": "9" * 64}, "", 1e10, 429)
def test_no_reply_raises_and_every_number_makes_sense(
    headers: dict[str, str], body: str | bytes, now: float | None, status: int | None
) -> None:
    """Waits are above 0, finite and capped; no more is left than the limit has."""
    hint = read_error(status, headers, body, now_wall=now)
    assert hint.wait is None or 0 < hint.wait <= LONGEST
    for limit in hint.limits:
        assert limit.amount is None or limit.amount > 0
        assert limit.remaining is None or 0 <= limit.remaining <= (limit.amount or 10**15)
        assert limit.reset is None or (0 < limit.reset <= LONGEST and isfinite(limit.reset))
        assert limit.resolution > 0


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_a_doubled_wait_is_never_shorter_than_any_of_its_values(waits: list[int]) -> None:
    """The longest of the waits is kept."""
    assert wait_of({"retry-after": ", ".join(map(str, waits))}) == max(waits)
