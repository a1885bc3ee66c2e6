"""Names that a batch carries, by which it is found again: pure functions.

No text of an item is in them. What a provider is asked to remember is the run, the number of the
chunk and the attempt, and ids that are digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

__all__ = ["ChunkName", "account_of", "custom_id", "custom_id_prefix", "metadata_in"]

_ID_BYTES: Final = 16
"""128 bits: a billion lines collide with a probability of 10⁻²¹."""
_PREFIX: Final = "bllm"
_DISPLAY: Final = re.compile(rf"{_PREFIX}-([a-z0-9]+)-c(\d+)-t(\d+)-([0-9a-f]+)")


def custom_id(run: str, key: tuple[str, str], body: bytes, attempt: int) -> str:
    """Return the id of a line: 34 characters of the alphabet that every provider takes.

    Args:
        run: The run's eight characters.
        key: The item's key in the journal.
        body: The request.
        attempt: How often the item has been put into a batch, from 1, so that a line that is
            repeated is never taken for the one before.
    """
    digest = hashlib.blake2b(digest_size=_ID_BYTES)
    for part in (*(text.encode() for text in key), body, str(attempt).encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    text = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
    return f"{custom_id_prefix(run)}{text}"


def custom_id_prefix(run: str) -> str:
    """Return the beginning of the ids of all lines of a run."""
    return f"b1-{run}-"


@frozen
class ChunkName:
    """The names of one attempt to submit one chunk.

    Attributes:
        run: The run's eight characters.
        chunk: The chunk's number in the journal.
        attempt: From 1.
        sha: The first eight characters of the SHA-256 of its lines.
    """

    run: str
    chunk: int
    attempt: int
    sha: str

    @property
    def file(self) -> str:
        """Return the name under which its lines are uploaded; the same for each attempt."""
        return f"{_PREFIX}-{self.run}-c{self.chunk}-{self.sha}.jsonl"

    @property
    def metadata(self) -> dict[str, str]:
        """Return what the provider is asked to keep beside the batch."""
        return {
            "bllm_run": self.run,
            "bllm_chunk": str(self.chunk),
            "bllm_try": str(self.attempt),
            "bllm_sha": self.sha,
        }

    @property
    def display(self) -> str:
        """Return the same as one text, for a provider that keeps a name and no metadata."""
        return f"{_PREFIX}-{self.run}-c{self.chunk}-t{self.attempt}-{self.sha}"

    def is_in(self, metadata: Mapping[str, object]) -> bool:
        """Return whether *metadata*, of a batch, is of this chunk, whichever attempt it was."""
        mine = self.metadata
        return all(metadata.get(name) == mine[name] for name in mine if name != "bllm_try")


def metadata_in(display: str) -> dict[str, str]:
    """Return the metadata that stand in the display name of a batch; none in that of others."""
    found = _DISPLAY.fullmatch(display)
    if found is None:
        return {}
    run, chunk, attempt, sha = found.groups()
    return ChunkName(run, int(chunk), int(attempt), sha).metadata


def account_of(base_url: str, reported: tuple[str, ...], fingerprint: str) -> str:
    """Return twelve hexadecimal digits that distinguish accounts and reveal none.

    Args:
        base_url: The provider's address.
        reported: Organisation and project as the provider reports them; a key that is rotated
            stays with its account then.
        fingerprint: Of the key, for a provider that reports nothing.
    """
    parts = reported if any(reported) else ("key", fingerprint)
    return hashlib.sha256("\0".join((base_url, *parts)).encode()).hexdigest()[:12]
