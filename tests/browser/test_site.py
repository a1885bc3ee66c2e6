"""The built site in Chromium: navigation, search and dark mode work; nothing leaves the machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Build the site from the sources, and serve it on this machine."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("docs", "batchllm"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / ".zensical.toml", folder)
    build = [sys.executable, "-m", "zensical", "build", "--strict", "-f", ".zensical.toml"]
    subprocess.run(build, cwd=folder, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder / "site"))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser, site: str) -> Generator[Page]:
    """Open the first page; afterwards there must have been no complaint and no foreign request."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def look(request: Any) -> None:
        if not request.url.startswith((site, "data:", "blob:")):
            complaints.append(f"it asks for {request.url}")

    page.on("request", look)
    page.goto(f"{site}/")
    yield page
    context.close()
    assert complaints == []


def test_the_navigation_leads_to_a_page(page: Page) -> None:
    """By its name, beside the text."""
    page.get_by_role("link", name="Tutorial").first.click()
    page.wait_for_url("**/tutorial/")
    assert page.get_by_role("heading", name="1. A first batch").is_visible()


def test_a_name_of_the_package_is_found_by_search(page: Page) -> None:
    """Among the headings of the reference."""
    words = page.locator("input[aria-label=Search]")
    words.wait_for(state="attached")  # until then nothing listens for the keys
    page.keyboard.press("Control+k")
    words.fill("HedgeConfig")
    page.locator("a[href*='#batchllm.HedgeConfig']:visible").first.click()
    page.wait_for_url("**/reference/api/settings/**")


def test_the_switch_makes_it_dark(page: Page) -> None:
    """From what the system has, over light, to dark."""
    schemes = {page.locator("body").get_attribute("data-md-color-scheme")}
    for _ in range(2):
        page.locator("label[for^=__palette]:visible").first.click()
        schemes.add(page.locator("body").get_attribute("data-md-color-scheme"))
    assert "slate" in schemes
    assert "default" in schemes
