"""Ctrl-C and SIGTERM as requests, granted once the state is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unpaired.console import log

__all__ = ["StopRequest", "stop_on_signals"]


class StopRequest:
    """A request to stop; `asked` turns true when a signal arrives."""

    asked = False


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request and logs it; a second signal acts as usual.

    Only the main thread receives signals; called from another thread this does nothing.
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
        log.info("stopping after this step; a second signal stops at once and loses unsaved steps")
        for each, handler in before.items():  # of the other signal, too: either is the second
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
