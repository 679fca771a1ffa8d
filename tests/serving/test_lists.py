"""Lists of images: multipart/form-data as clients send it, and as attackers do."""

import io
import socket
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from serving_servers import pixels, png, served
from unpaired.serving.front.uploads import body as body_module

BOUNDARY = "------------------------b0undary"
LINE = f"--{BOUNDARY}\r\n".encode()
END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
def server():
    limits = {"max_body": 1, "zip_images": 4, "zip_size": 2, "in_flight": 100, "store_size": 8}
    with served(("small", "held"), **limits) as server:
        yield server


def part(content, disposition='form-data; name="image"; filename="a.png"', *lines):
    head = [f"Content-Disposition: {disposition}", *lines]
    return LINE + "\r\n".join(head).encode() + b"\r\n\r\n" + content + b"\r\n"


def send(server, *parts, end=END, kind=f"multipart/form-data; boundary={BOUNDARY}", **query):
    return server.client.post(
        "/v1/jobs",
        params={"to": "b", "model": "small"} | query,
        content=b"".join(parts) + end,
        headers={"Content-Type": kind},
    )


def rejected(server, answer, status, said, limit=None):
    told = answer.json()
    assert (answer.status_code, told["detail"]) == (status, told["detail"])
    assert said in told["detail"], told
    assert "\n" not in told["detail"]
    assert told.get("limit", {}).get("name") == limit
    assert answer.headers["content-type"] == "application/problem+json"
    until(lambda: all(job.ended_at for job in server.running.dispatcher.store.jobs.values()))
    kept = [job.folder.name for job in server.running.dispatcher.store.jobs.values()]
    assert sorted(kept) == sorted(p.name for p in server.running.dispatcher.store.folder.iterdir())


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def used(server):
    return server.running.dispatcher.store.used


def test_a_list_of_images(server):
    """As httpx sends it, which is as curl does."""
    bodies = [png(-1), png(-2, kind="JPEG"), b"nothing"]
    files = [("image", (f"{n}.png", body)) for n, body in enumerate(bodies)]
    answer = server.client.post("/v1/jobs?to=b&model=small", files=files)
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    told = server.wait(job["id"])
    assert [(image["name"], image["state"]) for image in told["images"]] == [
        ("0.png", "done"), ("1.png", "done"), ("2.png", "failed"),
    ]  # fmt: skip
    result = server.client.get(told["result"])
    archive = zipfile.ZipFile(io.BytesIO(result.content))
    assert archive.namelist() == ["0.png", "1.jpg", "errors.txt"]
    np.testing.assert_array_equal(pixels(archive.read("0.png")), 255 - pixels(bodies[0]))
    alone = server.translate(bodies[1], model="small").content
    assert archive.read("1.jpg") == alone
    assert server.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    until(lambda: used(server) == 0)


def test_names_are_labels_and_may_stand_twice(server):
    names = [
        'form-data; name="image"; filename="../../etc/passwd"',
        'form-data; name="image"; filename="../../etc/passwd"',
        'form-data; name="image"; filename="C:\\\\photos\\\\a;b.png"',
        'form-data; name="image"; filename=""',
    ]
    answer = send(server, *(part(png(-n - 1), name) for n, name in enumerate(names)))
    told = server.wait(answer.json()["id"])
    assert [image["name"] for image in told["images"]] == [
        "etc/passwd", "etc/passwd", "a;b.png", "image",
    ]  # fmt: skip
    archive = zipfile.ZipFile(io.BytesIO(server.client.get(told["result"]).content))
    assert archive.namelist() == ["etc/passwd.png", "etc/passwd-2.png", "a;b.png", "image.png"]


@pytest.mark.parametrize(
    ("filename", "label"),
    [
        ("\u00fcber/\U0001f3d4.png".encode(), "\u00fcber/\U0001f3d4.png"),
        (b"\xff\xfe.png", "\ufffd\ufffd.png"), (b"\x00\x1b[31m.png", "__[31m.png"),
        (b"..", "image"), (b"", "image"), (b"%2e%2e%2fx.png", "%2e%2e%2fx.png"),
        (b"/etc/passwd", "etc/passwd"), (b"x" * 2000, "x" * 200), (b"~/x.png", "~/x.png"),
    ],
)  # fmt: skip
def test_strange_names(server, filename, label):
    head = b'Content-Disposition: form-data; name="image"; filename="' + filename + b'"'
    answer = send(server, LINE + head + b"\r\n\r\n" + png(-1) + b"\r\n")
    told = server.wait(answer.json()["id"])
    assert [(image["name"], image["state"]) for image in told["images"]] == [(label, "done")]


