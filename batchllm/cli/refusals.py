"""The lines that cannot be sent, as the user is shown them."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from batchllm.cli.displays import Display
from batchllm.cli.source import Taken

__all__ = ["Refusals"]

_SHOWN: Final = 20
"""Lines; a file of the wrong kind has a refused line for each of its own."""


@define(eq=False)
class Refusals:
    """Shows each refused line, the first ones.

    Args:
        display: Where.
        guesses_format: Whether the format of standard input was not said.
    """

    display: Display
    guesses_format: bool
    _count: int = field(default=0, init=False)

    def add(self, taken: Taken, error: str) -> None:
        """Show why a line was not sent.

        Args:
            taken: The line.
            error: As its row has it, with its number in front.
        """
        self._count += 1
        if self._count <= _SHOWN:
            self.display.note(f"{taken.place}: not sent: {error.partition(': ')[2]}")
        elif self._count == _SHOWN + 1:
            self.display.note("further lines that cannot be sent are in the output only")
        problem = str(taken.line.problem)
        if self.guesses_format and taken.source == "standard input" and "not JSON" in problem:
            self.guesses_format = False
            self.display.note(
                "standard input is read as JSON lines; if it is something else, give "
                "--input-format text, csv or tsv"
            )
