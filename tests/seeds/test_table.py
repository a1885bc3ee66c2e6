"""The page of samples says what the tests do, and no sample is missing."""

import pytest

from tests.seeds.harness import CUSTOM, PATTERNS, README, REFERENCE, WEB_PATTERNS
from tests.seeds.table import PAGE, page, samples


def test_the_page_is_up_to_date() -> None:
    """Every sample's test has its row; `python -m tests.seeds.table` writes the page anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    ("document", "count"),
    [(CUSTOM, 6), (PATTERNS, 6), (WEB_PATTERNS, 6), (README, 62), (REFERENCE, 19)],
)
def test_every_sample_has_a_test(document: str, count: int) -> None:
    """The samples of a document are numbered without a gap."""
    numbers = {one.number for one, _ in samples() if document in one.documents}
    assert numbers == set(range(1, count + 1))
