"""The number of examples of a property, where a hundred are not the right one."""

from hypothesis import settings

_ASKED = settings().max_examples
"""By the profile: 100 in the suite, 20 for another Python, 2,000 for ``search``."""


def examples(count: int) -> int:
    """Return *count* in the suite, and as many more or fewer as the profile says."""
    return max(1, count * _ASKED // 100)
