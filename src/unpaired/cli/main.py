"""The command line: `main`, exit codes, and what standard output cannot take.

Nothing but this is imported before signals are handled: the parser takes a third of a second.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from unpaired.cli.interrupts import end_on_signals, leave
from unpaired.errors import ToldElsewhere, UnpairedError, shown

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Returns:
        0: done; 1: some inputs failed; 2: rejected, nothing was lost; 130: interrupted; 141: the
        reader of the output has gone.
    """
    if arguments is not None:  # a call in another program, whose signals are its own
        return _exit_code(list(arguments), program=False)
    try:
        end_on_signals(at_once=True)
        code = _exit_code(sys.argv[1:], program=True)
    except KeyboardInterrupt:  # while the end of the work was reported
        code = 130
    if code == 130:
        leave(code)
    return code


def _exit_code(words: Sequence[str], *, program: bool) -> int:
    debug = os.environ.get("UNPAIRED_DEBUG") == "1"
    try:
        try:
            _run(words, program)
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except UnpairedError as error:
        if debug:
            raise
        if not isinstance(error, ToldElsewhere):
            _tell(error)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _discard_output()
        return 141
    except OSError as error:
        if debug:
            raise
        if isinstance(error.__context__, UnpairedError):  # of the work itself
            _tell(error.__context__)
        what = "write the output" if error.filename is None else f"use {error.filename}"
        _tell(f"cannot {what}: {(error.strerror or str(error)).lower()}")
        _discard_output()
        return 2
    except MemoryError:
        if debug:
            raise
        _tell("out of memory: free some, or give smaller images, batches or networks")
        return 2
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    return 0


def _run(words: Sequence[str], program: bool) -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us: the next file would be taken
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            # A name that the terminal cannot show is no failure.
            stream.reconfigure(errors="backslashreplace")

    from unpaired.cli.parser import parse

    verb = parse(words)
    if program:
        end_on_signals()
    verb()


def _tell(line: object) -> None:
    text = f"unpaired: {line}"
    lines = text.split("\n") if isinstance(line, UnpairedError) and line.lists else [text]
    text = "\n".join(map(shown, lines))
    with contextlib.suppress(OSError):  # a full disk, a closed terminal
        print(text, file=sys.stderr, flush=True)


def _discard_output() -> None:
    """Lets nothing fail again at the end of the process, when what is left is written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
