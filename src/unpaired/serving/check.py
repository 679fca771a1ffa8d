"""The self-test of a server, `unpaired serve --check`: started, asked over HTTP, and ended."""

import asyncio
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from unpaired.errors import SomeFailed
from unpaired.images.formats import read_header, write_image
from unpaired.images.image import Image
from unpaired.serving.serve import Running

__all__ = ["check"]

_PATIENCE = 600.0  # seconds for the models to be loaded, and for one image
_MOST_SIDE = 256


def check(running: Running) -> list[str]:
    """Runs the self-test on a server that has been started, and ends it.

    Returns:
        One line for each thing that was tested and holds.

    Raises:
        SomeFailed: something does not hold; the message lists all that was tested.
        RunError: a model cannot be loaded.
    """
    return asyncio.run(_check(running))


async def _check(running: Running) -> list[str]:
    serving = asyncio.create_task(running.run(signals=False))
    asking = asyncio.create_task(asyncio.to_thread(lambda: list(_ask(running))))
    await asyncio.wait((serving, asking), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await asyncio.wait((asking,))
        asking.exception()
        serving.result()  # raises
    running.stop()
    await serving
    results = await asking
    lines = [f"{'holds' if holds else 'FAILS'}: {what}" for what, holds in results]
    if not all(holds for _, holds in results):
        raise SomeFailed("the self-test failed:\n" + "\n".join(lines))
    return lines


def _ask(running: Running) -> Iterator[tuple[str, bool]]:
    """What is tested, and whether it holds."""
    client = _Client(running)
    yield "the server answers", client.wait_for("/healthz")
    yield "its models are loaded", client.wait_for("/readyz")
    models = json.loads(client.get("/v1/models")[2])
    folder = Path(tempfile.mkdtemp(prefix="unpaired-check-"))
    path = folder / "image"
    try:
        for model in models["models"]:
            side = min(max(model["size"], 16), _MOST_SIDE)
            for direction in model["directions"]:
                source = model["domains"][direction["id"][0]]
                file = _drawn(path, side, source["bands"], source["samples"])
                began = time.perf_counter()
                query = f"to={quote(direction['to'])}&model={quote(model['name'])}"
                status, kind, body = client.post(f"/v1/translate?{query}", file.read_bytes())
                seconds = time.perf_counter() - began
                path.write_bytes(body)
                same = status == 200 and _size(path) == (side, side)
                what = f"{model['name']} translates {side} x {side} px to {direction['to']}"
                yield f"{what} ({seconds:.2f} s, {kind})", same
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    first = models["models"][0]
    to = f"to={first['directions'][0]['to']}&model={quote(first['name'])}"
    yield "what is no image is rejected", client.post(f"/v1/translate?{to}", b"text")[0] == 415
    most = models["limits"]["body_bytes"] + 1
    large = client.get(f"/v1/translate?{to}", method="POST", headers={"Content-Length": str(most)})
    yield "a body over the limit is rejected unread", large[0] == 413
    strange = client.get("/healthz", headers={"Host": "attacker.example"})
    yield "other host names are rejected", strange[0] == 403
    foreign = {"Origin": "https://attacker.example"}
    yield "pages of others are rejected", client.get("/healthz", headers=foreign)[0] == 403
    if running.token:
        wrong = client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
        yield "a wrong token is rejected", wrong[0] == 401
    for path_of in ("/", "/page.js", "/page.css", "/metrics", "/openapi.json"):
        yield f"{path_of} is there", client.get(path_of)[0] == 200


def _drawn(path: Path, side: int, bands: int, samples: str) -> Path:
    """A file of an image of noise in the samples of a domain."""
    random = np.random.default_rng(0)
    kind = np.dtype(samples)
    if kind.kind == "f":
        pixels = random.uniform(0, 1, (side, side, bands)).astype(kind)
    else:
        pixels = random.integers(0, min(np.iinfo(kind).max, 10_000) + 1, (side, side, bands), kind)
    plain = samples == "uint8" and bands in (1, 3)
    path = path.with_suffix(".png" if plain else ".tif")
    write_image(path, Image(pixels), sync=False)
    return path


def _size(path: Path) -> tuple[int, int]:
    header = read_header(path)
    return header.height, header.width


class _Client:
    """Asks a server on this machine; every request on a connection of its own."""

    def __init__(self, running: Running) -> None:
        self.running = running
        address = urlsplit(running.url)
        self.host, self.port = address.hostname or "", address.port or 0

    def wait_for(self, path: str) -> bool:
        """Whether a page answers with 200 before patience ends."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and not self.running.ended:
            try:
                if self.get(path)[0] == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.1)
        return False

    def post(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, type and body of the answer to a body."""
        return self.get(path, method="POST", body=body)

    def get(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str, bytes]:
        """Status, type and body of an answer."""
        known: dict[str, Any] = {"Content-Type": "application/octet-stream"}
        if self.running.token:
            known["Authorization"] = f"Bearer {self.running.token}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_PATIENCE)
        try:
            connection.request(method, path, body, known | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            connection.close()
