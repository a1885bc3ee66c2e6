"""The terminal of a process, which it takes before it is the program."""

from __future__ import annotations

import fcntl
import os
import termios


def take_terminal() -> None:
    """Make the terminal on standard input the one that controls the process."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
