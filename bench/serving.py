"""A server under load and attack: throughput, overload, latency, memory, kills.

    python bench/serving.py MODEL [--only closed,open,alone,memory,hostile,hangups,kills]
        [--seconds 60] [--clients 32] [--json results.json]

Everything is on this machine: server, clients and the yardstick, `unpaired translate` of the same
images. Rates are ratios of one run. The clients are plain sockets in one process, which take little
of the processor from the server.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SIDE = 256
PARTS = ("alone", "closed", "open", "hangups", "hostile", "kills", "memory")


# ---- images -------------------------------------------------------------------------------


def photo(seed, side=SIDE, kind="JPEG", **options):
    """The bytes of a smooth random image with some grain, as photographs compress."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    noisy = (smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, kind, **options)
    return file.getvalue()


# ---- clients ------------------------------------------------------------------------------


class Reply:
    def __init__(self, status, headers, body, seconds):
        self.status, self.headers, self.body, self.seconds = status, headers, body, seconds


class Client:
    """One connection, kept alive; opened again when the server closes it."""

    def __init__(self, port):
        self.port, self.streams = port, None

    async def ask(self, method, path, body=b"", headers="", timeout=120):
        async with asyncio.timeout(timeout):
            for attempt in (1, 2):
                fresh = self.streams is None
                if fresh:
                    self.streams = await asyncio.open_connection(
                        "127.0.0.1", self.port, limit=2**22
                    )
                try:
                    return await self._ask(method, path, body, headers)
                except (OSError, EOFError):
                    self.close()
                    if fresh or attempt == 2:
                        raise
        raise AssertionError

    async def _ask(self, method, path, body, headers):
        reader, writer = self.streams
        began = time.perf_counter()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}{headers}\r\n".encode() + body)
        await writer.drain()
        raw = await reader.readuntil(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        told = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        content = await reader.readexactly(int(told.get("content-length", 0)))
        if told.get("connection") == "close":
            self.close()
        return Reply(int(lines[0].split()[1]), told, content, time.perf_counter() - began)

    def close(self):
        if self.streams:
            self.streams[1].close()
            self.streams = None


class Server:
    """A server of one model in a process of its own."""

    def __init__(self, model, *flags):
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unpaired", "serve", f"m={model}", "--port", "0", *flags],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = self.process.stderr.readline()
        found = re.search(r"at http://127.0.0.1:(\d+)", line)
        if not found:
            raise SystemExit(line + self.process.stderr.read())
        self.seconds = time.perf_counter() - began  # of its start, models loaded
        self.port = int(found[1])
        self.front = psutil.Process(self.process.pid)

    @property
    def worker(self):
        return next(iter(self.front.children()), None)

    def processor(self):
        """Seconds of the processor that front and worker have used."""
        times = [process.cpu_times() for process in (self.front, self.worker)]
        return [each.user + each.system for each in times]

    def memory(self):
        """MB resident of front and worker."""
        worker = self.worker
        return self.front.memory_info().rss / 1e6, worker.memory_info().rss / 1e6 if worker else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.process.kill()
        self.process.stderr.close()


PATH = "/v1/translate?to=b"


async def health(port, stop, seconds):
    """Asks for /healthz until `stop` is set, each time on the connection it has."""
    client = Client(port)
    while not stop.is_set():
        began = time.perf_counter()
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            await client.ask("GET", "/healthz", timeout=10)
        seconds.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)
    client.close()


async def metric(port, line):
    client = Client(port)
    text = (await client.ask("GET", "/metrics")).body.decode()
    client.close()
    for each in text.splitlines():
        if each.startswith(f"{line} "):
            return float(each.split()[-1])
    return 0.0


def centile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else None


# ---- parts --------------------------------------------------------------------------------


def yardstick(model, images, folder, flags):
    """Images a second of `unpaired translate`, without its start, the files that it wrote, and
    milliseconds of the processor for an image."""
    for name in ("in", "out"):
        (folder / name).mkdir()
    for number, body in enumerate(images):
        (folder / "in" / f"{number:05d}.jpg").write_bytes(body)
    code = (
        "import sys, time\n"
        "from unpaired.translation.model import load\n"
        "from unpaired.translation.files import translate_files\n"
        "model = load(sys.argv[1], precision=sys.argv[4], threads=int(sys.argv[5]))\n"
        "import numpy as np\n"
        f"for way in model.directions:\n"
        f"    model.translator.translate(np.zeros((1, {SIDE}, {SIDE}, 3), np.float32), way)\n"
        "began, used = time.perf_counter(), time.process_time()\n"
        "done = translate_files(model, [sys.argv[2]], sys.argv[3], to='b').done\n"
        "print(len(done), time.perf_counter() - began, time.process_time() - used)\n"
    )
    words = [sys.executable, "-c", code, model, folder / "in", folder / "out", flags[1], flags[3]]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    count, seconds, used = done.stdout.split()
    files = sorted((folder / "out").iterdir())
    processor = 1e3 * float(used) / int(count)
    return int(count) / float(seconds), [path.read_bytes() for path in files], processor


