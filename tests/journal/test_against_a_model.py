"""The file against a dictionary: whatever is written, killed and opened again, they agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from batchllm.journal import Choice, Ledger, Registrar, Store
from batchllm.journal.entries import Entry, committed
from batchllm.journal.groups import CallBegun, Group
from batchllm.journal.store import Opened
from tests.examples import examples
from tests.journal.kit import Named, failure, ok

NAMES = st.sampled_from(["a", "b", "c", None])
PROMPTS = st.sampled_from(["p", "q"])
TEMPERATURES = st.sampled_from([0.0, 0.5])


class JournalAgainstModel(RuleBasedStateMachine):
    """A store under test; ``written`` is what it must know, ``waiting`` the group that gathers."""

    entries = Bundle("entries")

    @initialize(temperature=TEMPERATURES)
    def begin(self, temperature: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "run.db"
        self.written: dict[tuple[str, str], tuple[bool, bytes | None, bytes]] = {}
        self.waiting = Group()
        self.open_calls: set[tuple[str, str]] = set()
        self.begun: dict[int, tuple[str, str]] = {}
        self.open(temperature)

    def open(self, temperature: float) -> None:
        self.store = Store(self.path)
        self.opened: Opened = self.store.open("1", None, None)
        self.next_call = self.opened.next_call
        self.registrar = Registrar(self.opened.salt, Named(temperature))
        assert self.opened.finished == len(self.written)
        assert self.opened.maybe_billed == self.open_calls

    @rule(target=entries, name=NAMES, prompt=PROMPTS)
    def enter(self, name: str | None, prompt: str) -> Entry:
        return self.registrar.enter(name, prompt, 0)

    @rule(entry=entries)
    def call(self, entry: Entry) -> None:
        entry.calls.append(self.next_call)
        self.waiting.begun[self.next_call] = CallBegun(self.next_call, entry.key, 1, 5.0)
        self.next_call += 1

    @rule(entry=entries, good=st.booleans())
    def commit(self, entry: Entry, good: bool) -> None:
        result = ok("x") if good else failure("x")
        row = committed(entry, result, now=5.0, pending=False, keep_inputs=True, row_end=None)
        calls, entry.calls = [call for call in entry.calls if call in self.known_calls()], []
        self.waiting.commit(row, entry.identity.text, calls)

    def known_calls(self) -> set[int]:
        return {*self.begun, *self.waiting.begun}

    @rule()
    def write(self) -> None:
        group, self.waiting = self.waiting, Group()
        self.store.write(group)
        self.begun |= {call: row.key for call, row in group.begun.items()}
        for call in group.answered:
            del self.begun[call]
        for row in group.results:
            self.written[row.key] = (row.state == 1, row.prompt, row.strategy)
        self.open_calls = set(self.begun.values())

    @rule(temperature=TEMPERATURES)
    def close_in_order(self, temperature: float) -> None:
        self.store.close("done", "", "{}")
        self.waiting = Group()
        self.open(temperature)

    @rule(temperature=TEMPERATURES)
    def be_killed(self, temperature: float) -> None:
        """The driver's row stays, as of a process that is gone."""
        self.store._db.execute("UPDATE driver SET pid = 1073741824, host = 'gone', beat = 0")
        self.store._drop()
        self.waiting = Group()
        self.open(temperature)

    @rule(
        entry=entries,
        on_changed=st.sampled_from(["refuse", "rerun", "keep"]),
        retry=st.booleans(),
    )
    def decide(self, entry: Entry, on_changed: str, retry: bool) -> None:
        known = self.store.known([entry.key]).get(entry.key)
        ledger = Ledger(on_changed, retry)  # type: ignore[arg-type]
        choice = ledger.decide(known, entry.prompt, entry.identity.digest).choice
        there = self.written.get(entry.key)
        if there is None or there[1] != entry.prompt:
            assert choice is Choice.RUN
            return
        good, _, strategy = there
        other = strategy != entry.identity.digest and on_changed != "keep"
        if good:
            refused = Choice.RUN if on_changed == "rerun" else Choice.REFUSE
            assert choice is (refused if other else Choice.TAKE_OVER)
        else:
            assert choice is (Choice.RUN if other or retry else Choice.TAKE_OVER)

    @invariant()
    def the_file_is_the_model(self) -> None:
        if hasattr(self, "store"):
            keys = [("", "=a"), ("", "=b"), ("", "=c"), *self.written]
            known = self.store.known(keys)
            assert {key: (k.state == 1, k.prompt, k.strategy) for key, k in known.items()} == (
                self.written
            )

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


TestJournal = JournalAgainstModel.TestCase
TestJournal.settings = settings(max_examples=examples(25), stateful_step_count=30, deadline=None)
