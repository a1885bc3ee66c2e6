"""The table of the journal's page, row by row and for all inputs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchllm.core import ConfigError
from batchllm.journal import Choice, Journal, Ledger, Reason, State, read_journal
from batchllm.journal.ledger import Known, decide

P, Q, S, T = b"prompt", b"other", b"strategy", b"another"
DONE, FAILED = Known(State.DONE, P, S), Known(State.FAILED, P, S)


@pytest.mark.parametrize(
    ("known", "prompt", "strategy", "options", "choice", "reason"),
    [
        (None, P, S, {}, Choice.RUN, Reason.NEW),
        (None, P, S, {"maybe_billed": True}, Choice.RUN, Reason.MAYBE_BILLED),
        (DONE, P, S, {}, Choice.TAKE_OVER, Reason.FINISHED),
        (DONE, P, S, {"maybe_billed": True}, Choice.TAKE_OVER, Reason.FINISHED),
        (DONE, Q, S, {}, Choice.RUN, Reason.PROMPT_CHANGED),
        (DONE, Q, T, {"on_changed": "keep"}, Choice.RUN, Reason.PROMPT_CHANGED),
        (DONE, P, T, {}, Choice.REFUSE, Reason.STRATEGY_CHANGED),
        (DONE, P, T, {"on_changed": "rerun"}, Choice.RUN, Reason.STRATEGY_CHANGED),
        (DONE, P, T, {"on_changed": "keep"}, Choice.TAKE_OVER, Reason.FINISHED),
        (DONE, P, S, {"retry_failed": True}, Choice.TAKE_OVER, Reason.FINISHED),
        (FAILED, P, S, {}, Choice.TAKE_OVER, Reason.FAILED_BEFORE),
        (FAILED, P, S, {"retry_failed": True}, Choice.RUN, Reason.RETRY_FAILED),
        (FAILED, P, T, {}, Choice.RUN, Reason.STRATEGY_CHANGED),
        (FAILED, P, T, {"on_changed": "keep"}, Choice.TAKE_OVER, Reason.FAILED_BEFORE),
    ],
)
def test_what_becomes_of_an_item(
    known: Known | None,
    prompt: bytes,
    strategy: bytes,
    options: Any,
    choice: Choice,
    reason: Reason,
) -> None:
    verdict = decide(known, prompt, strategy, **options)
    assert (verdict.choice, verdict.reason) == (choice, reason)


KNOWN = st.builds(
    Known,
    st.sampled_from(State),
    st.sampled_from([None, P, Q]),
    st.sampled_from([S, T]),
)
CHANGED: st.SearchStrategy[Any] = st.sampled_from(["refuse", "rerun", "keep"])


@given(KNOWN | st.none(), st.sampled_from([None, P, Q]), CHANGED, st.booleans(), st.booleans())
def test_an_answer_is_paid_for_twice_only_if_that_was_asked_for(
    known: Known | None, prompt: bytes | None, on_changed: Any, retry: bool, billed: bool
) -> None:
    """An answer to the same prompt runs again for ``on_changed="rerun"`` alone."""
    verdict = decide(
        known, prompt, S, on_changed=on_changed, retry_failed=retry, maybe_billed=billed
    )
    if known is not None and known.state is State.DONE and known.prompt == prompt:
        assert verdict.choice is not Choice.RUN or (on_changed == "rerun" and known.strategy == T)
    if known is None or known.prompt != prompt:
        assert verdict.choice is Choice.RUN


def test_a_ledger_counts_why() -> None:
    ledger = Ledger(retry_failed=False)
    for known in (None, DONE, DONE, FAILED):
        ledger.decide(known, P, S)
    assert ledger.counts == {Reason.NEW: 1, Reason.FINISHED: 2, Reason.FAILED_BEFORE: 1}
    assert ledger.taken_over == 3


def test_how_a_journal_is_given() -> None:
    assert read_journal(None) is None
    assert read_journal("run.db") == Journal("run.db")
    assert read_journal(Journal("run.db", on_resume="skip")) == Journal("run.db", on_resume="skip")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: read_journal(3), "journal is an int; give a path"),
        (lambda: Journal(""), "Journal.path is ''"),
        (lambda: Journal("a", on_resume="again"), "on_resume is 'again'; give 'replay' or 'skip'"),
        (lambda: Journal("a", on_changed="x"), "on_changed is 'x'"),
        (lambda: Journal("a", durability="x"), "durability is 'x'; give 'full' or 'normal'"),
        (lambda: Journal("a", retry_failed=1), "retry_failed is 1, an int; give True or False"),
        (lambda: Journal("a", journal_prompts=None), "journal_prompts is None"),
    ],
)
def test_a_wrong_setting_names_its_remedy(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")):
        make()
