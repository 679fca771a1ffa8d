"""Workers that die, hang or do not start, and the end of a server."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving_servers import WORKER, pixels, png, served
from unpaired.errors import RunError
from unpaired.serving import serve
from unpaired.serving.limits import ServeLimits
from unpaired.serving.messages import Settings

KILLS, HANGS = 255, 254  # levels of images: see serving_worker.py


def until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_image_that_kills_the_worker_fails_alone():
    with served(("held",), in_flight=100) as server:
        server.hold()
        levels = [10, KILLS, 20, 30]
        jobs = [server.job(png(level, side=256)).json()["id"] for level in levels]
        server.release()
        told = [server.wait(id, 60) for id in jobs]
        assert [each["state"] for each in told] == ["done", "failed", "done", "done"]
        assert told[1]["error"] == "the worker died on this image 3 times"
        assert server.client.get(f"/v1/jobs/{jobs[1]}/result").status_code == 500
        for level, id in ((10, jobs[0]), (20, jobs[2])):
            result = server.client.get(f"/v1/jobs/{id}/result").content
            np.testing.assert_array_equal(pixels(result), 255 - pixels(png(level, side=256)))
        assert server.metric("unpaired_worker_restarts") == 3


def test_an_image_that_takes_too_long_fails_and_the_others_are_done():
    with served(batch_seconds=1, in_flight=100) as server:
        jobs = [server.job(png(level, side=256)).json()["id"] for level in (10, HANGS, 20)]
        told = [server.wait(id, 60) for id in jobs]
        assert [each["state"] for each in told] == ["done", "failed", "done"]
        assert told[1]["error"] == "the network took longer than 1 s: make the image smaller"


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.nightly)])
def test_kill_at_random_moments(kills):
    """Every accepted image is done, or is told to have failed."""
    random.seed(kills)
    with served(in_flight=1000, queue=1000) as server:
        bodies = {}
        stop = threading.Event()

        def send():
            number = 1
            while not stop.is_set():
                number += 1
                body = png(-number)
                answer = server.job(body)
                if answer.status_code == 202:
                    bodies[answer.json()["id"]] = body
                time.sleep(0.01)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            for kill in range(kills):
                time.sleep(random.uniform(0, 0.3))
                os.kill(server.worker.pid, signal.SIGKILL)
                until(lambda kill=kill: server.worker.restarts > kill and server.worker.alive)
        finally:
            stop.set()
            sending.join()
        told = {id: server.wait(id, 60) for id in bodies}
        states = [each["state"] for each in told.values()]
        assert set(states) <= {"done", "failed"}
        assert states.count("failed") <= kills
        for id, body in bodies.items():
            if told[id]["state"] == "done":
                result = server.client.get(told[id]["result"]).content
                np.testing.assert_array_equal(pixels(result), 255 - pixels(body))


def test_a_stopped_worker_is_not_ready_and_is_replaced(monkeypatch):
    from unpaired.serving.front import process

    monkeypatch.setattr(process, "_SILENCE", 3.0)
    with served() as server:
        os.kill(server.worker.pid, signal.SIGSTOP)
        until(lambda: server.client.get("/readyz").status_code == 503)
        assert server.client.get("/healthz").status_code == 200
        assert server.translate(png(-1)).status_code == 200
        assert server.worker.restarts == 1


def test_two_workers_share_the_work_and_one_may_die():
    """As of two devices: both translate at once; what the dead one had is done by it or the other.

    A batch is one image of 256 px here, so four images in networks that wait are two a worker.
    """
    with served(("held",), workers=2, in_flight=100) as server:
        until(lambda: all(worker.alive for worker in server.running.dispatcher.workers))
        first, second = server.running.dispatcher.workers
        assert first.pid != second.pid
        server.hold()
        bodies = [png(-number - 1, side=256) for number in range(8)]
        jobs = [server.job(body).json()["id"] for body in bodies]
        assert (first.load, second.load) == (4, 4)
        until(lambda: states(server, jobs).count("running") >= 2)
        os.kill(second.pid, signal.SIGKILL)
        until(lambda: second.restarts == 1)
        assert server.client.get("/readyz").status_code == 200
        server.release()
        told = [server.wait(id, 60) for id in jobs]
        assert [each["state"] for each in told] == ["done"] * 8
        for body, each in zip(bodies, told, strict=True):
            result = server.client.get(each["result"]).content
            np.testing.assert_array_equal(pixels(result), 255 - pixels(body))
        assert (first.restarts, second.restarts) == (0, 1)
        assert server.metric("unpaired_worker_restarts") == 1


def states(server, jobs):
    return [server.client.get(f"/v1/jobs/{id}").json()["state"] for id in jobs]


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path):
    """By the worker that loads models, without a framework: there is nothing to load."""
    from unpaired.serving.front import process

    settings = Settings((("mine", str(tmp_path / "none")),), 100, 100, 10**9)
    running = serve.start(settings.models, [settings], ServeLimits(), serve.Address(port=0))
    assert process.COMMAND[-1] == "unpaired.serving.worker.main"
    import asyncio

    with pytest.raises(RunError, match="none does not exist: give a run folder"):
        asyncio.run(running.run(signals=False))


CODE = """
import asyncio, sys
from unpaired import console
from unpaired.serving.front import process
from unpaired.serving.limits import ServeLimits
from unpaired.serving.messages import Settings
from unpaired.serving.serve import Address, start

