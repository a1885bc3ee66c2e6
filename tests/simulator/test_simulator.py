"""The simulator without doors: fates, quotas, answers and the log that goes with them."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from batchllm.simulator import FAULT_NAMES, Scenario, Simulator

Desks = Callable[..., Any]

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def schema_of(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "Out", "schema": schema}}


FORMAT = schema_of(SCHEMA)


def said(got: Any) -> str:
    text = got.json["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_answers_follow_from_the_request(desk: Desks) -> None:
    """Equal requests get equal answers, on any simulator of that seed and at every attempt."""
    one, other, reseeded = desk(), desk(), desk(seed=1)
    assert said(one.chat("a")) == said(one.chat("a")) == said(other.chat("a"))
    assert said(one.chat("a")) != said(one.chat("b"))
    assert said(one.chat("a")) != said(reseeded.chat("a"))
    assert said(one.chat("a")) != said(one.chat("a", model="other"))


def test_a_prompt_can_say_what_it_wants_to_hear(desk: Desks) -> None:
    """The marker's text comes back, after the time that was asked for."""
    got = desk().chat("[[answer:forty-two]] [[latency:2.5]]")
    assert said(got) == "forty-two"
    assert got.reply.head_delay == 2.5


def test_fates_do_not_depend_on_the_order(desk: Desks) -> None:
    """The requests that fail are the same in any order of arrival."""
    prompts = [f"p{number}" for number in range(200)]
    forward, backward = desk("instant?faults=0.3"), desk("instant?faults=0.3")
    fates = {prompt: forward.chat(prompt).status for prompt in prompts}
    again = {prompt: backward.chat(prompt).status for prompt in reversed(prompts)}
    assert fates == again
    assert 20 < sum(status != 200 for status in fates.values()) < 80


def test_a_structured_answer_satisfies_its_schema(desk: Desks) -> None:
    """With a schema the answer is JSON of that shape; `json_object` gives some object."""
    value = json.loads(said(desk().chat(response_format=FORMAT)))
    assert isinstance(value["name"], str)
    assert isinstance(value["age"], int)
    free = json.loads(said(desk().chat(response_format={"type": "json_object"})))
    assert list(free) == ["answer"]


def test_answers_are_wrong_at_the_rate_that_was_asked_for(desk: Desks) -> None:
    """A fifth of the structured answers breaks its schema, as the log says; no other does."""
    asked = desk("instant?wrong=0.2")
    for number in range(500):
        asked.chat(f"p{number}", response_format=FORMAT)
        asked.chat(f"free {number}")
    faults = Counter(entry.fault for entry in asked.simulator.log)
    shapes = {"fenced", "invalid-json", "missing-field", "trailing", "wrong-type"}
    assert set(faults) == {None, *shapes}
    assert 70 < sum(faults[shape] for shape in shapes) < 130
    assert asked.simulator.log.summary()["outcomes"] == {"ok": 1000}


def test_a_bound_on_the_output_cuts_the_answer(desk: Desks) -> None:
    """No more tokens come than the caller allowed, and the reason to finish says so."""
    got = desk().chat(max_completion_tokens=3).json
    assert got["choices"][0]["finish_reason"] == "length"
    assert got["usage"]["completion_tokens"] == 3


