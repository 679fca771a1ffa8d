"""Servers for tests: in a thread of this process, with a worker without a framework."""

import asyncio
import io
import json
import shutil
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from unpaired.serving.front import process
from unpaired.serving.limits import MEGABYTE, ServeLimits
from unpaired.serving.messages import Settings
from unpaired.serving.serve import Address, start

WORKER = (sys.executable, str(Path(__file__).with_name("serving_worker.py")))


def png(value=100, side=16, kind="PNG", **options):
    """The bytes of an image file; `value` is a level, or a seed below 0."""
    if value < 0:
        pixels = np.random.default_rng(-value).integers(0, 250, (side, side, 3), np.uint8)
    else:
        pixels = np.full((side, side, 3), value, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


class Served:
    """A server under test, `client` to ask it, and `running`, which it is."""

    def __init__(self, running, loop, client):
        self.running, self.loop, self.client = running, loop, client
        self.gate = Path(running.models.get("held", "/nowhere"))

    @property
    def worker(self):
        return self.running.dispatcher.workers[0]

    def hold(self):
        """Has the network of the model `held` wait, until `release`."""
        self.gate.touch()

    def release(self):
        self.gate.unlink(missing_ok=True)

    def translate(self, body, **more):
        headers = more.pop("headers", {})
        return self.client.post(
            "/v1/translate", params={"to": "b"} | more, content=body, headers=headers
        )

    def job(self, body, **more):
        return self.client.post("/v1/jobs", params={"to": "b"} | more, content=body)

    def wait(self, id, seconds=20):
        """The job once it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = self.client.get(f"/v1/jobs/{id}").json()
            if told["state"] not in ("waiting", "running"):
                return told
            time.sleep(0.02)
        raise AssertionError(f"not ended: {json.dumps(told)}")

    def metric(self, line):
        """The value of a line of /metrics."""
        for each in self.client.get("/metrics").text.splitlines():
            if each.startswith(f"{line} "):
                return float(each.split()[-1])
        return 0.0


@contextmanager
def served(
    models=("small",), *, address=None, token="", ready=True, command=WORKER, workers=1, **limits
):
    """A server of models by name with so many workers; `limits` are fields of ServeLimits."""
    chosen = ServeLimits(**limits)
    folder = tempfile.mkdtemp(prefix="served-")
    named = tuple((name, f"{folder}/{name}") for name in models)
    settings = Settings(named, chosen.max_pixels, chosen.max_side, chosen.worker_memory * MEGABYTE)
    before, process.COMMAND = process.COMMAND, command
    running = start(named, [settings] * workers, chosen, address or Address(port=0))
    loop = asyncio.new_event_loop()
    failed = []

    def run():
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(running.run(signals=False))
        except Exception as error:
            failed.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
            for _ in range(600 if ready else 0):
                try:
                    if failed or client.get("/readyz").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            yield Served(running, loop, client)
    finally:
        shutil.rmtree(folder)
        if not loop.is_closed():
            loop.call_soon_threadsafe(running.stop)
        thread.join(60)
        process.COMMAND = before
    assert not thread.is_alive()
    assert not failed
