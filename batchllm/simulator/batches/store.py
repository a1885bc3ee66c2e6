"""The batches of a simulated provider: what all its wires share."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

from attrs import define, evolve, field

from batchllm.simulator.batches.behaviour import BatchBehaviour, InvoiceLine, Mishap
from batchllm.simulator.batches.execution import Executed, execute
from batchllm.simulator.batches.jobs import Job, Request
from batchllm.simulator.scenarios import Scenario
from batchllm.simulator.wires import Chunk, Ending, Wire, WireReply, WireRequest, count_tokens

__all__ = ["BatchApi", "Batches", "short"]


class BatchApi(Protocol):
    """One provider's way to be asked about batches."""

    def matches(self, request: WireRequest) -> bool:
        """Return whether a request is for this API."""
        ...

    def call_of(self, request: WireRequest) -> str:
        """Return which kind of call it is: create, get, list and so on."""
        ...

    def answer(self, request: WireRequest, call: str, account: str, now: float) -> WireReply:
        """Do what is asked, and answer."""
        ...

    def error(self, status: int, code: str, message: str, now: float) -> WireReply:
        """Answer with an error."""
        ...


@define(eq=False)
class Batches:
    """Batches of all accounts; they stay for as long as the simulator does.

    Args:
        scenario: The simulator's.
        seed: The simulator's.
        wires: The simulator's, which execute the requests.
        behaviour: How batches go; it may be changed, for those that are created afterwards.

    Attributes:
        mishaps: What goes wrong with control calls; it may be added to.
        invoice: Every request that was executed and billed.
        calls: How often each kind of call came.
        by_id: Every batch.
    """

    scenario: Scenario
    seed: int
    wires: Iterable[Wire]
    behaviour: BatchBehaviour = field(factory=BatchBehaviour)
    mishaps: list[Mishap] = field(factory=list, init=False)
    invoice: list[InvoiceLine] = field(factory=list, init=False)
    calls: dict[str, int] = field(factory=dict, init=False)
    by_id: dict[str, Job] = field(factory=dict, init=False)
    _paid: dict[str, int] = field(factory=dict, init=False)

    @property
    def jobs(self) -> list[Job]:
        """Every batch, the oldest first."""
        return list(self.by_id.values())

    def catch_up(self, now: float) -> None:
        """Let every batch execute what is due."""
        for job in self.by_id.values():
            job.catch_up(now)

    def handle(self, api: BatchApi, request: WireRequest, key: str, now: float) -> WireReply:
        """Answer one request.

        Args:
            api: Which it is for.
            request: As it came.
            key: Whose.
            now: Seconds since 1970.
        """
        self.catch_up(now)
        call = api.call_of(request)
        self.calls[call] = self.calls.get(call, 0) + 1
        accounts = self.behaviour.accounts
        account = accounts.get(key) or f"org-{short(key)}"
        # The bytes of an upload that has begun come without a key: its address is a secret itself.
        known = call == "put" or key in (self.scenario.api_key, *accounts)
        if self.scenario.api_key is not None and not known:
            return api.error(401, "invalid_api_key", "Incorrect API key provided.", now)
        mishap = next((one for one in self.mishaps if one.strikes(call)), None)
        trouble = "" if mishap is None else mishap.trouble
        if trouble and not trouble.startswith("ghost") and trouble != "cut":
            return _trouble(api, trouble, now, mishap)
        reply = api.answer(request, call, account, now)
        match trouble:
            case "ghost-500":
                return _trouble(api, "500", now, mishap)
            case "ghost-reset":
                return _trouble(api, "reset", now, mishap)
            case "ghost-hang":
                return WireReply(status=200, sends_head=False, ending=Ending.STALL)
            case "ghost-cut" | "cut":
                return _cut(reply)
            case _:
                return reply

    # -- batches ---------------------------------------------------------------------------------

    def create(
        self,
        kind: str,
        account: str,
        requests: list[Request],
        problems: list[dict[str, Any]],
        details: dict[str, Any],
        now: float,
    ) -> Job:
        """Make a batch, which begins by itself.

        Args:
            kind: The beginning of its id.
            account: Whose.
            requests: In order.
            problems: What validation says against it.
            details: For its wire.
            now: Seconds since 1970.
        """
        tokens = sum(count_tokens(one.body.decode("utf-8", "replace")) for one in requests)
        batch_id = f"{kind}{short(f'{self.seed}/{len(self.by_id)}/{account}/{now}')}"
        job = Job(
            id=batch_id,
            account=account,
            created=now,
            behaviour=self.behaviour,
            requests=requests,
            problems=problems or self._over_the_limit(account, tokens, now),
            execute=partial(self._execute, batch_id, account),
            tokens=tokens,
            details=details,
        )
        self.by_id[batch_id] = job
        return job

    def find(self, batch_id: str, account: str, now: float) -> Job | None:
        """Return a batch that an account may see by now."""
        job = self.by_id.get(batch_id)
        return job if job in self.listed(account, now) else None

    def listed(self, account: str, now: float) -> Sequence[Job]:
        """Return the batches that an account may see by now, the newest first."""
        return [
            job
            for job in reversed(self.by_id.values())
            if job.account == account and now - job.created >= self.behaviour.list_lag
        ]

    def page(
        self,
        account: str,
        now: float,
        *,
        after: str | None,
        limit: int,
        describe: Callable[[Job, float], dict[str, Any]],
    ) -> dict[str, Any]:
        """Return a page of the batches that an account may see by now, the newest first.

        Args:
            account: Whose.
            now: Seconds since 1970.
            after: The id of the last batch of the page before; any other begins anew.
            limit: Of the page.
            describe: Writes one batch.
        """
        found = self.listed(account, now)
        ids = [job.id for job in found]
        if after in ids:
            found = found[ids.index(after) + 1 :]
        page = [describe(job, now) for job in found[:limit]]
        return {
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(found) > limit,
        }

    def enqueued(self, account: str, now: float) -> float:
        """Return the prompt tokens of an account that have not ended."""
        return sum(
            job.tokens
            for job in self.by_id.values()
            if job.account == account and not job.problems and not job.has_ended(now)
        )

    def _over_the_limit(self, account: str, tokens: float, now: float) -> list[dict[str, Any]]:
        limit = self.behaviour.token_limit
        if limit is None or self.enqueued(account, now) + tokens <= limit:
            return []
        said = f" Limit: {limit:,.0f} enqueued tokens." if self.behaviour.says_limit else ""
        text = (
            f"Enqueued token limit reached for this model in organization {account}.{said} Please "
            "try again once some in_progress batches have been completed."
        )
        return [{"code": "token_limit_exceeded", "message": text, "line": None, "param": None}]

    def _execute(self, batch_id: str, account: str, path: str, body: bytes, name: str) -> Executed:
        done = execute(self.wires, self.scenario, self.seed, path, body, name)
        paid = self._paid.get(account, 0)
        if self.behaviour.credit is not None and paid >= self.behaviour.credit:
            error = {"code": "billing_hard_limit_reached", "message": "Billing hard limit reached"}
            return Executed(429, json.dumps({"error": error}).encode(), "credit")
        if done.status == 200 and done.answer is not None and done.call is not None:
            self._paid[account] = paid + 1
            answer = done.answer
            tokens = answer.input_tokens + answer.output_tokens
            self.invoice.append(
                InvoiceLine(
                    batch=batch_id,
                    custom_id=name.split("-", 2)[2],
                    model=done.call.model,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                    dollars=tokens * self.behaviour.price / 2,
                )
            )
        # Its prompt is in the call, and would stay for as long as the batch does.
        return evolve(done, call=None, answer=None)


def _trouble(api: BatchApi, trouble: str, now: float, mishap: Mishap | None) -> WireReply:
    match trouble:
        case "reset":
            return WireReply(status=200, sends_head=False, ending=Ending.DISCONNECT)
        case "not-sent":
            return WireReply(status=200, connects=False, sends_head=False, ending=Ending.DISCONNECT)
        case _:
            reply = api.error(int(trouble), f"asked_for_{trouble}", "It was asked for.", now)
            if mishap is None or mishap.asks is None:
                return reply
            return evolve(reply, headers=(*reply.headers, ("retry-after", f"{mishap.asks:.0f}")))


def _cut(reply: WireReply) -> WireReply:
    body = b"".join(chunk.data for chunk in reply.chunks)
    return WireReply(
        status=reply.status,
        headers=reply.headers,
        chunks=(Chunk(0.0, body[: len(body) // 2]),),
        ending=Ending.DISCONNECT,
    )


def short(text: str) -> str:
    """Return sixteen characters that stand for a text; no hyphen is among them."""
    return blake2b(text.encode(), digest_size=8).hexdigest()
