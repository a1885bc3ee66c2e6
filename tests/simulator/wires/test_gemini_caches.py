"""Gemini's cachedContents: life, renewal and end of a cache, by the simulator's clock."""

from collections.abc import Callable
from typing import Any

import pytest

Desks = Callable[..., Any]

PATH = "/v1beta/cachedContents"
CONTENT = {"role": "user", "parts": [{"text": "x" * 400}]}


def create(asked: Any, **fields: Any) -> Any:
    body = {"model": "models/g", "contents": [CONTENT], "ttl": "60s", "displayName": "d"} | fields
    return asked.send(
        "POST", PATH, {name: value for name, value in body.items() if value is not None}
    )


def test_a_cache_is_made_and_shown(desk: Desks) -> None:
    """The resource tells model, name, times and size, and never its contents."""
    asked = desk()
    made = create(asked).json
    assert made == {
        "name": "cachedContents/sim000001",
        "model": "models/g",
        "displayName": "d",
        "createTime": "2026-01-01T00:00:00Z",
        "updateTime": "2026-01-01T00:00:00Z",
        "expireTime": "2026-01-01T00:01:00Z",
        "usageMetadata": {"totalTokenCount": 100},
    }
    assert asked.send("GET", f"/v1beta/{made['name']}").json == made
    assert asked.send("GET", PATH).json == {"cachedContents": [made]}
    assert asked.simulator.log.entries[0].outcome == "control"
    assert asked.simulator.log.summary()["input_tokens"] == 0


def test_a_cache_is_used_and_counted(desk: Desks) -> None:
    """Its tokens are part of the prompt and cached."""
    asked = desk()
    name = create(asked).json["name"]
    usage = asked.gemini("four", cachedContent=name).json["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (101, 100)
    entry = asked.simulator.log.entries[-1]
    assert (entry.input_tokens, entry.cached_tokens) == (101, 100)
    both = asked.gemini(cachedContent=name, systemInstruction={"parts": [{"text": "x"}]})
    assert both.status == 400


def test_a_cache_expires(desk: Desks) -> None:
    """After its time it is gone: generating, reading and renewing are a 404."""
    asked = desk()
    name = create(asked).json["name"]
    asked.now += 59
    assert asked.gemini(cachedContent=name).status == 200
    asked.now += 1
    gone = asked.gemini(cachedContent=name)
    assert (gone.status, gone.json["error"]["status"]) == (404, "NOT_FOUND")
    assert asked.send("GET", f"/v1beta/{name}").status == 404
    assert asked.send("PATCH", f"/v1beta/{name}", {"ttl": "60s"}).status == 404
    assert asked.send("GET", PATH).json == {}
    assert asked.simulator.stats()["caches"]["expired"] == 1


def test_a_cache_is_renewed(desk: Desks) -> None:
    """A new ttl counts from now; a time can be given instead."""
    asked = desk()
    name = create(asked).json["name"]
    asked.now += 50
    renewed = asked.send("PATCH", f"/v1beta/{name}?updateMask=ttl", {"ttl": "60.5s"}).json
    assert renewed["expireTime"] == "2026-01-01T00:01:50Z"
    assert renewed["updateTime"] == "2026-01-01T00:00:50Z"
    until = {"expireTime": "2026-01-01T00:10:00Z"}
    assert asked.send("PATCH", f"/v1beta/{name}", until).json["expireTime"] == until["expireTime"]
    asked.now += 500
    assert asked.gemini(cachedContent=name).status == 200
    asked.send("PATCH", f"/v1beta/{name}", {})
    assert asked.simulator.stats()["caches"]["renewed"] == 3


def test_a_cache_is_deleted(desk: Desks) -> None:
    """Afterwards it is gone, and deleting it again is a 404."""
    asked = desk()
    name = create(asked).json["name"]
    assert asked.send("DELETE", f"/v1beta/{name}").json == {}
    assert asked.send("DELETE", f"/v1beta/{name}").status == 404
    assert asked.gemini(cachedContent=name).status == 404


def test_caches_are_counted(desk: Desks) -> None:
    """Made, ended, alive, and alive at once at most."""
    asked = desk()
    names = [create(asked, ttl=ttl).json["name"] for ttl in ("10s", "100s", None)]
    asked.send("DELETE", f"/v1beta/{names[1]}")
    asked.now += 20
    assert asked.simulator.stats()["caches"] == {
        "created": 3, "renewed": 0, "deleted": 1, "expired": 1, "alive": 1, "most_alive": 3,
    }  # fmt: skip
    asked.now += 3600
    assert asked.simulator.stats()["caches"]["alive"] == 0


def test_caches_are_listed_by_pages(desk: Desks) -> None:
    """A token leads from page to page until none is left."""
    asked = desk()
    names = [create(asked, displayName=None).json["name"] for _ in range(5)]
    seen, token = [], ""
    for _ in range(3):
        page = asked.send("GET", f"{PATH}?pageSize=2&pageToken={token}").json
        seen += [cache["name"] for cache in page["cachedContents"]]
        token = page.get("nextPageToken", "")
    assert (seen, token) == (names, "")
    assert asked.send("GET", f"{PATH}?pageSize=two").status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": "60"},
        {"ttl": "0s"},
        {"ttl": "-5s"},
        {"expireTime": "2026-01-01T00:10:00Z"},
        {"ttl": None, "expireTime": "tomorrow"},
        {"model": None},
    ],
)
def test_wrong_caches_are_refused(desk: Desks, fields: dict[str, Any]) -> None:
    """Malformed and doubled lifetimes, and a missing model, are a 400."""
    asked = desk()
    assert create(asked, **fields).status == 400
    assert asked.simulator.stats()["caches"]["created"] == 0


def test_a_cache_can_be_too_small(desk: Desks) -> None:
    """Where the model has a minimum, less is a 400 that tells it."""
    got = create(desk("default?shortest_cache=1024"))
    assert got.status == 400
    assert "total_token_count=100, min_total_token_count=1024" in got.json["error"]["message"]


def test_control_calls_meet_faults_too(desk: Desks) -> None:
    """A fault asked for by the kept text fails the creation, and nothing is kept."""
    asked = desk()
    parts = {"role": "user", "parts": [{"text": "[[fault:503*1]]"}]}
    assert create(asked, contents=[parts]).status == 503
    assert create(asked, contents=[parts]).status == 200
    assert asked.simulator.stats()["caches"]["created"] == 1
