"""Do a client's rows and the simulator's own log tell the same story?

    python -m benchmarks.reconcile answers.jsonl requests.jsonl
    python -m benchmarks.reconcile answers.jsonl http://127.0.0.1:8080/__sim/log

It shares no code with the library: it reads what ``batchllm run`` wrote and what the server of
``batchllm serve-sim`` saw, and counts anew. The exit code is 1 where they disagree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

Row = Mapping[str, Any]


_DROPPED = "disconnect"
"""The simulator's fault that ends a connection in place of a reply."""


class Check(NamedTuple):
    """One line of the table; *slack* is by how much the server may have counted more."""

    what: str
    client: int
    server: int
    slack: int = 0

    @property
    def holds(self) -> bool:
        """Return whether both sides agree."""
        return 0 <= self.server - self.client <= self.slack


def checks(rows: Sequence[Row], log: Sequence[Row], items: int | None = None) -> Iterator[Check]:
    """Compare the client's rows with the server's log.

    A call that was cancelled may have reached the server or not, and a request that the server
    dropped before the first byte of a reply may have been sent again on another connection,
    which a row does not count as a call. There is no other slack. Tokens of replies that were
    broken on purpose are billed, but no client can know of them; they are left out on both
    sides.
    """
    sent = [row for row in rows if row["error_category"] != "invalid_item"]
    ids = Counter(str(row["id"]) for row in sent)
    cancelled = sum(row["error_category"] == "cancelled" for row in rows)
    requests = [entry for entry in log if entry["outcome"] != "control"]
    answered = [entry for entry in requests if entry["outcome"] == "ok"]
    if items is not None:
        yield Check("rows", len(rows), items)
    yield Check("ids, each once", len(ids), len(sent))
    replayed = sum(entry["fault"] == _DROPPED for entry in requests)
    yield Check("calls", sum(row["calls"] for row in rows), len(requests), cancelled + replayed)
    yield Check("answers", sum(row["success"] for row in rows), len(answered), cancelled)
    for kind in ("input_tokens", "output_tokens"):
        billed = [entry[kind] for entry in answered]
        most_unseen = sum(sorted(billed)[-cancelled:]) if cancelled else 0
        yield Check(kind.replace("_", " "), _used(rows, kind), sum(billed), most_unseen)
    yield Check("prompts asked unequally often", _disagreements(sent, requests), 0, 0)


def _used(rows: Iterable[Row], kind: str) -> int:
    return sum((row["usage"] or {}).get(kind, 0) for row in rows)


def _disagreements(sent: Sequence[Row], requests: Sequence[Row]) -> int:
    """Prompts that the server saw another number of times than the client says it sent them.

    Only where the rows still have them as texts, and no call was cancelled, or dropped before the
    first byte.
    """
    if not all(isinstance(row.get("prompt"), str) for row in sent):
        return 0
    calls, seen = Counter[str](), Counter(entry["prompt_digest"] for entry in requests)
    unsure = {entry["prompt_digest"] for entry in requests if entry["fault"] == _DROPPED}
    for row in sent:
        digest = blake2b(row["prompt"].encode(), digest_size=8).hexdigest()
        calls[digest] += row["calls"]
        if row["error_category"] == "cancelled":
            unsure.add(digest)
    return sum(calls[digest] != seen[digest] for digest in (calls | seen) if digest not in unsure)


def table(found: Sequence[Check]) -> str:
    """The checks in columns."""
    lines = [f"{'':30}{'client':>12}{'server':>12}"]
    for check in found:
        slack = f"  (± {check.slack:,} cancelled or dropped)" if check.slack else ""
        verdict = "ok" if check.holds else "DIFFERENT"
        lines.append(f"{check.what:30}{check.client:>12,}{check.server:>12,}  {verdict}{slack}")
    return "\n".join(lines)


def _read(source: str) -> list[Row]:
    if source.startswith(("http://", "https://")):
        if "/__sim/" not in source:
            source = source.rstrip("/") + "/__sim/log"
        with urlopen(source, timeout=30) as reply:
            text = reply.read().decode()
    else:
        text = Path(source).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0 where everything agrees."""
    parser = argparse.ArgumentParser(description="Compare a run's rows with the simulator's log.")
    parser.add_argument("rows", help="what `batchllm run` wrote")
    parser.add_argument("log", help="the simulator's log: a file, or its URL /__sim/log")
    parser.add_argument("--items", type=int, help="how many rows there have to be")
    given = parser.parse_args(arguments)
    log = _read(given.log)
    found = list(checks(_read(given.rows), log, given.items))
    print(table(found))
    outcomes = Counter(entry["fault"] or entry["outcome"] for entry in log)
    print("\nrequests as the server saw them:")
    for name, count in outcomes.most_common():
        print(f"  {name:28}{count:>12,}")
    return 0 if all(check.holds for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
