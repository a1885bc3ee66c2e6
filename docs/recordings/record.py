"""Records a session of the command line: real commands on a real terminal, as text and pictures.

``nox -s record`` runs it. Each command runs in a pseudo-terminal of a given width; what it writes
goes through a terminal emulator, and the screen is kept at chosen moments. The pictures are SVG,
that of the report is taken by headless Chromium. Everything is asked of the simulator.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pyte
from attrs import define, field
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
PAGE = HERE.parent / "recorded-session.md"
PROMPTS = HERE.parent / "examples" / "prompts.jsonl"
ROWS = 24
PATIENCE = 120.0  # seconds for one command, which takes some ten
CTRL_C = b"\x03"

QUOTA = '"sim:quota?rpm=1200&faults=0.04&latency=0.4"'
FIRST = "batchllm run prompts.jsonl -m sim:default -o first.jsonl"
LONG = f"batchllm run prompts.jsonl -m {QUOTA} -o answers.jsonl"
LIVE = 'batchllm run mixed.jsonl -m "sim:default?latency=0.6" --rpm 1200 -o live-{}.jsonl'
REPORT = "batchllm report answers.jsonl"


@define
class Terminal:
    """A command on a terminal of so many columns, and its screen.

    Attributes:
        command: As it would be typed.
        columns: The width of the terminal.
        code: Its exit code, once it has ended.
    """

    command: str
    columns: int
    code: int | None = None
    screen: pyte.Screen = field(init=False)
    _stream: pyte.ByteStream = field(init=False)
    _descriptor: int = field(init=False, default=-1)
    _child: int = field(init=False, default=0)

    def start(self, folder: Path) -> None:
        """Start the command in *folder*."""
        self.screen = pyte.Screen(self.columns, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self._stream.feed(f"$ {self.command}\r\n".encode())
        self._child, self._descriptor = pty.fork()
        if self._child == 0:
            os.chdir(folder)
            os.environ.update(TERM="xterm-256color", LANG="C.UTF-8", PYTHONUTF8="1")
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                os.environ.pop(name, None)
            # As a shell finds it, so that it names itself as it was called.
            os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            size = f"stty cols {self.columns} rows {ROWS}"
            os.execvp("sh", ["sh", "-c", f"{size}; exec {self.command}"])

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._descriptor, keys)

    def go_on_until(self, seen: Callable[[str], object] | None = None) -> None:
        """Follow the command until its screen is as *seen* wants it; by default until it ends."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._descriptor], [], [], 0.1)
            if ready:
                try:
                    data = os.read(self._descriptor, 65_536)
                except OSError:  # the way in which Linux reports the end
                    data = b""
                if not data:
                    if seen is None:
                        return
                    break
                self._stream.feed(data)
            if seen is not None and seen(self.text):
                return
        msg = f"{self.command}: it did not get there:\n{self.text}"
        raise TimeoutError(msg)

    def end(self) -> None:
        """Wait for the end; a command that goes on is interrupted."""
        if self.code is None:
            try:
                self.go_on_until()
            except TimeoutError:
                os.kill(self._child, signal.SIGKILL)
            _, status = os.waitpid(self._child, 0)
            os.close(self._descriptor)
            self.code = os.waitstatus_to_exitcode(status)

    @property
    def text(self) -> str:
        """The screen as text, without what is blank at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def picture(self, title: str) -> str:
        """The screen as SVG."""
        console = Console(
            record=True, width=self.columns, file=io.StringIO(), force_terminal=True,
            color_system="truecolor", legacy_windows=False,
        )  # fmt: skip
        for row in range(len(self.text.splitlines())):
            console.print(self._row(row), no_wrap=True, overflow="crop", soft_wrap=False)
        # Without the faces that its own template fetches from the network.
        template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        svg = console.export_svg(title=title, code_format=template, unique_id="r")
        return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"

    def _row(self, row: int) -> Text:
        line = Text()
        for column in range(self.columns):
            cell = self.screen.buffer[row][column]
            line.append(cell.data, _style(cell))
        return line


def _style(cell: pyte.screens.Char) -> str:
    """Return the style of one cell in rich's words."""
    words = [name for name in ("bold", "italics", "reverse") if getattr(cell, name)]
    if cell.fg != "default":
        words.append(_colour(cell.fg))
    if cell.bg != "default":
        words.append(f"on {_colour(cell.bg)}")
    return " ".join(words).replace("italics", "italic")


