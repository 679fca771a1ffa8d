"""Progress by a clock of the test: what is done, the rate, and the time left once it is known."""

import io

import pytest

from unpaired import console
from unpaired.console import GROUND, LINE_EVERY, progress


@pytest.fixture
def clock(monkeypatch):
    """Sets the time; each call passes so many seconds."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def test_the_first_unit_is_no_ground_for_an_estimate(clock, shown):
    """Compilation takes a minute, each further image 2 s: 1,999 of them take 67 minutes."""
    with progress("images", 2000) as meter:
        clock(60)
        meter.advance()
        assert shown() == "images 1/2000\n"
        clock(LINE_EVERY + 1)
        meter.update(9)
        assert shown() == "images 9/2000, 0.5 images/s, 66 min left\n"


def test_a_resumed_training_is_estimated_by_its_own_steps(clock, shown):
    with progress("step", 1000, first=900) as meter:
        clock(40)
        meter.update(901, units=2)
        assert shown() == "step 901/1000\n"
        clock(20)
        meter.update(911, units=2)
        assert shown() == "step 911/1000, 1 images/s, 3 min left\n"


def test_no_estimate_before_there_is_ground(clock, shown):
    with progress("images", 100) as meter:
        clock(LINE_EVERY)
        meter.update(0)
        assert shown() == "images 0/100\n"
        clock(LINE_EVERY)
        meter.update(10)
        assert shown() == "images 10/100\n"
        clock(LINE_EVERY)
        meter.update(10)  # nothing more was done
        assert shown() == "images 10/100\n"


@pytest.mark.parametrize("seconds", [GROUND / 2, GROUND])
def test_ground_is_a_time_of_measuring(clock, shown, seconds):
    with progress("images", 100) as meter:
        clock(LINE_EVERY - seconds)
        meter.update(1)
        clock(seconds)
        meter.update(2)
        assert ("left" in shown()) == (seconds == GROUND)


def test_a_download_that_continues_counts_what_it_brings(clock, shown):
    with progress("fetching set", unit="bytes") as meter:
        meter.first = 5_000_000  # the part that is there
        meter.update(5_000_000, 9_000_000)
        clock(10)
        meter.update(6_000_000)
        clock(10)
        meter.update(7_000_000)
        assert shown() == "fetching set 7000000/9000000, 100000 bytes/s, 20 s left\n"


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self):
        return True


def test_nested_progress_shares_one_display(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    console.show()
    with progress("measuring", 3) as outer:
        with progress("translating", 8) as inner:
            assert inner.bar is outer.bar is not None
            assert [task.description for task in outer.bar.tasks] == ["measuring", "translating"]
        assert [task.description for task in outer.bar.tasks] == ["measuring"]
        outer.advance()
    with progress("images", 2) as later:
        assert later.bar is not outer.bar
    assert console._bar is None


def test_records_are_escaped_for_every_handler(caplog):
    caplog.set_level("INFO", logger="unpaired")
    console.log.info("cannot read %s:\n  %s", "a\x1b[2J", "caf\udce9")
    assert caplog.messages == ["cannot read a\\x1b[2J:\n  caf\\xe9"]
