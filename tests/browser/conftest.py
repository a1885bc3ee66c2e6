"""A headless Chromium that may not leave the machine, for the tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# They need a browser, so an ordinary run does not know them; `nox -s browser` sets it.
VARIABLE = "BATCHLLM_BROWSER"
collect_ignore_glob = [] if VARIABLE in os.environ else ["test_*.py"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@define(eq=False)
class Visit:
    """A page that is open, and what went wrong on it.

    Attributes:
        page: In the browser.
        complaints: Messages of its console, errors of its scripts, and requests for anything else.
    """

    page: Page
    complaints: list[str] = field(factory=list)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """Start Chromium: the one that ``BATCHLLM_BROWSER`` names, one on the path, or Playwright's."""
    from playwright.sync_api import sync_playwright

    given = os.environ.get(VARIABLE, "")
    found = given if os.path.isfile(given) else next(filter(None, map(shutil.which, _NAMES)), None)
    # As root, as in a container, Chromium has no sandbox.
    options: Any = {"args": ["--no-sandbox"]} if getattr(os, "geteuid", lambda: 1)() == 0 else {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, **options)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Generator[Any]:
    """Give a function that opens a file in a new window of a kind, and returns the visit."""
    windows: list[Any] = []

    def open_it(file: Path, **window: Any) -> Visit:
        context = browser.new_context(**window)
        windows.append(context)
        seen = Visit(context.new_page())
        address = file.resolve().as_uri()

        def look(request: Any) -> None:
            if request.url != address:
                seen.complaints.append(f"it asks for {request.url}")

        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", look)
        seen.page.goto(address)
        return seen

    yield open_it
    for context in windows:
        context.close()
