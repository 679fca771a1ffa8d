"""Who is let in, and what a server never does."""

import socket
import subprocess
import sys

import pytest

from serving_servers import png, served
from unpaired.errors import ConfigError
from unpaired.serving.front.uploads.archive import label
from unpaired.serving.limits import ServeLimits
from unpaired.serving.serve import Address, name_models, start


@pytest.fixture(scope="module")
def server():
    address = Address(
        port=0, allow_origin=("https://friend.example",), allow_host=("photos.example",)
    )
    with served(address=address) as server:
        yield server


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text("s3cret-and-long-enough\n")
    address = Address(port=0, token_file=file)
    with served(address=address, token="s3cret-and-long-enough") as server:
        yield server


def test_it_listens_on_this_machine_alone(server):
    assert server.running.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "myhost"])
def test_other_addresses_need_a_token_or_the_word(host, tmp_path):
    with pytest.raises(ConfigError, match=f"--host {host} lets other machines in: give --token"):
        Address(host=host)
    assert Address(host=host, insecure=True).token() == ""
    assert Address(host=host, token_file=tmp_path / "token")


@pytest.mark.parametrize("content", [None, "", "short", "sixteen characters\nand a line", "é" * 20])
def test_a_token_has_to_be_one(content, tmp_path):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="--token-file"):
        Address(token_file=file).token()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:80", 200), ("photos.example", 200),
        ("attacker.example", 403), ("127.0.0.1.attacker.example", 403), ("192.168.1.5", 403),
        ("localhost.attacker.example:8000", 403), ("", 403), ("[", 403),
    ],
)  # fmt: skip
def test_hosts(server, host, status):
    """A page that has its own name resolve to 127.0.0.1 is not served."""
    assert server.client.get("/healthz", headers={"Host": host}).status_code == status


def test_pages_of_others_are_rejected(server):
    foreign = {"Origin": "https://attacker.example"}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/translate?to=b"), ("OPTIONS", "/")):
        answer = server.client.request(method, path, headers=foreign)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    unsigned = {"Sec-Fetch-Site": "cross-site"}
    assert server.translate(png(-1), headers=unsigned).status_code == 403
    own = {"Origin": server.running.url}
    assert server.translate(png(-1), headers=own).status_code == 200


def test_pages_that_are_allowed(server):
    friend = {"Origin": "https://friend.example"}
    answer = server.translate(png(-1), headers=friend)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    asked = server.client.options("/v1/translate", headers=friend)
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers


def test_headers_of_every_response(server):
    for answer in (
        server.client.get("/"), server.client.get("/nowhere"), server.translate(png(-1)),
        server.client.get("/healthz", headers={"Host": "attacker.example"}),
    ):  # fmt: skip
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


def test_a_token(locked):
    assert locked.translate(png(-1)).status_code == 200
    for given in ("", "Bearer", "Bearer wrong", "Basic s3cret-and-long-enough", "Bearer é" * 3):
        headers = {"Authorization": given.encode()}
        for method, path in (
            ("GET", "/v1/models"), ("POST", "/v1/translate?to=b"), ("DELETE", "/v1/jobs/x"),
            ("GET", "/v1/models/small/samples/0"),
        ):  # fmt: skip
            answer = locked.client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.client.get("/healthz", headers={"Authorization": ""}).status_code == 200


def test_no_job_is_told_to_who_does_not_know_it(server):
    ids = {server.job(png(-1)).json()["id"] for _ in range(20)}
    assert len({id[:8] for id in ids}) == 20
    assert server.client.get("/v1/jobs").status_code == 405


def test_the_folder_is_private(server):
    folder = server.running.dispatcher.store.folder
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "/etc/passwd", "..\\..\\x", "C:\\x", "a/../../b", "\0\n\r", "~/x",
        "x" * 5000, "..", "", "a\nContent-Type: text/html", "con|<>?*",
    ],
)  # fmt: skip
def test_names_are_labels(server, name):
    shown = label(name)
    assert shown.isprintable()
    assert 0 < len(shown) <= 200
    assert not shown.startswith(("/", "."))
    assert ".." not in shown.split("/")
    job = server.job(png(-1), name=name).json()
    told = server.wait(job["id"])
    assert told["images"][0]["state"] == "done"


def test_a_url_or_a_path_is_not_an_image(server):
    for body in (b"http://127.0.0.1/secret.png", b"/etc/passwd", b"file:///etc/passwd"):
        assert server.translate(body).status_code == 415
    for query in ({"url": "http://x/y.png"}, {"path": "/etc/passwd"}, {"file": "/etc/passwd"}):
        answer = server.translate(b"", **query)
        assert answer.status_code == 400


def test_the_front_imports_no_framework_and_decodes_nothing():
    code = """
import sys
import unpaired.cli.parser, unpaired.serving.serve
import unpaired.serving.front.app, unpaired.serving.front.connection
frameworks = {"torch", "jax", "onnxruntime", "openvino", "rasterio"}
assert not frameworks & set(sys.modules), frameworks & set(sys.modules)
import ast, pathlib, unpaired.serving.front as front
for path in pathlib.Path(front.__path__[0]).glob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.module.startswith(("PIL", "numpy", "unpaired.images")), path
            assert not node.module.startswith(("unpaired.translation", "unpaired.engines")), path
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_worker_has_no_sockets(server):
    """Nothing is inherited but pipes."""
    from pathlib import Path

    files = Path(f"/proc/{server.worker.pid}/fd")
    if not files.is_dir():
        pytest.skip("no /proc here")
    targets = [str(link.readlink()) for link in files.iterdir()]
    assert not [target for target in targets if target.startswith("socket:")]


def test_an_address_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1 port {port}"):
            start((), (), ServeLimits(), Address(port=port))


def test_names_of_models():
    with pytest.raises(ConfigError, match="two models are named mine: give one as NAME=b/mine"):
        name_models(["a/mine", "b/mine"])
    with pytest.raises(ConfigError, match="no model: give a run folder"):
        name_models([])
    assert name_models(["runs/x=y"]) == (("x-y", "runs/x=y"),)
