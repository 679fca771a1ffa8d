"""What the fuzzers share: a seed and a time limit for each case, and mutated bytes."""

import json
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

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


def limit_memory(mebibytes):
    """Lets this process take so much more from now on: beyond it, memory is refused."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (mebibytes << 20), resource.RLIM_INFINITY))


def in_processes(file, cases, batch=500):
    """Runs `run(first, count)` of a test's file in processes of their own; adds their outcomes.

    Short runs have the seeds from 0 on, long ones begin at a random one, which is printed.
    """
    module, folder = Path(file).stem, str(Path(file).parent)
    first = random.randrange(10**9) if cases > 1000 else 0
    print(f"first seed {first}")
    total = Counter()
    for start in range(first, first + cases, batch):
        count = min(batch, first + cases - start)
        code = f"import json, sys; sys.path[:0] = {sys.path!r}; sys.path[:0] = [{folder!r}]\n"
        code += f"import {module}; print(json.dumps({module}.run({start}, {count})))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60 + 2 * count
        )
        assert done.returncode == 0, f"seeds from {start}: {done.stderr[-2000:]}"
        total.update(json.loads(done.stdout.splitlines()[-1]))
    print(dict(total))
    return total