async def closed_loop(port, images, expected, clients, seconds):
    """Clients that each ask again when they are answered."""
    until = time.perf_counter() + seconds
    counts = {"ok": 0, "wrong": 0}
    statuses, took = {}, []

    async def run(seed):
        client, number = Client(port), seed
        while time.perf_counter() < until:
            index = number % len(images)
            number += clients
            reply = await client.ask("POST", PATH, images[index])
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
            took.append(reply.seconds)
            if reply.status == 200 and time.perf_counter() < until:
                counts["ok"] += 1
            counts["wrong"] += reply.status == 200 and reply.body != expected[index]
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(run(seed) for seed in range(clients)))
    rate = counts["ok"] / seconds
    return {
        "images_per_second": rate, "statuses": statuses, "wrong": counts["wrong"],
        "median_s": statistics.median(took), "p99_s": centile(took, 0.99),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


async def open_loop(port, images, expected, rate, seconds):
    """Requests at a rate, whatever becomes of those before."""
    statuses, took, missing, wrong = {}, [], 0, 0
    ok = 0
    idle: list[Client] = []
    tasks = set()
    until = time.perf_counter() + seconds

    async def send(index):
        nonlocal missing, wrong, ok
        client = idle.pop() if idle else Client(port)
        try:
            reply = await client.ask("POST", PATH, images[index])
        except (OSError, EOFError, TimeoutError) as error:
            statuses[type(error).__name__] = statuses.get(type(error).__name__, 0) + 1
            client.close()
            return
        idle.append(client)
        statuses[reply.status] = statuses.get(reply.status, 0) + 1
        if reply.status == 200:
            took.append(reply.seconds)
            ok += time.perf_counter() < until
            wrong += reply.body != expected[index]
        elif reply.status >= 400 and "retry-after" not in reply.headers:
            missing += 1

    began, number = time.perf_counter(), 0
    while (now := time.perf_counter()) < until:
        due = int((now - began) * rate)
        while number < due:
            task = asyncio.create_task(send(number % len(images)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return {
        "offered_per_second": number / seconds, "images_per_second": ok / seconds,
        "statuses": statuses, "without_retry_after": missing, "wrong": wrong,
        "p99_of_accepted_s": centile(took, 0.99),
    }  # fmt: skip


async def watched(port, work):
    """The result of some work, and the latency of /healthz meanwhile."""
    stop, seconds = asyncio.Event(), []
    asking = asyncio.create_task(health(port, stop, seconds))
    result = await work
    stop.set()
    await asking
    result["healthz_p99_ms"] = 1e3 * centile(seconds, 0.99)
    result["healthz_max_ms"] = 1e3 * max(seconds)
    return result


async def alone(port, images, count=60):
    """One client: what the server adds to the time that the network takes."""
    client, overheads, whole = Client(port), [], []
    for number in range(count):
        before = await metric(port, "unpaired_network_seconds_sum")
        reply = await client.ask("POST", PATH, images[number % len(images)])
        network = await metric(port, "unpaired_network_seconds_sum") - before
        if number >= 10:
            overheads.append(reply.seconds - network)
            whole.append(reply.seconds)
    client.close()
    return {
        "median_overhead_ms": 1e3 * statistics.median(overheads),
        "p90_overhead_ms": 1e3 * centile(overheads, 0.9),
        "median_request_ms": 1e3 * statistics.median(whole),
    }


async def hangups(port, images, clients=100):
    """Clients that send an image and hang up; the batches that were computed for them."""
    before = await metric(port, "unpaired_batch_images_count")
    writers = []
    for number in range(clients):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        body = images[number % len(images)]
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writers.append(writer)
    await asyncio.sleep(0.1)
    computed = await metric(port, "unpaired_batch_images_count") - before
    began = time.perf_counter()
    for writer in writers:
        writer.close()
    while await metric(port, "unpaired_unfinished_jobs"):
        await asyncio.sleep(0.01)
    freed = time.perf_counter() - began
    await asyncio.sleep(2)
    total = await metric(port, "unpaired_batch_images_count") - before
    return {"images_before": computed, "images_after": total - computed, "freed_s": freed}


def bombs(folder):
    """Uploads that nobody should send: (path, body)."""
    rng = random.Random(0)
    good = [photo(n, 64, kind) for n, kind in enumerate(("JPEG", "PNG", "WEBP", "TIFF", "BMP"))]
    large = io.BytesIO()
    Image.new("1", (60_000, 60_000)).save(large, "PNG")
    deep = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(deep, "TIFF", compression="tiff_adobe_deflate")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(150):
            archive.writestr(f"{number}.bmp", bytes(20_000_000))
    found = [(PATH, large.getvalue()), (PATH, deep.getvalue())]
    found += [("/v1/jobs?to=b", packed.getvalue()), ("/v1/jobs?to=b", packed.getvalue()[:-9])]
    for body in good:
        found += [(PATH, body[: len(body) * part // 10]) for part in range(1, 10)]
    return found, good, rng


def fuzzed(rng, good):
    data = bytearray(rng.choice(good))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(min(len(data), 400) if rng.random() < 0.6 else len(data))
        data[at : at + rng.randrange(1, 5)] = rng.randbytes(rng.randrange(0, 5))
    return bytes(data)


async def hostile(server, image, expected, fuzz, uploads, slow):
    """Everything bad at once, while a good client asks all the time."""
    port = server.port
    found, good, rng = bombs(None)
    stop = asyncio.Event()
    waits, bad, peaks, statuses = [], [], [0.0, 0.0], {}

    async def good_client():
        while not stop.is_set():
            began, client = time.perf_counter(), Client(port)
            while True:  # a good client comes again, as Retry-After tells it
                with contextlib.suppress(OSError, EOFError, TimeoutError):
                    reply = await client.ask("POST", PATH, image, timeout=60)
                    if reply.status == 200:
                        break
                await asyncio.sleep(0.2)
            waits.append(time.perf_counter() - began)
            if reply.body != expected:
                bad.append(reply.body)
            client.close()
            await asyncio.sleep(0.2)

    async def measure():
        while not stop.is_set():
            with contextlib.suppress(psutil.Error):
                for index, value in enumerate(server.memory()):
                    peaks[index] = max(peaks[index], value)
            await asyncio.sleep(0.1)

    async def upload(body):
        client = Client(port)
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            reply = await client.ask("POST", PATH, body, timeout=120)
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
        client.close()

    async def loris(number):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = "POST /v1/translate?to=b HTTP/1.1\r\nHost: localhost\r\n"
            writer.write(
                head.encode() if number % 2 else (head + "Content-Length: 9999\r\n\r\n").encode()
            )
            for _ in range(30):
                await asyncio.sleep(1)
                writer.write(b"x" if number % 2 == 0 else b"X-A: b\r\n")
                await writer.drain()
        except OSError:
            return

    async def fuzz_all():
        client = Client(port)
        for path, body in [*found, *((PATH, fuzzed(rng, good)) for _ in range(fuzz))]:
            try:
                reply = await client.ask("POST", path, body)
            except (OSError, EOFError):
                statuses["closed"] = statuses.get("closed", 0) + 1
                client.close()
                continue
            statuses[reply.status] = statuses.get(reply.status, 0) + 1
        client.close()

    background = [asyncio.create_task(good_client()), asyncio.create_task(measure())]
    lorises = [asyncio.create_task(loris(number)) for number in range(slow)]
    body = b"\x89PNG\r\n\x1a\n" + os.urandom(24_999_000)
    limit = asyncio.Semaphore(40)

    async def limited():
        async with limit:
            await upload(body)

    await asyncio.gather(fuzz_all(), *(limited() for _ in range(uploads)))
    stop.set()
    await asyncio.gather(*background)
    for each in lorises:
        each.cancel()
    restarts = await metric(port, "unpaired_worker_restarts")
    return {
        "front_peak_mb": peaks[0], "worker_peak_mb": peaks[1], "good_requests": len(waits),
        "good_max_s": max(waits), "good_p99_s": centile(waits, 0.99), "good_wrong": len(bad),
        "statuses": statuses, "worker_restarts": restarts,
    }  # fmt: skip


async def kills(server, images, expected, count):
    """kill -9 of the worker at random moments, while jobs come in."""
    port, jobs, stop = server.port, {}, asyncio.Event()
    client, rejected, back = Client(port), 0, []

    async def send():
        nonlocal rejected
        sender, number = Client(port), 0
        while not stop.is_set():
            index = number % len(images)
            number += 1
            reply = await sender.ask("POST", "/v1/jobs?to=b", images[index])
            if reply.status == 202:
                jobs[json.loads(reply.body)["id"]] = index
            else:
                rejected += 1
            await asyncio.sleep(0.2)
        sender.close()

    sending = asyncio.create_task(send())
    for _ in range(count):
        await asyncio.sleep(random.uniform(0, 2))
        with contextlib.suppress(psutil.Error, AttributeError):
            server.worker.kill()
        began = time.perf_counter()
        await asyncio.sleep(0.2)
        while (await client.ask("GET", "/readyz")).status != 200:
            await asyncio.sleep(0.02)
        back.append(time.perf_counter() - began)
    stop.set()
    await sending
    states, wrong = {}, 0
    for id, index in jobs.items():
        while (told := json.loads((await client.ask("GET", f"/v1/jobs/{id}")).body))["state"] in (
            "waiting", "running",
        ):  # fmt: skip
            await asyncio.sleep(0.1)
        states[told["state"]] = states.get(told["state"], 0) + 1
        if told["state"] == "done":
            body = (await client.ask("GET", f"/v1/jobs/{id}/result")).body
            wrong += body != expected[index]
    client.close()
    return {
        "kills": count, "start_s": server.seconds,
        "back_median_s": statistics.median(back), "back_max_s": max(back),
        "jobs": len(jobs), "rejected": rejected, "states": states, "wrong": wrong,
    }  # fmt: skip


async def memory(server, images, count, clients=8):
    """Resident memory after some requests and after many."""
    client_of = [Client(server.port) for _ in range(clients)]

    async def run(client, share):
        for number in range(share):
            await client.ask("POST", PATH, images[number % len(images)])

    async def ask(total):
        await asyncio.gather(*(run(client, total // clients) for client in client_of))

    await ask(500)
    first = server.memory()
    await ask(count - 500)
    last = server.memory()
    for client in client_of:
        client.close()
    return {
        "requests": count, "front_mb": [first[0], last[0]], "worker_mb": [first[1], last[1]],
        "front_ratio": last[0] / first[0], "worker_ratio": last[1] / first[1],
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--small", help="a small model, for the parts that are not about speed")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--times", type=float, default=10, help="of capacity, offered")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--fuzz", type=int, default=10_000)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--precision", default="recipe")
    parser.add_argument("--threads", default="0")
    parser.add_argument("--alone", type=int, default=60, help="requests of one client")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    parts = given.only.split(",")
    flags = ("--precision", given.precision, "--threads", given.threads)
    found = {"load_average": os.getloadavg(), "cores": os.cpu_count()}

    def tell(name, result):
        found[name] = result
        print(json.dumps({name: result}, indent=1), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = [photo(number) for number in range(given.images)]
        rate, expected = 0.0, []
        if set(parts) & {"alone", "closed", "open", "kills"}:
            rate, expected, usual = yardstick(given.model, images, folder, flags)
            tell("translate", {"images_per_second": rate, "processor_ms": usual})
        many = ("--in-flight", "1000", *flags)
        if set(parts) & {"alone", "closed", "open", "hangups"}:
            with Server(given.model, *many, "--queue", "64") as server:
                port = server.port
                if "alone" in parts:
                    tell("alone", asyncio.run(alone(port, images, given.alone)))
                if "closed" in parts:
                    work = closed_loop(port, images, expected, given.clients, given.seconds)
                    before = server.processor()
                    result = asyncio.run(watched(port, work))
                    used = [b - a for a, b in zip(before, server.processor(), strict=True)]
                    done = result["statuses"].get(200, 1)
                    result["processor_ms"] = [1e3 * each / done for each in used]
                    again = folder / "again"
                    again.mkdir()
                    after, _, usual_after = yardstick(given.model, images, again, flags)
                    usual = statistics.mean((usual, usual_after))
                    result["translate_after"] = after
                    result["processor_ratio"] = usual / sum(result["processor_ms"])
                    result["ratio"] = result["images_per_second"] / statistics.mean((rate, after))
                    tell("closed", result)
                if "open" in parts:
                    peak = found.get("closed", {}).get("images_per_second", rate)
                    work = open_loop(port, images, expected, given.times * peak, given.seconds)
                    result = asyncio.run(watched(port, work))
                    result["ratio_to_peak"] = result["images_per_second"] / peak
                    tell("open", result)
                if "hangups" in parts:
                    tell("hangups", asyncio.run(hangups(port, images)))
        small = given.small or given.model
        if "hostile" in parts:
            with Server(small, *many) as server:
                image = photo(1, 64)
                reply = asyncio.run(Client(server.port).ask("POST", PATH, image))
                work = hostile(server, image, reply.body, given.fuzz, given.uploads, given.slow)
                tell("hostile", asyncio.run(work))
        if "kills" in parts:
            with Server(given.model, *many, "--queue", "1000") as server:
                tell("kills", asyncio.run(kills(server, images, expected, given.kills)))
        if "memory" in parts:
            with Server(small, *many) as server:
                little = [photo(number, 64) for number in range(given.images)]
                tell("memory", asyncio.run(memory(server, little, given.requests)))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