console.show()
process.COMMAND = tuple(sys.argv[2:])
models = (("held", sys.argv[1]),)
settings = Settings(models, 10**6, 10**4, 10**9)
asyncio.run(start(models, [settings], ServeLimits(in_flight=100), Address(port=0)).run())
"""


@pytest.fixture
def program(tmp_path):
    """A server in a process of its own: the process, its address, and the gate of its network."""
    gate = tmp_path / "gate"
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(gate), *WORKER], stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    assert line.startswith("1 model (held) at http://127.0.0.1:"), line
    yield process, line.split()[-1], gate
    process.kill()
    process.wait()
    process.stderr.close()


def test_sigterm_finishes_what_was_accepted(program):
    process, url, gate = program
    with httpx.Client(base_url=url, timeout=30) as client:
        gate.touch()
        bodies = [png(-number - 1, side=256) for number in range(5)]
        ids = [client.post("/v1/jobs?to=b", content=body).json()["id"] for body in bodies]
        process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/readyz").status_code == 503)
        answer = client.post("/v1/jobs?to=b", content=bodies[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        gate.unlink()
        for id, body in zip(ids, bodies, strict=True):
            until(lambda id=id: client.get(f"/v1/jobs/{id}").json()["state"] == "done")
            result = client.get(f"/v1/jobs/{id}/result").content
            np.testing.assert_array_equal(pixels(result), 255 - pixels(body))
    assert process.wait(30) == 0
    assert "ending: 5 jobs to finish first" in process.stderr.read()


def test_a_second_signal_ends_it_at_once(program):
    process, url, gate = program
    gate.touch()
    assert httpx.post(f"{url}/v1/jobs?to=b", content=png(-1)).status_code == 202
    process.send_signal(signal.SIGTERM)
    assert "ending: 1 job" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_worker_ends_with_its_front(program):
    process, _, _ = program
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("no /proc here")
    (worker,) = children.read_text().split()
    process.kill()
    process.wait()
    until(lambda: not Path(f"/proc/{worker}").exists() or "Z" in _state(worker))


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("first", "further"), [(200, 400), pytest.param(500, 9500, marks=pytest.mark.nightly)]
)
def test_memory_does_not_grow(program, first, further):
    """Of front and worker: after many requests within a twentieth of what it was after some."""
    psutil = pytest.importorskip("psutil")
    process, url, _ = program
    front = psutil.Process(process.pid)
    (worker,) = front.children()
    images = [png(-number - 1, side=16 + number % 48) for number in range(40)]
    resident = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for count in (first, further):
            for number in range(count):
                answer = client.post("/v1/translate?to=b", content=images[number % 40])
                assert answer.status_code == 200
            resident.append([p.memory_info().rss for p in (front, worker)])
    for before, after in zip(*resident, strict=True):
        assert after < 1.05 * before, resident
