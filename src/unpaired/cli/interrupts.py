"""Signals that end the program: SIGTERM is treated as Ctrl-C, and a second one ends it at once."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["end_on_signals", "leave"]


def end_on_signals(*, at_once: bool = False) -> None:
    """Has SIGINT and SIGTERM raise KeyboardInterrupt, for the rest of the process.

    With `at_once` there is nothing to clear up yet, and the first signal ends it: an exception
    may be lost while modules are imported. Without, what is half done is cleared up. A further
    signal does not wait for that: the process ends with exit code 130, and what it leaves is swept
    by the next command. Signals that are ignored, as `nohup` and `&` want it, stay ignored.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if at_once:
            os.write(2, b"unpaired: interrupted\n")
            os._exit(130)
        if interrupted:
            cursor = "\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides it
            os.write(2, f"{cursor}unpaired: stopped at once\n".encode())
            os._exit(130)
        interrupted = True
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def leave(code: int) -> NoReturn:
    """Ends the process at once: while Python shuts down, a further signal would kill it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
