"""The pace of polls and creates, the sizes of chunks, and when a lost create is looked for."""

from __future__ import annotations

from random import Random

import pytest

from batchllm.provider_batch.admission import Admission
from batchllm.provider_batch.pacing import ChunkSizes, PullBack, WireLimits
from batchllm.provider_batch.polling import poll_delay
from batchllm.provider_batch.refinding import Found, Refinding, Strength

HOUR = 3600.0
LIMITS = WireLimits(lines=100_000, bytes=200_000_000)


class Chance(Random):
    """Draws the same share of each range: 0 for its begin, 1 for its end."""

    share = 0.5

    def uniform(self, a: float, b: float) -> float:
        return a + self.share * (b - a)


@pytest.mark.parametrize(
    ("age", "delay"),
    [
        (0.0, 10.0),
        (60.0, 30.0),  # what takes a minute is noticed within half of one
        (300.0, 60.0),
        (0.5 * HOUR, 60.0),  # most batches that are quick at all have ended by now
        (0.5 * HOUR + 100.0, 110.0),
        (HOUR, 300.0),
        (6 * HOUR, 300.0),
        (6 * HOUR + 200.0, 400.0),
        (24 * HOUR, 600.0),  # and what takes a day within ten minutes
    ],
)
def test_polls_grow_rare_with_the_age_of_a_batch(age: float, delay: float) -> None:
    assert poll_delay(age, Chance()) == delay


def test_polls_of_clients_that_started_together_part_by_a_fifth_each_way() -> None:
    delays = []
    for share in (0.0, 1.0):
        chance = Chance()
        chance.share = share
        delays.append(poll_delay(HOUR, chance))
    assert delays == pytest.approx([240.0, 360.0])


def test_near_the_end_a_poll_comes_within_half_a_minute_and_a_hint_binds_for_an_hour() -> None:
    """A header that is wrong must not end the polls."""
    assert poll_delay(24 * HOUR, Chance(), urgent=True) == 30.0
    assert poll_delay(0.0, Chance(), hint=3_500.0) == 3_500.0
    assert poll_delay(0.0, Chance(), hint=9_000.0) == HOUR


def test_nine_tenths_of_a_limit_on_tokens_are_used() -> None:
    """Our own counts are estimates, and the provider's are what it refuses by."""
    admission = Admission(LIMITS)
    admission.refused(5_000, 0, 0.0, limit=1_000.0, hint=None)
    assert admission.wait(400, 500, 1, 100.0) == 0.0
    assert admission.wait(401, 500, 1, 100.0) is None


def test_a_limit_is_believed_for_as_long_as_a_batch_has() -> None:
    """By then all that was counted against it has ended, and a limit that was raised is found."""
    admission = Admission(LIMITS)
    admission.refused(5_000, 0, 0.0, limit=1_000.0, hint=None)
    assert admission.wait(800, 500, 1, 23 * HOUR) is None
    assert admission.wait(800, 500, 1, 25 * HOUR) == 0.0


@pytest.mark.parametrize("factor", [30.0, 1 / 30])
def test_estimates_are_believed_to_be_wrong_by_ten_at_most(factor: float) -> None:
    """A token has ten bytes, or a tenth of a word, in no text at all."""
    admission = Admission(LIMITS)
    admission.refused(5_000, 0, 0.0, limit=900.0 * (10 if factor > 1 else 0.1), hint=None)
    admission.counted(100.0, round(100 * factor))
    assert admission.wait(400, 400, 1, 100.0) == 0.0
    assert admission.wait(420, 400, 1, 100.0) is None


def test_creates_that_are_refused_wait_a_minute_at_first_and_three_alone_split_the_chunk() -> None:
    """Two may have met what another program had in flight."""
    admission, now, waits = Admission(LIMITS), 0.0, []
    for split in (False, False, True):
        assert admission.refused(10, 0, now, limit=None, hint=None) == split
        wait = admission.wait(10, 0, 0, now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [60.0, 120.0, 240.0]


def test_a_create_waits_as_long_as_a_provider_asks_but_for_six_hours_at_most() -> None:
    """A provider that asks for more is not going to take a batch in this run."""
    for hint, wait in ((5 * HOUR, 5 * HOUR), (24 * HOUR, 6 * HOUR)):
        admission = Admission(LIMITS)
        admission.refused(10, 0, 0.0, limit=None, hint=hint)
        assert admission.wait(10, 0, 0, 0.0) == wait


def test_a_chunk_begins_in_the_middle_doubles_if_it_is_quick_and_halves_if_it_expires() -> None:
    """Results come at the end only; a chunk that is stuck holds all its items."""
    sizes = ChunkSizes(LIMITS)
    seen = [sizes.lines]
    for seconds in (3_700.0, 3_500.0, 3_500.0):
        sizes.ended(seconds, expired=False)
        seen.append(sizes.lines)
    assert seen == [5_000, 5_000, 10_000, 10_000]
    for _ in range(20):
        sizes.ended(24 * HOUR, expired=True)
    assert sizes.lines == 100


def test_a_file_has_thirty_two_megabytes_or_a_twentieth_less_than_the_provider_takes() -> None:
    """Our count and the provider's may differ by what is written round the lines."""
    assert ChunkSizes(LIMITS).bytes == 32_000_000
    small = ChunkSizes(WireLimits(lines=10, bytes=10_000_000))
    assert (small.bytes, small.most_bytes) == (9_500_000, 9_500_000)


def test_a_batch_is_cancelled_with_time_to_fetch_it_to_run_the_rest_and_a_minute_to_spare() -> None:
    """Copies need neither the cancellation nor what it left."""
    pull_back = PullBack(deadline=10_000.0, rate=2.0, cancel_seconds=600.0)
    assert pull_back.at(1_000) == 10_000.0 - 500 - 600 - 120 - 60
    assert pull_back.copy_at(1_000) == 10_000.0 - 500 - 60


# -- a create that may have been lost -----------------------------------------------------------


def test_a_lost_create_is_looked_for_ever_more_rarely_and_every_five_minutes_in_the_end() -> None:
    rules, looked, looks, seen = Refinding(Strength.EXACT, 5.0), None, 0, list[float]()
    for looks in range(9):
        looked = rules.next_look(looked or 0.0, looked, looks)
        seen.append(looked)
    assert seen == [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_200.0]


def test_a_new_process_looks_at_once_and_again_after_half_a_minute() -> None:
    """One look alone may have seen a list that lags."""
    rules = Refinding(Strength.EXACT, 5.0)
    assert rules.next_look(4_000.0, None, 0) == 4_000.0
    assert rules.next_look(4_000.0, 4_000.0, 1) == 4_030.0
    assert rules.next_look(4_030.0, 4_030.0, 2) == 4_330.0


def test_a_look_comes_a_second_after_the_time_from_which_one_proves_anything() -> None:
    """A provider reports its time in whole seconds, so that it may seem to be behind."""
    rules = Refinding(Strength.EXACT, 200.0)
    assert rules.next_look(120.0, 120.0, 5) == 201.0
    assert rules.next_look(4.5, 4.5, 5) == 15.0


@pytest.mark.parametrize(("hours", "found"), [(24.5, Found.LOOK_AGAIN), (25.5, Found.ABSENT)])
def test_what_was_never_listed_is_given_up_when_it_would_have_ended(
    hours: float, found: Found
) -> None:
    """A batch has a day, and an hour is for what runs late."""
    assert Refinding(Strength.STATISTICAL, 300.0).judge(hours * HOUR, 0, 9) is found
