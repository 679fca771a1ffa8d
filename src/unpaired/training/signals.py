"""Ctrl-C and SIGTERM asked to wait until the state is saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "stop_on_signals"]


class StopRequest:
    """Whether somebody asked the work to stop."""

    asked = False


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request and says so; a second one acts as it always does.

    Signals reach the main thread alone; called from another one this does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN  # as `nohup` and `&` want it
    }

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        say("stopping after this step; once more stops at once and loses what is not saved")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
