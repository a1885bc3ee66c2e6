"""The page: inert whatever a model said, without keys, without requests, and of bounded size."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from batchllm.reports import Report, read_report, render_report
from batchllm.reports.counting import Counting, Seen
from batchllm.reports.course import Course
from batchllm.reports.details import Raw
from tests.reports.kit import HOSTILE, KEY, Page, journal_of

LIBRARY = Path(__file__).parents[2] / "batchllm" / "reports" / "chart.umd.min.js"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page of a run whose every text is hostile."""
    items = [(f"id {HOSTILE}", f"ask {HOSTILE} {KEY}"), ("bad", f"bad {HOSTILE}"), ("p1", "hello")]
    path = tmp_path_factory.mktemp("run") / "out.jsonl.journal"
    return Page(render_report(read_report(journal_of(path, items))))


def test_nothing_that_was_said_becomes_an_element(page: Page) -> None:
    """There are the scripts of the page, and no picture, frame, handler or address."""
    assert [name for name, _ in page.tags].count("script") == 3
    names = {name for name, _ in page.tags}
    assert not names & {"img", "iframe", "object", "link", "base", "svg", "a"}
    attributes = {key for _, given in page.tags for key in given}
    assert not {key for key in attributes if key.startswith("on")} | (attributes & {"src", "href"})
    assert "</script><img src=x onerror=alert(1)>" in page.text


def test_the_texts_arrive_as_they_were(page: Page) -> None:
    """As JSON, in which no character can end the script; half of a pair becomes a mark."""
    assert not re.search("[<>&]", page.scripts[0])
    item = page.item(f"id {HOSTILE}")
    assert item["prompt"] == f"ask {HOSTILE} ***"
    assert item["output"] == f"echo ask {HOSTILE} *** ?"


def test_keys_are_masked(page: Page) -> None:
    """In prompts, answers and errors."""
    assert KEY not in page.page
    assert "***" in page.item("bad")["error"]


def test_what_was_said_beside_the_text_is_shown(page: Page) -> None:
    """Reasoning, tools, citations, probabilities, ratings, and why it ended."""
    item = page.item("p1")
    assert item["reasoning"].startswith("I think </script>")
    assert item["tools"][0][0] == "find"
    assert [one["url"] for one in item["citations"]] == ["https://example.org/a", ""]
    assert item["citations"][1]["text"] == "B · javascript:alert(1)"
    assert item["logprobs"] == [["yes", -0.1, "'no' -2.50"]]
    assert (item["finish"], item["safety"]) == ("stop", {"harassment": "low"})
    assert item["model"] == "gpt-a"


def test_only_its_own_scripts_may_run_and_nothing_may_be_asked_for(page: Page) -> None:
    """The policy of the page names the hashes of its scripts and its style."""
    policy = next(
        given["content"] or "" for name, given in page.tags if given.get("http-equiv") and name
    )
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (*page.styles, *page.scripts[1:])
    ]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert "style=" not in page.page.replace(page.scripts[1], "")


def test_the_library_is_whole_and_names_its_makers(page: Page) -> None:
    """All but its last line, for which browsers would ask."""
    library = LIBRARY.read_text(encoding="utf-8")
    assert page.scripts[1] == library.rpartition("\n//# sourceMappingURL=")[0]
    assert "Released under the MIT License" in page.scripts[1]
    assert "sourceMappingURL" not in page.page
    assert LIBRARY.with_name("chart.LICENSE.md").is_file()


def test_light_and_dark_have_the_same_colours_to_set(page: Page) -> None:
    """Every colour has a value in both."""
    light, dark = (
        set(re.findall(r"(--\w+):", block))
        for block in re.findall(r":root \{(.*?)\}", page.styles[0], re.DOTALL)
    )
    assert light == dark
    assert 'name="viewport"' in page.page


def test_texts_can_be_left_out(tmp_path: Path) -> None:
    """Numbers and errors stay."""
    path = journal_of(tmp_path / "run.db", [("p1", "a private matter"), ("p2", "bad luck")])
    page = render_report(read_report(path), texts=False)
    assert "private matter" not in page
    assert "Prompts and answers were left out" in page
    assert "I think" not in page
    assert Page(page).item("p2")["error"]


def large(count: int, text: str) -> Report:
    """A report whose items all have long texts."""
    counting = Counting()
    for n in range(count):
        counting.add(Seen(n, f"p{n}", True, None, None, "m", {}, None, 1, (0.0, 0.0, 1.0, 0.0), n))
    items = [
        Raw(item_id=f"p{n}", success=True, prompt=text, output=text, usage={}) for n in range(1_000)
    ]
    settings: dict[str, Any] = {}
    return Report(
        name="large", version="", state="done", counting=counting, course=Course(),
        failed_calls={}, settings=settings, items=items,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["plain " * 5_000, "<b>" * 9_000, "汉字" * 9_000])
def test_a_large_run_gives_a_file_below_five_megabytes(text: str) -> None:
    """Its script library not counted; texts are cut, and say by how much."""
    page = render_report(large(20_000, text))
    assert len(page.encode()) - LIBRARY.stat().st_size < 5_000_000
    assert "1,000 of 20,000 items" in page
    assert "more characters)" in Page(page).item("p7")["output"]