def test_an_extended_name_is_not_believed(server):
    """RFC 7578 forbids `filename*`; where a form has both, the plain one counts."""
    both = 'form-data; name="image"; filename="a.png"; filename*=UTF-8\'\'..%2F..%2Fb.png'
    told = server.wait(send(server, part(png(-1), both)).json()["id"])
    assert told["images"][0]["name"] == "a.png"


DISPOSITION = 'form-data; name="image"; filename="a.png"'
DAMAGED = "the list of images is damaged: "


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (part(b"x") + END, "multipart/form-data", "its Content-Type has no boundary"),
        (part(b"x") + END, "multipart/form-data; boundary=", "its Content-Type has no boundary"),
        (part(b"x") + END, f"multipart/form-data; boundary={'b' * 71}", "its Content-Type has no"),
        (part(b"x") + END, "multipart/form-data; boundary=other", "its parts are not as"),
        (b"\x89PNG" + bytes(5000), None, "its parts are not as"),
        (LINE + b"a: b" * 5000 + b"\r\n\r\nx\r\n" + END, None, "its parts are not as"),
        (LINE + b"a: b\r\n" * 50 + b"\r\nx\r\n" + END, None, "a part has a line of its head twice"),
        (LINE + b"".join(b"a%d: b\r\n" % n for n in range(9)) + b"\r\n" + END, None,
         "its parts are not as"),
        (LINE + b": b\r\n\r\nx\r\n" + END, None, "its parts are not as"),
        (LINE + b"a\x00b: b\r\n\r\nx\r\n" + END, None, "its parts are not as"),
        (LINE + b"\r\nx\r\n" + END, None, "a part has no Content-Disposition"),
        (part(b"x", "attachment; filename=a.png") + END, None, "a part has no Content-Disposition"),
        (part(b"x", "form-data; filename=a.png") + END, None, "a part has no Content-Disposition"),
        (part(b"x", DISPOSITION, f"Content-Disposition: {DISPOSITION}") + END, None,
         "a part has a line of its head twice"),
        (part(png(-1)), None, "it is cut off"),
        (part(png(-1)) + END[:-4], None, "it is cut off"),
        (part(png(-1))[:-100], None, "it is cut off"),
        (LINE, None, "it is cut off"),
        (LINE + b"Content-Disp", None, "it is cut off"),
        (b"\r\n" * 500, None, "it is cut off"),
        (END, None, "the list has no images"),
        (part(b"photo.jpg", 'form-data; name="image"') + END, None,
         "a part without a file name: send files, as with curl -F image=@photo.jpg"),
        (part(b"winter", 'form-data; name="to"') + END, None,
         "the field to is not known: send images as image, and what else there is in the address"),
        (part(b"x", 'form-data; name="../../x\x01"; filename="a.png"') + END, None,
         "the field x_ is not known"),
        (part(b"x", DISPOSITION, "Content-Type: multipart/mixed; boundary=y") + END, None,
         "a list in a list"),
        (part(b"aGVsbG8=", DISPOSITION, "Content-Transfer-Encoding: base64") + END, None,
         "an encoded part"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_lists(server, body, kind, said):
    usual = f"multipart/form-data; boundary={BOUNDARY}"
    before = used(server)
    rejected(server, send(server, body, end=b"", kind=kind or usual), 422, said)
    assert used(server) == before


def test_an_empty_body_and_other_kinds(server):
    rejected(server, send(server, end=b""), 400, "the body is empty")
    for kind in ("multipart/mixed; boundary=b", "multipart/related; boundary=b"):
        rejected(server, send(server, part(b"x"), kind=kind), 415, "multipart/form-data")
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = server.translate(part(png(-1)) + END, model="small", headers=headers)
    rejected(server, answer, 415, "not a form")


def test_a_zip_file_in_a_list_fails_alone(server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", png(-1))
    told = server.wait(send(server, part(packed.getvalue()), part(png(-2))).json()["id"])
    assert [image["state"] for image in told["images"]] == ["failed", "done"]
    assert told["images"][0]["error"] == "a zip file: send it alone, as the whole body"


def test_lists_have_the_limits_of_zips(server):
    before = used(server)
    many = [part(png(-1)) for _ in range(5)]
    rejected(server, send(server, *many), 413, "more than 4 images", "zip_images")
    large = part(bytes(1_000_001))
    rejected(server, send(server, large), 413, "a.png: more than 1,000,000 bytes", "body_bytes")
    much = [part(bytes(900_000)) for _ in range(3)]
    rejected(server, send(server, *much), 413, "more than 2,000,000 bytes", "zip_bytes")
    assert used(server) == before


def test_a_list_is_counted_while_it_comes_and_given_up_when_slow(server, monkeypatch):
    monkeypatch.setattr(body_module, "_GRACE", 0.3)
    address = server.client.base_url
    head = (
        "POST /v1/jobs?to=b&model=small HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    )
    with socket.create_connection((address.host, address.port), timeout=30) as client:
        client.sendall(f"{head}Content-Length: 9000\r\n\r\n".encode() + part(b"x")[:-2])
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection((address.host, address.port), timeout=30) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        answer, chunk = b"", b"8000\r\n" + bytes(0x8000) + b"\r\n"
        first = part(b"")[:-2]
        client.sendall(b"%x\r\n" % len(first) + first + b"\r\n")
        try:
            for _ in range(100):
                client.sendall(chunk)
        except OSError:
            pass
        try:
            answer = client.recv(65536)
        except ConnectionError:  # it was closed while we were sending
            answer = b"HTTP/1.1 413 "
        assert answer.startswith(b"HTTP/1.1 413 ")
    until(lambda: all(job.ended_at for job in server.running.dispatcher.store.jobs.values()))


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(server):
    before = used(server)
    address = server.client.base_url
    with socket.create_connection((address.host, address.port), timeout=30) as client:
        head = (
            "POST /v1/jobs?to=b&model=small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000"
            f"\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        client.sendall(head.encode() + part(bytes(200_000)) + part(bytes(70_000))[:-9])
        until(lambda: used(server) > before + 200_000)
    until(lambda: used(server) == before)
    store = server.running.dispatcher.store
    until(lambda: len(list(store.folder.iterdir())) == len(store.jobs))


def test_a_disk_that_is_full_is_told(server, monkeypatch):
    from unpaired.serving.front.uploads import form

    def full(*_, **__):
        raise OSError(28, "No space left on device", "/secret/place")

    monkeypatch.setattr(form, "open", full, raising=False)
    answer = send(server, part(png(-1)))
    rejected(server, answer, 503, "the server could not store this: try again later")
    assert answer.headers["retry-after"]
    assert "secret" not in answer.text


def test_pages_of_others_may_not_send_forms(server):
    """A form needs no permission of a browser to go anywhere: the server has to reject it."""
    content, kind = part(png(-1)) + END, f"multipart/form-data; boundary={BOUNDARY}"
    for foreign in ({"Origin": "https://attacker.example"}, {"Sec-Fetch-Site": "cross-site"}):
        headers = {"Content-Type": kind} | foreign
        answer = server.client.post("/v1/jobs?to=b&model=small", content=content, headers=headers)
        assert answer.status_code == 403
    answer = server.client.post(
        "/v1/jobs?to=b&model=small",
        content=content, headers={"Content-Type": kind, "Origin": "null"},
    )  # fmt: skip
    assert answer.status_code == 403


def test_a_list_takes_little_memory():
    """Of zeros, and of what is nearly a boundary, in 50 MB."""
    with served(("held",), max_body=30, zip_size=60, store_size=200) as server:
        nearly = (b"\r\n--" + BOUNDARY.encode()[:-1]) * 900_000
        body = part(bytes(25_000_000)) + part(nearly[:25_000_000]) + END
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        chunks = (body[at : at + 2**16] for at in range(0, len(body), 2**16))
        tracemalloc.start()
        answer = server.client.post("/v1/jobs?to=b", content=chunks, headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        job = server.running.dispatcher.store.jobs[answer.json()["id"]]
        assert [entry.bytes for entry in job.entries] == [25_000_000, 25_000_000]
        assert peak < 4_000_000


def test_every_cut_gives_the_same_files(server):
    """However a body is cut into chunks."""
    body = part(b"\r\n--" + BOUNDARY.encode()[:9] + b"\r\r\n") + part(png(-3)) + END
    seen = set()
    for size in (1, 2, 3, 7, 31, 64, len(body)):
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        server.hold()
        answer = server.client.post(
            "/v1/jobs?to=b&model=held", content=iter(chunks),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
        )  # fmt: skip
        job = server.running.dispatcher.store.jobs[answer.json()["id"]]
        seen.add(tuple(entry.bytes for entry in job.entries))
        server.release()
        told = server.wait(answer.json()["id"])
        assert [image["state"] for image in told["images"]] == ["failed", "done"]
    assert len(seen) == 1
