"""The limits of a server: each is kept, and said in one line with its name."""

import io
import socket
import struct
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest

from serving_servers import pixels, png, served
from unpaired.errors import ConfigError
from unpaired.serving.front import connection
from unpaired.serving.front.uploads import body as body_module
from unpaired.serving.limits import ServeLimits


@pytest.fixture(scope="module")
def server():
    limits = {
        "max_body": 1, "max_pixels": 10_000, "max_side": 300, "zip_images": 3, "zip_size": 2,
        "in_flight": 5, "queue": 3, "store_size": 8, "connections": 60,
    }  # fmt: skip
    with served(("small", "held"), **limits) as server:
        yield server


def header_of_png(width, height):
    """A PNG that says it has so many pixels, and has none."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0" * 99))


def zip_of(files, kind=zipfile.ZIP_STORED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()


def rejected(answer, status, limit=None):
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (
        status, "application/problem+json",
    )  # fmt: skip
    assert told.get("limit", {}).get("name") == limit
    assert "\n" not in told["detail"]
    return told["detail"]


def raw(server, head, *parts, pause=0.0):
    """What a server answers to bytes, until it closes."""
    address = server.client.base_url
    with socket.create_connection((address.host, address.port)) as client:
        client.settimeout(30)
        client.sendall(head.encode())
        try:
            for part in parts:
                time.sleep(pause)
                client.sendall(part)
        except OSError:
            pass
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
            if b"\r\n\r\n" in answer and b"}" in answer.split(b"\r\n\r\n", 1)[1]:
                break
        return answer


HEAD = "POST /v1/translate?to=b&model=small HTTP/1.1\r\nHost: localhost\r\n"


def test_a_body_that_declares_too_much_is_not_read(server):
    answer = raw(server, HEAD + "Content-Length: 1000001\r\n\r\n")
    assert b"413" in answer.split(b"\r\n")[0]
    assert b'"body_bytes","value":1000000' in answer


def test_a_body_is_counted_while_it_comes(server):
    chunk = b"10000\r\n" + b"0" * 65536 + b"\r\n"
    answer = raw(server, HEAD + "Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 17)
    assert b"413" in answer.split(b"\r\n")[0]
    assert server.running.dispatcher.store.used == 0


def test_pixels_are_limited_by_the_header(server):
    detail = rejected(server.translate(header_of_png(200, 60), model="small"), 413, "pixels")
    assert detail == "200 x 60 pixels are over the limit of 10000: make it smaller"
    rejected(server.translate(header_of_png(301, 2), model="small"), 413, "side")
    rejected(server.translate(header_of_png(2**31 - 1, 2**31 - 1), model="small"), 413, "pixels")


def test_a_header_that_lies_is_damaged(server):
    rejected(server.translate(header_of_png(90, 90), model="small"), 422)


def test_zips_are_limited(server):
    small = png(-1)
    rejected(server.job(zip_of([(f"{n}.png", small) for n in range(4)]), model="small"), 413,
             "zip_images")  # fmt: skip
    flat = zip_of([("a.bmp", b"0" * 900_000)], zipfile.ZIP_DEFLATED)
    detail = rejected(server.job(flat, model="small"), 413, "zip_ratio")
    assert detail == "a.bmp: grows more than 100 times when it is unpacked: send it as it is"
    noise = bytes(range(256)) * 3500
    much = zip_of([(f"{n}.bmp", noise) for n in range(3)])
    body = much[:-22] + much[-22:]
    rejected(server.job(body, model="small"), 413, "body_bytes")
    headers = {"Content-Type": "application/zip"}
    answer = server.client.post("/v1/jobs?to=b&model=small", content=body, headers=headers)
    rejected(answer, 413, "zip_bytes")
    assert server.running.dispatcher.store.used == 0


def test_damaged_zips(server):
    good = zip_of([("a.png", png(-1))])
    for body in (good[:-30], good[:40], b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(200)):
        rejected(server.job(body, model="small"), 422)
    lying = bytearray(good)
    at = lying.index(b"PK\x01\x02")
    lying[at + 16 : at + 20] = bytes(4)  # another checksum
    told = server.wait(server.job(bytes(lying), model="small").json()["id"])
    assert told["state"] == "failed"


def test_too_many_of_one_address(server):
    server.hold()
    jobs = [server.job(png(-n - 1), model="held").json()["id"] for n in range(5)]
    answer = server.job(png(-9), model="held")
    server.release()
    rejected(answer, 429, "in_flight_per_client")
    assert int(answer.headers["retry-after"]) >= 1
    assert [server.wait(id)["state"] for id in jobs] == ["done"] * 5
    assert server.job(png(-9), model="small").status_code == 202


def test_too_many_wait_and_too_many_hang_up():
    """A worker takes 16 ahead, the queue of 30 waits, and further ones are rejected."""
    with served(("held",), in_flight=100, queue=30) as server:
        server.hold()
        address = server.client.base_url
        clients = [
            socket.create_connection((address.host, address.port), timeout=30) for _ in range(60)
        ]
        for number, client in enumerate(clients):
            body = png(-number - 1, side=256)  # one a batch
            head = "POST /v1/translate?to=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
            client.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        dispatcher = server.running.dispatcher
        until(lambda: server.metric('unpaired_rejected_total{reason="queue"}') == 60 - 46)
        assert (len(dispatcher.turns), len(dispatcher.unfinished)) == (30, 46)
        answer = server.job(png(-99))
        rejected(answer, 429, "waiting_jobs")
        assert int(answer.headers["retry-after"]) >= 1
        assert server.client.get("/readyz").status_code == 503
        # They hang up: what waits is dropped at once, the image in the network runs out.
        for client in clients:
            client.close()
        until(lambda: not dispatcher.unfinished)
        server.release()
        assert server.translate(png(-1)).status_code == 200
        assert server.metric("unpaired_batch_images_count") <= 2
        assert dispatcher.store.used == 0


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_slow_body_is_given_up(server, monkeypatch):
    monkeypatch.setattr(body_module, "_GRACE", 0.3)
    answer = raw(server, HEAD + "Content-Length: 5000\r\n\r\n", *[b"0"] * 8, pause=0.1)
    assert b"408" in answer.split(b"\r\n")[0]


def test_a_head_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 0.5)
    with served() as server:
        began = time.monotonic()
        assert raw(server, "GET /healthz HT", *[b"T"] * 9, pause=0.2) == b""
        assert 0.4 < time.monotonic() - began < 20


def test_too_many_connections(server):
    address = server.client.base_url
    held = [socket.create_connection((address.host, address.port)) for _ in range(70)]
    try:
        refused = []
        for client in reversed(held):
            client.settimeout(0.3)
            try:
                refused.append(client.recv(1000))
            except TimeoutError:
                break
        assert refused
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
        assert all(b"Retry-After: 5" in answer for answer in refused)
    finally:
        for client in held:
            client.close()
    assert server.client.get("/healthz").status_code == 200


def test_results_expire():
    with served(result_seconds=1) as server:
        job = server.job(png(-1)).json()["id"]
        server.wait(job)
        time.sleep(2)
        assert server.client.get(f"/v1/jobs/{job}").status_code == 404
        store = server.running.dispatcher.store
        assert (store.used, store.jobs, list(store.folder.iterdir())) == (0, {}, [])


def test_results_make_room_for_new_ones():
    large = png(-1, side=460)  # 600 kB, as its result: two of both do not fit
    with served(store_size=1) as server:
        old = server.job(large).json()["id"]
        assert server.wait(old)["state"] == "done"
        new = server.job(large).json()["id"]
        assert server.wait(new)["state"] == "done"
        assert server.client.get(f"/v1/jobs/{old}").status_code == 404
        assert server.client.get(f"/v1/jobs/{new}/result").status_code == 200


def test_a_waiting_client_gets_a_job_instead():
    with served(wait_seconds=0) as server:
        answer = server.translate(png(-1))
        assert answer.status_code == 202
        assert server.wait(answer.json()["id"])["state"] == "done"


def test_limits_have_bounds():
    with pytest.raises(ConfigError, match="--queue is 0: it must be at least 1"):
        ServeLimits(queue=0)


def test_many_clients_at_once_and_nothing_is_lost():
    """Closed loop in short: sixteen clients, each answer that of the image it sent."""
    wrong = []
    with served(in_flight=100) as server:

        def ask(seed):
            for number in range(6):
                body = png(-seed * 10 - number - 1)
                answer = server.translate(body)
                if answer.status_code != 200 or answer.content != expected[body]:
                    wrong.append((seed, answer.status_code))

        seeds = range(16)
        bodies_of = [png(-seed * 10 - number - 1) for seed in seeds for number in range(6)]
        expected = {body: server.translate(body).content for body in bodies_of}
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_what_is_no_http_is_told_so(server):
    answer = raw(server, "no request\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert raw(server, HEAD + "X: " + "y" * 20_000 + "\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_large_result_comes_in_parts(tmp_path):
    with served() as server:
        body = png(-1, side=1000)
        answer = server.translate(body, headers={"Range": "bytes=0-9"})
        assert answer.status_code == 200
        assert len(answer.content) > 2**20
        np.testing.assert_array_equal(pixels(answer.content), 255 - pixels(body))
        assert server.running.dispatcher.store.used == 0
