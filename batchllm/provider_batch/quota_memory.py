"""The memory of a quota, in the journal: for the next process, and for a day.

Each refusal by which a limit is found costs a pause of minutes, or a batch that fails hours later.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
from attrs import define, evolve, field

from batchllm.provider_batch.admission import BELIEVED, Learned
from batchllm.provider_batch.board import Board
from batchllm.provider_batch.ledger import BatchLedger
from batchllm.provider_batch.states import Chunk
from batchllm.provider_batch.wires import BatchWire

__all__ = ["QuotaMemory"]

_UNKNOWN: Final = Learned()


@define(eq=False)
class QuotaMemory:
    """Remembers the quota of one account and model.

    Args:
        ledger: Where it is kept.
        wire: Shows the account, and its clock counts.
        board: Its admission learns.
    """

    ledger: BatchLedger
    wire: BatchWire
    board: Board
    _kept: dict[str, Any] = field(factory=dict, init=False)
    _scope: str = field(default="", init=False)
    _saved: Learned = field(default=_UNKNOWN, init=False)

    async def begin(self) -> None:
        """Read what earlier processes have learned, of whichever account."""
        self._kept = json.loads(await self.ledger.quotas() or "{}")

    def recall(self, chunk: Chunk, now: float) -> None:
        """Begin with what is known of the account, once its answers have shown which it is.

        What is older than a day is not believed, nor what is from the future: a clock was wrong.
        """
        scope = f"{self.wire.account} {chunk.model}"
        if scope == self._scope:
            return
        self._scope, given = scope, self._kept.get(scope)
        if given is None:
            return
        known = Learned(**given)
        age = self.board.server_time(now) - known.at
        if not 0.0 <= age <= BELIEVED:
            known = evolve(known, named=None, most=None)
        mine = self.board.admission.learned()
        if mine == _UNKNOWN:  # nothing that is newer
            self._saved = evolve(known, at=now - age)
            self.board.admission.recall(self._saved)

    async def save(self, now: float) -> None:
        """Write down what is new.

        Raises:
            JournalError: It cannot be written.
        """
        learned = self.board.admission.learned()
        if not self._scope or learned == self._saved:
            return
        self._saved = learned
        age = now - learned.at
        row = evolve(learned, at=self.board.server_time(now) - age)
        self._kept[self._scope] = attrs.asdict(row)
        await self.ledger.note_quotas(json.dumps(self._kept))
