"""A stand-in for `unpaired serve`: its interface without its queue, networks or limits.

It inverts images. An image named `bad...` fails, `slow...` waits until the test lets it finish,
`busy...` is answered with 429 once, `lost...` loses its job.
"""

import io
import itertools
import json
import re
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageOps

import unpaired.serving

PAGE = Path(unpaired.serving.__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; manifest-src 'self'"
)
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}


class StandIn(ThreadingHTTPServer):
    """`jobs` are by id; `freed` lets the slow finish; `asked` are (method, path) in order."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, token=None, both=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.both, self.gone = token, both, False
        self.jobs, self.results, self.asked, self.busy = {}, {}, [], set()
        self.freed, self.numbers = threading.Event(), itertools.count(1)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=partial(self.serve_forever, 0.05), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.gone = True  # connections that are kept open get no answer, too
        self.freed.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


def models(server):
    domains = {k: {"name": name, "bands": 3, "samples": "uint8"}
               for k, name in (("a", "summer"), ("b", "winter"))}  # fmt: skip
    directions = [{"id": "ab", "from": "summer", "to": "winter"}]
    if server.both:
        directions.append({"id": "ba", "from": "winter", "to": "summer"})
    samples = [f"/v1/models/seasons/samples/{k}" for k in range(2)]
    return {
        "models": [{"name": "seasons", "domains": domains, "directions": directions, "size": 64,
                    "step": 1200, "samples": samples}],
        "formats": {"input": ["PNG", "JPEG", "TIFF"], "output": ["png", "jpg"]},
        "limits": {"body_bytes": 2_000_000, "pixels": 40_000_000, "zip_images": 200,
                   "in_flight_per_client": 8},
        "metadata": "EXIF, GPS included, is removed.", "version": "0", "token": bool(server.token),
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        headers |= {"Content-Type": kind, "Content-Length": len(body),
                    "Content-Security-Policy": POLICY}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status, detail, **headers):
        body = {"type": "about:blank", "title": "x", "status": status, "detail": detail}
        self.answer(status, body, "application/problem+json", **headers)

    def handle_one(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server, url = self.server, urlsplit(self.path)
        if server.gone:
            self.close_connection = True
            return None
        server.asked.append((method, self.path))
        file = PAGE / (url.path[1:] or "index.html")
        if method == "GET" and file.is_file():
            return self.answer(200, file.read_bytes(), TYPES[file.suffix])
        if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            return self.problem(401, "this token is not valid: give the one of --token-file")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/v1/models":
            return self.answer(200, models(server))
        if found := re.fullmatch(r"/v1/models/seasons/samples/(\d)", url.path):
            return self.answer(200, sheet(int(found[1])), "image/png")
        if (method, url.path) == ("POST", "/v1/jobs"):
            return self.create(body, query)
        found = re.fullmatch(r"/v1/jobs/(\w+)(/result)?", url.path)
        if not found or found[1] not in server.jobs:
            return self.problem(404, "no such job: it has expired, or never was")
        job = server.jobs[found[1]]
        if method == "DELETE":
            server.jobs[found[1]]["state"] = "cancelled"
            return self.answer(204)
        if found[2]:
            return self.answer(200, server.results[found[1]], "image/png")
        name = job["images"][0]["name"]
        if name.startswith("lost"):
            return self.problem(404, "no such job: it has expired, or never was")
        if job["state"] == "waiting":
            job["position"] -= 1
            if job["position"] <= 0:
                job.update(state="running", position=0)
        elif job["state"] == "running" and (not name.startswith("slow") or server.freed.is_set()):
            job.update(state="done", done=1, seconds_left=None, position=None)
            if name.startswith("bad"):
                job["state"] = "failed"
                job["images"][0]["error"] = f"{name}: its data end too early: send it again"
        return self.answer(200, job)

    def create(self, body, query):
        server, name = self.server, query["name"]
        if name.startswith("busy") and name not in server.busy:
            server.busy.add(name)
            return self.problem(429, "64 jobs wait: try again later", Retry_After=1)
        key = f"{next(server.numbers):032x}"
        try:
            image = Image.open(io.BytesIO(body)).convert("RGB")
        except OSError:
            return self.problem(415, f"{name}: not an image of a format that is read")
        file = io.BytesIO()
        ImageOps.invert(image).save(file, format="PNG")
        server.results[key] = file.getvalue()
        warning = "EXIF with GPS is removed" if name.startswith("tagged") else None
        server.jobs[key] = {
            "id": key, "state": "waiting", "model": "seasons", "to": query["to"], "position": 2,
            "seconds_left": 3.0, "done": 0, "total": 1, "error": None, "result": None,
            "expires": None,
            "images": [{"name": name, "state": "waiting", "error": None, "warning": warning}],
        }  # fmt: skip
        return self.answer(202, server.jobs[key], Location=f"/v1/jobs/{key}")

    def do_GET(self):
        self.handle_one("GET")

    def do_POST(self):
        self.handle_one("POST")

    def do_DELETE(self):
        self.handle_one("DELETE")


def sheet(k):
    file = io.BytesIO()
    Image.new("RGB", (396, 132), (40 * k, 120, 200)).save(file, format="PNG")
    return file.getvalue()
