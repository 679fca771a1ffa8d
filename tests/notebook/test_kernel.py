"""Training in a Jupyter kernel: one bar, an interrupt that saves, signals, threads."""

import time

import pytest

from conftest import QUICK, SMALL, write_images
from kernels import Kernel, errors, of_kind, printed
from unpaired.checkpoint import checkpoints, read

pytest.importorskip("ipykernel")
pytest.importorskip("torch")

SETUP = f"""
import signal, threading, unpaired
unpaired.console.show()
SMALL, QUICK = {SMALL!r}, {QUICK!r}
def train(out, **values):
    values = SMALL | QUICK | {{"report": "none"}} | values
    return unpaired.train("data", out=out, preset="tiny", engine="torch", **values)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    for seed, split in enumerate(("trainA", "trainB", "testA", "testB")):
        write_images(folder / "data" / split, 4, seed)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / name))
        kernel = Kernel(folder)
    kernel.folder = folder
    try:
        assert not errors(kernel.run(SETUP))
        yield kernel
    finally:
        kernel.close()


def test_a_cell_has_one_bar_that_is_updated_in_place(kernel):
    messages = kernel.run("run = train('one'); run")
    assert not errors(messages)
    (bar,) = of_kind(messages, "display_data")
    name = bar["transient"]["display_id"]
    updates = of_kind(messages, "update_display_data")
    assert {update["transient"]["display_id"] for update in updates} == {name}
    assert "step 20/20" in updates[-1]["data"]["text/plain"]
    assert "/20" not in printed(messages)  # no lines of progress beside it
    (result,) = of_kind(messages, "execute_result")
    assert result["data"]["text/html"].startswith("<iframe")
    streams = of_kind(messages, "stream")
    assert "starting: 20 steps" in "".join(c["text"] for c in streams if c["name"] == "stdout")
    red = "".join(c["text"] for c in streams if c["name"] == "stderr")
    assert all(line.startswith("warning") for line in red.splitlines() if line)


def interrupted(kernel, code, journal):
    """Runs a cell, interrupts it once the journal has grown; returns the one error."""
    before = journal.stat().st_size if journal.exists() else 0
    cell, end = kernel.start(code), time.monotonic() + 60
    while not journal.exists() or journal.stat().st_size <= before:
        assert time.monotonic() < end
        time.sleep(0.05)
    kernel.manager.interrupt_kernel()
    (error,) = errors(kernel.finish(cell))
    return error


def test_an_interrupt_saves_and_the_same_cell_resumes(kernel):
    code, journal = "train('long', steps=1000000)", kernel.folder / "long" / "metrics.jsonl"
    step = 0
    for _ in range(2):
        error = interrupted(kernel, code, journal)
        assert error["ename"] == "Interrupted"
        assert error["traceback"] == [f"Interrupted: {error['evalue']}"]  # one line
        assert "all saved in long" in error["evalue"]
        before, step = step, int(error["evalue"].split()[3])
        assert step > before
        saved = read(max(checkpoints(kernel.folder / "long")))[0].step
        assert saved == step
    # The kernel is as before: the next interrupt is an ordinary one.
    code = "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert printed(kernel.run(code)) == "True\n"


def test_training_in_a_thread_leaves_signals_alone(kernel):
    code = """
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
during, found = [], []
def work():
    try:
        found.append(train('threaded').step)
    except BaseException as error:
        found.append(error)
thread = threading.Thread(target=work)
thread.start()
while thread.is_alive():
    during.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
    thread.join(0.01)
print(found, len(during) > 1, all(each == before for each in during))
"""
    messages = kernel.run(code)
    assert not errors(messages)
    assert "[20] True True" in printed(messages)
    (bar,) = of_kind(messages, "display_data")
    assert "step" in bar["data"]["text/plain"] or of_kind(messages, "update_display_data")


def test_errors_are_one_line(kernel):
    (error,) = errors(kernel.run("unpaired.load('nowhere')"))
    assert error["traceback"] == [f"CheckpointError: {error['evalue']}"]