def _colour(name: str) -> str:
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return re.sub("^bright", "bright_", name).replace("brown", "yellow")


@contextmanager
def terminal(command: str, columns: int, folder: Path) -> Generator[Terminal]:
    """Run a command on a terminal, which it does not outlive."""
    one = Terminal(command, columns)
    one.start(folder)
    try:
        yield one
    finally:
        one.end()


def share_done(text: str) -> float:
    """Return the share of the lines that the live view shows as done."""
    found = re.findall(r"([\d,]+)/([\d,]+) done", text)
    done, total = (int(number.replace(",", "")) for number in found[-1]) if found else (0, 1)
    return done / total


def waits(text: str) -> bool:
    """Return whether the live view shows calls that wait for a cooldown, and failures."""
    return 0.2 < share_done(text) < 0.9 and "cooldown" in text and "failed:" in text


def mix(path: Path) -> None:
    """Write prompts of which some fail, and one is answered by "try again in nine seconds"."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    for place, prompt in ((30, "[[fault:400]]"), (50, "[[fault:400]]"), (90, "[[fault:429=9*1]]")):
        lines.insert(place, json.dumps({"prompt": prompt}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def whole(folder: Path, command: str, columns: int = 100) -> Terminal:
    """Run a command to its end."""
    with terminal(command, columns, folder) as one:
        one.go_on_until()
    return one


def live(folder: Path, columns: int) -> tuple[str, str]:
    """Return the live view of a run in the middle of it, as text and as a picture."""
    command = LIVE.format(columns)
    with terminal(command, columns, folder) as one:
        one.go_on_until(waits)
        kept = one.text, one.picture(f"{columns} columns")
        one.press(CTRL_C)
        time.sleep(0.5)
        one.press(CTRL_C)
    return kept


def stopped(folder: Path) -> Terminal:
    """Run a command, and press Ctrl-C in the middle of it."""
    with terminal(LONG, 100, folder) as one:
        one.go_on_until(lambda text: share_done(text) > 0.4)
        one.press(CTRL_C)
        one.go_on_until()
    return one


def photograph(report: Path) -> list[str]:
    """Take pictures of the report; none if there is no browser."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, scheme, width, height in (
            ("report", "light", 1180, 860),
            ("report-phone", "dark", 390, 860),
        ):
            page = browser.new_page(
                color_scheme=scheme, viewport={"width": width, "height": height}
            )
            page.goto(report.as_uri())
            page.screenshot(path=HERE / f"{name}.png")
            taken.append(f"{name}.png")
        browser.close()
    return taken


TOP = """\
# A recorded session

Written by `nox -s record`: real commands on a real terminal, asked of the simulator on one machine.
The pictures are what the terminal showed; under each is its text.
"""


def main() -> None:
    """Record everything, and write the page."""
    parts = [TOP]

    def add(heading: str, words: str, name: str, text: str, svg: str) -> None:
        (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")
        parts.append(f"## {heading}\n\n{words}\n\n![{heading}](recordings/{name}.svg)\n")
        parts.append(f"```text\n{text}\n```\n")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copy(PROMPTS, folder / "prompts.jsonl")
        mix(folder / "mixed.jsonl")
        first = whole(folder, FIRST)
        add("The first run", "Two hundred prompts, and no key.", "first-run", first.text,
            first.picture("The first run"))  # fmt: skip
        for columns in (120, 80, 40):
            text, svg = live(folder, columns)
            words = "In the middle of a run whose server has just asked for a pause."
            add(f"The live view in {columns} columns", words, f"live-{columns}", text, svg)
        stop = stopped(folder)
        words = f"Calls in flight are finished, no other is begun; the exit code is {stop.code}."
        add("Ctrl-C", words, "stop", stop.text, stop.picture("Ctrl-C"))
        resumed = whole(folder, LONG)
        add("The same command again", "It asks only for what is left.", "resume", resumed.text,
            resumed.picture("The same command again"))  # fmt: skip
        report = whole(folder, REPORT)
        add("The report", "Of both runs.", "report-command", report.text,
            report.picture("The report"))  # fmt: skip
        pictures = photograph(folder / "answers.html")
        parts += [f"![The report](recordings/{picture})\n" for picture in pictures]
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