def test_a_quota_refuses_with_the_time_to_wait(desk: Desks) -> None:
    """The request beyond the burst gets a 429 that says when to come back, and then passes."""
    asked = desk("quota?rpm=60&burst=2")
    statuses = [asked.chat(f"p{number}").status for number in range(2)]
    refused = asked.chat("p3")
    assert (statuses, refused.status) == ([200, 200], 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["retry-after-ms"] == "1000"
    assert "Limit 60, Used 60, Requested 1. Please try again in 1s." in refused.text
    asked.now += 1.0
    assert asked.chat("p3").status == 200
    assert asked.simulator.log.summary()["outcomes"] == {"ok": 3, "refused": 1}


def test_without_hints_a_refusal_tells_nothing(desk: Desks) -> None:
    """Neither headers nor the message give a number away."""
    asked = desk("quota-nohint?burst=1")
    asked.chat()
    refused = asked.chat()
    assert refused.status == 429
    assert not [name for name in refused.headers if "retry" in name or "ratelimit" in name]
    assert refused.json["error"]["message"] == "Rate limit reached."


def test_quotas_are_kept_by_key_and_model(desk: Desks) -> None:
    """Another key and another model have a quota of their own."""
    asked = desk("quota?burst=1&rpm=1")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    def send(model: str, key: str) -> int:
        own = body | {"model": model}
        got = asked.send("POST", "/v1/chat/completions", own, authorization=f"Bearer {key}")
        assert isinstance(got.status, int)
        return got.status

    assert [send("m", "k"), send("m", "k"), send("n", "k"), send("m", "l")] == [200, 429, 200, 200]


def test_too_large_a_request_never_passes(desk: Desks) -> None:
    """A request above the limit itself gets the 429 that no wait can cure."""
    got = desk("default?tpm=100").chat(max_tokens=500)
    assert got.status == 429
    assert "Request too large" in got.text
    assert "retry-after" not in got.headers


def test_a_quota_of_the_day_says_so(desk: Desks) -> None:
    """The refusal names requests per day."""
    asked = desk("default?rpd=1")
    asked.chat()
    assert "requests per day (RPD)" in asked.chat().text


def test_a_concurrency_cap_is_free_again_when_a_request_ends(desk: Desks) -> None:
    """While one is under way the next is refused; afterwards it passes."""
    asked = desk("deepseek?concurrency=1")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    first = asked.begin("POST", "/chat/completions", body)
    assert asked.chat().status == 429
    first.exchange.finish()
    first.exchange.finish()
    assert asked.chat().status == 200
    assert len(asked.simulator.log) == 3


def test_a_queue_makes_wait_and_then_refuses(desk: Desks) -> None:
    """With one worker and one place to wait the second waits and the third is turned away."""
    asked = desk("queue?slots=1&queue_capacity=1&latency=2")
    waits = [asked.chat(f"p{number}") for number in range(3)]
    assert [got.reply.head_delay for got in waits[:2]] == [2, 4]
    assert waits[2].status == 503
    assert asked.simulator.log.entries[2].outcome == "refused"


def test_random_refusals_come_at_their_rate(desk: Desks) -> None:
    """Noise refuses a share of the requests without a hint."""
    asked = desk("instant?noise=0.1")
    refused = [
        got for got in (asked.chat(f"p{number}") for number in range(500)) if got.status == 429
    ]
    assert 25 < len(refused) < 80
    assert "retry-after" not in refused[0].headers


@pytest.mark.parametrize(
    ("scenario", "fields", "status", "code"),
    [
        ("default?key=right", {}, 401, "invalid_api_key"),
        ("default?models=a,b", {}, 404, "model_not_found"),
        ("default?context=5", {}, 400, "context_length_exceeded"),
    ],
)
def test_what_a_scenario_does_not_have_is_refused(
    desk: Desks, scenario: str, fields: dict[str, Any], status: int, code: str
) -> None:
    """A wrong key, an unknown model and too long a prompt get their own errors."""
    asked = desk(scenario)
    got = asked.chat("a prompt of some length", **fields)
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert asked.simulator.log.entries[0].outcome == "invalid"


def test_the_right_key_is_accepted(desk: Desks) -> None:
    """The key is read from each provider's header."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    asked = desk("default?key=right")
    headers = [
        {"authorization": "Bearer right"},
        {"api_key": "right"},
        {"x_api_key": "right"},
        {"x_goog_api_key": "right"},
    ]
    statuses = [asked.send("POST", "/chat/completions", body, **each).status for each in headers]
    assert statuses == [200] * 4


@pytest.mark.parametrize("name", [name for name in FAULT_NAMES if name.isdigit()])
def test_every_status_can_be_asked_for(desk: Desks, name: str) -> None:
    """The marker's status comes, and only so often as asked."""
    asked = desk()
    assert asked.chat(f"[[fault:{name}*1]]").status == int(name)
    assert asked.chat(f"[[fault:{name}*1]]").status == 200


@pytest.mark.parametrize(
    ("argument", "headers"),
    [
        ("7", {"retry-after": "7"}),
        ("644ms", {"retry-after": "1", "retry-after-ms": "644"}),
        ("soon", {"retry-after": "soon"}),
        ("Wed, 21 Oct 2099 07:28:00 GMT", {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}),
    ],
)
def test_a_refusal_can_carry_any_hint(desk: Desks, argument: str, headers: dict[str, str]) -> None:
    """The argument of 429 becomes the hint, as it is or in milliseconds."""
    got = desk().chat(f"[[fault:429={argument}]]")
    assert {name: value for name, value in got.headers.items() if "retry" in name} == headers


def test_other_refusals_carry_a_wait_too(desk: Desks) -> None:
    """A number with any refusal is the wait; a limit by the minute is told with its size."""
    busy = desk().chat("[[fault:503=5]]").headers
    assert (busy["retry-after"], busy["retry-after-ms"]) == ("5", "5000")
    limited = desk("default?profile=gemini").gemini("[[fault:minute-limit=36]]").json["error"]
    failure, retry = limited["details"]
    assert failure["violations"][0]["quotaValue"] == "20"
    assert retry["retryDelay"] == "36s"
    assert desk().chat("[[fault:503=soon]]").status == 400


def test_a_marker_that_is_wrong_is_told(desk: Desks) -> None:
    """An unknown fault is a 400 with the known names."""
    got = desk().chat("[[fault:nonsense]]")
    assert got.status == 400
    assert "unknown fault 'nonsense'" in got.text


def test_paths_and_bodies_that_are_not_known(desk: Desks) -> None:
    """A wrong path is a 404 and a wrong body a 400, and both are in the log."""
    asked = desk()
    assert asked.send("GET", "/v1/nothing").status == 404
    assert asked.send("POST", "/v1/chat/completions", b"{broken").status == 400
    assert asked.send("POST", "/v1/chat/completions", [1]).status == 400
    assert [entry.outcome for entry in asked.simulator.log] == ["invalid"] * 3


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": "hi"},
        {"messages": ["hi"]},
        {"messages": []},
        {"model": ""},
        {"model": 3},
        {"max_tokens": "many"},
        {"stream_options": "usage"},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": schema_of(3)},
        {"response_format": schema_of({"type": "integer", "minimum": "3"})},
        {"response_format": schema_of({"$ref": "#"})},
        {"response_format": schema_of({"$ref": "#/no"})},
    ],
)  # fmt: skip
def test_a_misshapen_request_is_the_clients_mistake(desk: Desks, fields: dict[str, Any]) -> None:
    """A request with any mistake gets a 400, and the simulator goes on."""
    asked = desk()
    got = asked.chat(**fields)
    assert (got.status, got.json["error"]["type"]) == (400, "invalid_request_error")
    assert asked.chat().status == 200


