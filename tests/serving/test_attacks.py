"""Requests that mean one thing to a proxy and another to a server, and clients that take it all."""

import socket
import time

import pytest

from serving_servers import png, served

BODY = png(-1)
POST = b"POST /v1/translate?to=b HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
SECRET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    with served(in_flight=3) as server:
        yield server


def connect(server):
    address = server.client.base_url
    return socket.create_connection((address.host, address.port), timeout=30)


def statuses(server, sent):
    """The statuses of all answers to some bytes, until the server closes or has no more to say."""
    with connect(server) as client:
        client.sendall(sent)
        client.settimeout(3)
        answer = b""
        try:
            while chunk := client.recv(65536):
                answer += chunk
        except (TimeoutError, ConnectionError):
            pass
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (HOST + LENGTH + CHUNKED, CHUNKS, 400),
        (HOST + CHUNKED + LENGTH, CHUNKS, 400),
        (HOST + b"Content-Length: 0\r\n" + CHUNKED, CHUNKS, 400),
        (HOST + LENGTH + b"Content-Length: 5\r\n", BODY, 400),
        (HOST + b"Content-Length: +5\r\n", BODY, 400),
        (HOST + b"Content-Length: -5\r\n", BODY, 400),
        (HOST + b"Content-Length: 5, 6\r\n", BODY, 400),
        (HOST + b"Content-Length: 0x10\r\n", BODY, 400),
        (HOST + b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS, 501),
        (HOST + b"Transfer-Encoding: \x0bchunked\r\n", CHUNKS, 400),
        (HOST + b"Transfer-Encoding : chunked\r\n", CHUNKS, 400),
        (HOST + CHUNKED + b"Transfer-Encoding: identity\r\n", CHUNKS, 501),
        (HOST + CHUNKED, b"zz\r\n" + CHUNKS, 400),
        (HOST + HOST + LENGTH, BODY, 400),
        (HOST + b"Host: attacker.example\r\n" + LENGTH, BODY, 400),
        (LENGTH, BODY, 400),
        (HOST + b"X: a\r\n b: c\r\n" + LENGTH, BODY, 200),
        (HOST + b"X: a\x00b\r\n" + LENGTH, BODY, 400),
        (HOST + b"X\xff: a\r\n" + LENGTH, BODY, 400),
        (b" " + HOST + LENGTH, BODY, 400),
    ],
)  # fmt: skip
def test_no_request_hides_in_another(server, head, body, status):
    """Whatever follows a body whose end is in doubt is not answered."""
    found = statuses(server, POST + head + b"\r\n" + body + (SECRET if status != 200 else b""))
    assert found in ([status], [400], []), found
    assert server.translate(BODY).status_code == 200


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://attacker.example/v1/models HTTP/1.1\r\n", b"GET //v1/models HTTP/1.1\r\n",
        b"GET /%2e%2e/v1/models HTTP/1.1\r\n", b"GET /v1/../v1/models HTTP/1.1\r\n",
        b"GET /v1/models/../../etc/passwd HTTP/1.1\r\n", b"GET /page.js%00 HTTP/1.1\r\n",
        b"GET /page.js/..%2f..%2fserve.py HTTP/1.1\r\n", b"CONNECT localhost:22 HTTP/1.1\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n", b"GET * HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n",
    ],
)  # fmt: skip
def test_odd_targets_lead_nowhere(server, line):
    (status,) = statuses(server, line + HOST + b"Connection: close\r\n\r\n") or [400]
    assert status in (400, 404, 405)


@pytest.mark.parametrize(
    "query",
    [
        "to=%ff%fe", "to=b&model=%00", "to=b&name=%ff%0d%0aX-Evil:%201", "to=b&format=%0d%0a",
        "to=b&to=a", "to[]=b", "to=" + "b" * 9000, "to=b&image=%F0%9F%8F%94", "%", "to=b;model=x",
    ],
)  # fmt: skip
def test_odd_parameters_are_rejected_in_one_line(server, query):
    answer = server.client.post(f"/v1/jobs?{query}", content=BODY)
    assert answer.status_code in (202, 422)
    assert "x-evil" not in answer.headers
    if answer.status_code == 202:
        server.wait(answer.json()["id"])
    else:
        assert "\n" not in answer.json()["detail"]


def test_the_name_of_a_domain_is_no_header(monkeypatch):
    """Of a zip file, whose name is the domain's, and of the model."""
    from unpaired.serving.front.results import _safe

    for name in ('win"ter\r\nX-Evil: 1', "hiver \u2744", "a/b\\c", ""):
        assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in _safe(name))


def test_what_one_address_is_sending_counts_as_in_flight(server):
    """Else one client could fill the store of a server with uploads that never end."""
    before = server.running.dispatcher.store.used
    head = POST + HOST + b"Content-Length: 100000\r\n\r\n" + BODY[:100]
    clients = [connect(server) for _ in range(3)]
    try:
        for client in clients:
            client.sendall(head)
        uploads = server.running.dispatcher._uploads
        until(lambda: sum(uploads.values()) == 3)
        assert server.translate(BODY).status_code == 429
        told = server.translate(BODY).json()
        assert told["limit"] == {"name": "in_flight_per_client", "value": 3}
        clients.pop().close()
        until(lambda: server.translate(BODY).status_code == 200)
    finally:
        for client in clients:
            client.close()
    until(lambda: not server.running.dispatcher._uploads)
    assert server.running.dispatcher.store.used == before


def until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_page_that_rebinds_its_name_gets_nothing(server):
    """The name of the attacker's page leads here: Host and Origin are both its own."""
    port = server.client.base_url.port
    for host in (f"attacker.example:{port}", "127.0.0.1.nip.io", "localhost.", "127.1", "0x7f.1"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        for method, path in (("GET", "/v1/models"), ("GET", "/"), ("POST", "/v1/jobs?to=b")):
            answer = server.client.request(method, path, headers=headers)
            assert answer.status_code == 403
