"""What the fuzzers share: a seed and a time limit for each case, and mutated bytes."""

import random
import resource
import signal
from contextlib import contextmanager

import pytest


def seeds(short, long):
    """Numbers of cases: `short` in every run, `long` nightly."""
    return [short, pytest.param(long, marks=pytest.mark.nightly)]


@contextmanager
def case(seed, seconds=10):
    """One case: its random numbers. It fails if it takes longer; a failure shows the seed."""

    def late(number, frame):
        pytest.fail(f"seed {seed}: not done after {seconds} s")  # no Exception: nobody catches it

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield random.Random(seed)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit(mebibytes):
    """The peak of the process's memory may rise by so much; an exact limit would kill threads."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < mebibytes << 10


def require_one_line(error):
    """An error of ours is a line that a terminal can show."""
    assert str(error).isprintable()
    assert len(str(error)) < 500


def mutated(draw, data):
    """Bytes with some of them changed, cut, doubled or moved."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(data) + 1)
        length = draw.choice([1, 1, 2, 4, 30])
        kind = draw.choice(["change", "change", "zero", "full", "cut", "insert", "double", "end"])
        if kind == "change":
            data[at : at + length] = draw.randbytes(length)
        elif kind in ("zero", "full"):
            data[at : at + length] = (b"\0" if kind == "zero" else b"\xff") * length
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw.randbytes(length)
        elif kind == "double":
            data[at:at] = data[max(at - length, 0) : at]
        elif draw.random() < 0.2:
            del data[at:]
    return bytes(data)
