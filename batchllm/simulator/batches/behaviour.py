"""The behaviour of a simulated batch API: how long batches take, and what goes wrong with them."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from attrs import define, field, frozen, validators

Call = Literal["upload", "put", "find", "create", "get", "list", "cancel", "content"]
Trouble = Literal[
    "ghost-500",
    "ghost-reset",
    "ghost-cut",
    "ghost-hang",
    "500",
    "reset",
    "404",
    "429",
    "401",
    "402",
    "400",
    "cut",
    "not-sent",
]

_seconds = validators.ge(0.0)


@frozen(kw_only=True)
class BatchBehaviour:
    """The life of batches.

    Args:
        queue: Seconds in validation.
        run: Seconds in which the requests are executed, evenly.
        finalizing: Seconds from the last request to the results; infinite for a batch that hangs.
        window: Seconds after which a batch expires; infinite if it never does.
        cancel: Seconds from a cancellation to its end.
        cancel_races: Whether a batch that would have ended meanwhile is completed all the same.
        token_limit: Prompt tokens that an account may have enqueued; more fail after the create.
        says_limit: Whether the failure names that limit.
        list_lag: Seconds until a batch is listed, and found by its id.
        no_errors: The id of an error file that is not there: null, an empty text, or a file of no
            bytes.
        shuffled: Whether results come in another order than the requests.
        repeated: Results that come twice.
        strange: Results of no request.
        swapped: Pairs of requests that get each other's answers.
        price: Dollars for a token, in and out alike.
        accounts: The organisation of each key; by default each key is one of its own.
        results_elsewhere: Whether the address of results is on another host.
        credit: Requests that an account can pay for; each one more is answered with a billing
            error.
        keeps_parts: Whether a batch of Gemini's that was cancelled or expired has results of what
            it did; those of the others always have.
        is_bare: Whether Gemini describes a batch without an operation around it.
        oldest_first: Whether Gemini lists the oldest batch first; no order of it is documented.
        lists_results: Whether Gemini's list has the names of results.
        files_kept: Seconds for which files are kept; infinite if they always are.
    """

    queue: float = field(default=60.0, validator=_seconds)
    run: float = field(default=60.0, validator=_seconds)
    finalizing: float = field(default=1.0, validator=_seconds)
    window: float = field(default=86_400.0, validator=_seconds)
    cancel: float = field(default=5.0, validator=_seconds)
    cancel_races: bool = False
    token_limit: float | None = None
    says_limit: bool = True
    list_lag: float = 0.0
    no_errors: Literal["null", "empty", "zero-bytes"] = "null"
    shuffled: bool = False
    repeated: int = 0
    strange: int = 0
    swapped: int = 0
    price: float = 1e-6
    accounts: Mapping[str, str] = field(factory=dict)
    results_elsewhere: bool = False
    credit: int | None = None
    keeps_parts: bool = True
    is_bare: bool = False
    oldest_first: bool = False
    lists_results: bool = True
    files_kept: float = math.inf


@define(eq=False)
class Mishap:
    """Something that goes wrong with some control calls.

    Args:
        call: With which.
        trouble: What. A ghost has done what was asked, and its answer is lost.
        times: How often.
        after: Calls that go well before.
        asks: Seconds that an answer with an error asks to wait; ``None`` if it asks nothing.
    """

    call: Call
    trouble: Trouble
    times: int = 1
    after: int = 0
    asks: float | None = None

    def strikes(self, call: str) -> bool:
        """Return whether it goes wrong with this call, and count it."""
        if call != self.call or self.times <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@frozen(kw_only=True)
class InvoiceLine:
    """One request that was executed and billed."""

    batch: str
    custom_id: str
    model: str
    input_tokens: int
    output_tokens: int
    dollars: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "batch": self.batch,
            "custom_id": self.custom_id,
            "model": self.model,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "dollars": self.dollars,
        }
