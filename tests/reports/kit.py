"""Parts that tests of reports share: journals of runs, and a page taken apart."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from attrs import define, field

from batchllm.api import run_batch
from batchllm.core import LLMCallStrategy, ProcessorConfig, ProviderError, RetryConfig
from batchllm.journal import Journal
from batchllm.testing import open_inline_worker, virtual_run

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>\u2028 &"
KEY = "sk-verysecret0123456789"
QUICK = ProcessorConfig(max_workers=4, retry=RetryConfig(max_attempts=2, jitter=False))

SAID = {
    "model": "gpt-a",
    "finish_reason": "stop",
    "reasoning": f"I think {HOSTILE}",
    "tool_calls": [{"id": "c1", "name": "find", "arguments": {"q": HOSTILE}}],
    "citations": [
        {"url": "https://example.org/a", "title": "A"},
        {"url": "javascript:alert(1)", "title": "B"},
    ],
    "logprobs": [
        {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -2.5}]}
    ],
    "safety_ratings": {"harassment": "low"},
}


class Asked(LLMCallStrategy[Any]):
    """Answers with what a provider can say; a prompt with "bad" in it fails."""

    async def execute(self, prompt: Any, attempt: int, timeout: float) -> Any:
        if "bad" in str(prompt):
            raise ProviderError(f"answered 400: {HOSTILE} key {KEY}", status=400)
        usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        return f"echo {prompt} \ud800", usage, SAID


def journal_of(path: Path, items: Any, **more: Any) -> Path:
    """Run items in virtual time with a journal at *path*."""
    strategy = more.pop("strategy", None) or Asked()

    async def run() -> None:
        journal = Journal(path, worker=open_inline_worker, **more)
        await run_batch(items, strategy, config=QUICK, journal=journal)

    virtual_run(run)
    return path


@define(eq=False)
class Page(HTMLParser):
    """The elements of a page, in order, and the texts of its scripts."""

    page: str
    tags: list[tuple[str, dict[str, str | None]]] = field(factory=list, init=False)
    scripts: list[str] = field(factory=list, init=False)
    styles: list[str] = field(factory=list, init=False)
    text: str = field(default="", init=False)
    _inside: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__()
        self.feed(self.page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.styles.append(data)
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        """Return what its script reads."""
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    def item(self, item_id: str) -> dict[str, Any]:
        """One of the items that can be searched."""
        return next(one for one in self.data["items"] if one["id"] == item_id)
