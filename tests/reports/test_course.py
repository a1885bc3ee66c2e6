"""The course of several runs along one axis."""

from hypothesis import given
from hypothesis import strategies as st

from batchllm.reports.course import Axis, Course, Moment, Stretch

AXIS = Axis([Stretch(1, 1000.0, 1010.0), Stretch(2, 5000.0, 5005.0)])


def test_the_time_between_runs_is_left_out() -> None:
    """The second run begins where the first one ended."""
    assert (AXIS.length, AXIS.joints) == (15.0, [10.0])
    assert [AXIS.at(1, 1004.0), AXIS.at(2, 5001.0), AXIS.at(3, 1.0)] == [4.0, 11.0, None]


@given(st.integers(1, 2), st.floats(0, 1e10))
def test_every_moment_lies_within_its_run(run: int, moment: float) -> None:
    """Also one that a clock that was set has put elsewhere."""
    at = AXIS.at(run, moment)
    assert at is not None
    assert [0.0, 10.0][run - 1] <= at <= [10.0, 15.0][run - 1]


def sample(at: float, cooldown: float = 0.0, **more: object) -> Moment:
    return Moment(at, {"held": {"cooldown": cooldown}, **more})


def test_a_cooldown_is_a_pause_where_it_was() -> None:
    """Calls that wait on count it up; the sums of each run begin anew."""
    first = [sample(1.0), sample(2.0, 0.5), sample(3.0, 1.5), sample(4.0, 1.5)]
    course = Course.of([first, [sample(8.0, 0.25)]], 10.0)
    assert course.pauses == [(1.5, 3.0), (8.0, 8.0)]
    assert course.held == {"cooldown": 1.75}


def test_a_pause_of_two_scopes_is_no_longer_than_the_time_that_passed() -> None:
    """Their seconds add up."""
    course = Course.of([[sample(1.0), sample(2.0, 2.0)]], 10.0)
    assert course.pauses == [(1.0, 2.0)]


def test_a_limit_that_is_known_later_has_no_points_before() -> None:
    """And none once it is gone; with several scopes each limit names its own."""

    def scope(**used: float) -> dict[str, object]:
        limits = {name.replace("_", " "): share for name, share in used.items()}
        return {"used": limits}

    known, gone = {"s": scope(a_limit=0.5)}, {"s": scope()}
    samples = [sample(1.0), sample(2.0, scopes=known), sample(3.0, scopes=gone)]
    course = Course.of([samples], 4.0)
    assert course.used == {"a limit": [None, 0.5, None]}
    course = Course.of([[sample(1.0, scopes={**known, "t": scope(other=1.0)})]], 4.0)
    assert set(course.used) == {"a limit (s)", "other (t)"}


def test_a_long_run_is_thinned_to_its_peaks() -> None:
    """However many samples there are, so many points as can be seen; a peak stays."""
    samples = [sample(n / 10, in_flight=50 if n == 777 else 3) for n in range(10_000)]
    course = Course.of([samples], 1000.0)
    assert len(course.at) <= 401
    assert max(course.curves["in_flight"]) == 50