def test_the_simulator_tells_about_itself(desk: Desks) -> None:
    """Log and counts can be read over the wire, and reading them is not logged."""
    asked = desk("instant")
    asked.chat("what is logged")
    (row,) = [json.loads(line) for line in asked.send("GET", "/__sim/log").text.splitlines()]
    stats = asked.send("GET", "/__sim/stats").json
    assert row["prompt"] == "what is logged"
    assert row["model"] == "m"
    assert stats == json.loads(json.dumps(asked.simulator.stats()))
    assert (stats["scenario"], stats["requests"]) == ("instant", 1)
    assert stats["output_tokens"] == row["output_tokens"] > 0
    assert asked.send("GET", "/__sim/other").status == 404
    assert Simulator(Scenario()).stats()["requests"] == 0


def test_the_log_tells_what_became_of_each_request(desk: Desks) -> None:
    """Faults that break the reply, those that do not, and a client that left are told apart."""
    asked = desk("instant")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    asked.chat("[[fault:500]]")
    asked.chat("[[fault:disconnect]]")
    asked.chat("[[fault:crlf]]")
    asked.chat("[[fault:no-terminal]]", stream=True)
    asked.chat("[[fault:no-terminal]]")
    left = asked.begin("POST", "/chat/completions", body, x_client_request_id="mine")
    asked.now += 5
    left.exchange.finish(aborted=True)
    rows = [
        (row.outcome, row.status, row.fault, row.output_tokens > 0) for row in asked.simulator.log
    ]
    assert rows == [
        ("fault", 500, "500", False),
        ("fault", 0, "disconnect", True),
        ("ok", 200, "crlf", True),
        ("fault", 200, "no-terminal", True),
        ("ok", 200, "no-terminal", True),
        ("aborted", 200, None, True),
    ]
    last = asked.simulator.log.entries[-1]
    assert (last.client_id, last.arrived, last.finished, last.attempt) == ("mine", 1000, 1005, 1)


def test_attempts_are_counted_by_request(desk: Desks) -> None:
    """The log tells which attempt of the same request each was."""
    asked = desk()
    for prompt in ("a", "b", "a"):
        asked.chat(prompt)
    assert [row.attempt for row in asked.simulator.log] == [1, 1, 2]


def test_the_calendar_follows_the_clock(desk: Desks) -> None:
    """Dates on the wire begin in 2026 and move with the clock, or are those of a given clock."""
    asked = desk()
    assert asked.chat().headers["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    asked.now += 60
    assert asked.chat().headers["date"] == "Thu, 01 Jan 2026 00:01:00 GMT"
    given = desk(wall_clock=lambda: 0.0)
    assert given.chat().headers["date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
