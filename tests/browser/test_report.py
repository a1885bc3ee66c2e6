"""A report in Chromium: no complaints, charts drawn, items found, in light and dark, on a phone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchllm import write_report
from tests.reports.kit import HOSTILE, journal_of

DESK = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
Visit = Callable[..., Any]

# Whether each chart has points of more than one colour, its paper left out.
DRAWN = """() => Object.fromEntries([...document.querySelectorAll("canvas")].map((canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    for (let n = 0; n < data.length; n += 4) if (data[n + 3] > 128)
        colours.add(`${data[n]},${data[n + 1]},${data[n + 2]}`);
    return [canvas.id.replace("chart-", ""), colours.size];
}))"""
PICTURES = "[...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())"
INK = "getComputedStyle(document.body).color"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs of one journal, with hostile texts in it."""
    folder = tmp_path_factory.mktemp("run")
    items = [(f"p{n}", f"say {n}") for n in range(250)]
    items += [("evil", HOSTILE), ("b1", "bad one"), ("b2", "bad two")]

    def run_twice() -> Path:
        journal_of(folder / "out.jsonl.journal", items[:100])
        return journal_of(folder / "out.jsonl.journal", items)

    # Playwright keeps an event loop on this thread.
    with ThreadPoolExecutor(1) as thread:
        journal = thread.submit(run_twice).result()
    return write_report(journal, folder / "out.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_every_chart_is_drawn(
    visit: Visit, report: Path, window: dict[str, Any], scheme: str
) -> None:
    """Without a message, an error, or a request for anything; and nothing is wider than it."""
    seen = visit(report, color_scheme=scheme, **window)
    drawn = seen.page.evaluate(DRAWN)
    assert {"throughput", "in-flight", "latency", "tokens-in", "errors"} <= set(drawn)
    assert all(colours > 1 for colours in drawn.values()), drawn
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= window["viewport"]["width"]
    assert seen.complaints == []


def test_the_colours_follow_the_reader(visit: Visit, report: Path) -> None:
    """Also while the page is open: the charts are drawn anew."""
    seen = visit(report, color_scheme="light", **DESK)
    light, pictures = seen.page.evaluate(INK), seen.page.evaluate(PICTURES)
    seen.page.emulate_media(color_scheme="dark")
    assert seen.page.evaluate(INK) != light
    assert all(
        before != after
        for before, after in zip(pictures, seen.page.evaluate(PICTURES), strict=True)
    )
    assert seen.complaints == []


def ids(seen: Any) -> list[str]:
    """The ids of the items that the table shows."""
    rows = seen.page.locator("#table tbody tr:not(.detail) td:first-child")
    found: list[str] = rows.all_inner_texts()
    return found


def test_items_are_found_by_text_and_kind(visit: Visit, report: Path) -> None:
    """Together, in any case, and the count says how many there are."""
    seen = visit(report, **DESK)
    assert len(ids(seen)) == 100
    assert seen.page.locator("#filter-count").inner_text() == "253 of 253"
    seen.page.fill("#filter-text", "SAY 24")
    assert ids(seen) == [f"p{n}" for n in range(250) if "24" in str(n)]
    seen.page.fill("#filter-text", "")
    seen.page.select_option("#filter-kind", "invalid_request")
    assert ids(seen) == ["b1", "b2"]
    seen.page.fill("#filter-text", "two")
    assert ids(seen) == ["b2"]
    seen.page.fill("#filter-text", "nowhere")
    assert ids(seen) == []
    assert seen.complaints == []


def test_items_are_sorted_and_shown_page_by_page(visit: Visit, report: Path) -> None:
    """By a click on the head of a column."""
    seen = visit(report, **DESK)
    seen.page.get_by_role("button", name="Id", exact=True).click()
    assert ids(seen)[:3] == ["b1", "b2", "evil"]
    seen.page.get_by_role("button", name="Show more").click()
    assert len(ids(seen)) == 200
    assert seen.complaints == []


@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_an_item_shows_what_was_said(visit: Visit, report: Path, window: dict[str, Any]) -> None:
    """As text, whatever it looks like; an address is a link only if it is one of the web."""
    seen = visit(report, **window)
    seen.page.fill("#filter-text", "evil")
    seen.page.get_by_role("button", name="evil").click()
    detail = seen.page.locator(".detail")
    shown = detail.inner_text()
    for text in (HOSTILE.split("\u2028")[0], "I think", "find", "yes", "harassment: low", "stop"):
        assert text in shown
    assert detail.locator("img, script").count() == 0
    assert [a.get_attribute("href") for a in detail.locator("a").all()] == ["https://example.org/a"]
    seen.page.get_by_role("button", name="evil").click()
    assert detail.count() == 0
    assert seen.complaints == []


def test_a_slow_item_leads_to_its_row(visit: Visit, report: Path) -> None:
    """By a click on its id."""
    seen = visit(report, **DESK)
    first = seen.page.locator("#slowest tbody td button").first
    name = first.inner_text()
    first.click()
    assert name in ids(seen)
    assert seen.page.input_value("#filter-text") == name


def test_a_script_that_slipped_in_would_not_run(visit: Visit, report: Path, tmp_path: Path) -> None:
    """The policy of the page refuses it, and the request that it would make."""
    evil = '<script>window.ran = 1</script><img src="http://127.0.0.1:9/x"></main>'
    page = tmp_path / "evil.html"
    page.write_text(report.read_text(encoding="utf-8").replace("</main>", evil), encoding="utf-8")
    seen = visit(page, **DESK)
    assert seen.page.evaluate("window.ran") is None
    refused = [text for text in seen.complaints if "Content Security Policy" in text]
    assert [text.split(" ")[0] for text in refused] == ["Executing", "Loading"]


def test_without_scripts_the_tables_are_there(visit: Visit, report: Path) -> None:
    """And a sentence says what is missing."""
    seen = visit(report, java_script_enabled=False, **DESK)
    assert "The charts and the items need scripts." in seen.page.inner_text("main")
    assert "answered 400" in seen.page.inner_text("#errors")
    assert not seen.page.locator("#filter").is_visible()
