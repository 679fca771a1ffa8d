"""`unpaired export --format web`: the folder, its runtime, and the page in headless Chromium."""

import hashlib
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from browser import Browser, needs_chromium
from small_models import finished_run
from unpaired.cli.main import main
from unpaired.data.home import data_home
from unpaired.errors import ConfigError, DataError
from unpaired.translation.model import load
from unpaired.web import runtime
from unpaired.web.export import export_web

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

KEPT = data_home() / f"onnxruntime-web-{runtime.VERSION}"
SIZE = (21, 34)  # neither a multiple of 4


@pytest.fixture
def make_run(tmp_path):
    """A run folder with a finished model of random weights."""
    sizes = {"width": 8, "blocks": 2, "image_size": 16, "load_size": 16}
    return partial(finished_run, tmp_path / "run", **sizes)


@pytest.fixture
def small_runtime(tmp_path, monkeypatch):
    """A folder of small files in place of those of onnxruntime-web."""
    contents = {name: name.encode() for name in runtime.FILES}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(runtime, "FILES", sums)
    folder = tmp_path / "dist"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


class Files:
    """The files of a folder over HTTP on this machine."""

    def __init__(self, folder):
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.thread.is_alive():
            self.http.shutdown()
            self.thread.join()
            self.http.server_close()


# ---- the folder ---------------------------------------------------------------------------


def test_the_command(make_run, small_runtime, tmp_path, capsys):
    run, out = make_run(), tmp_path / "out"
    (run / "samples").mkdir()
    for name in ("step-1.png", "step-2.png"):
        Image.new("RGB", (9, 9)).save(run / "samples" / name)
    words = ["export", str(run), "--format", "web", "--out", str(out), "--threads", "1",
             "--runtime-files", str(small_runtime)]  # fmt: skip
    assert main(words) == 0
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    shown = capsys.readouterr()
    assert f"{out / 'index.html'}: {sum(map(len, written.values())) / 1e6:.1f} MB" in shown.out
    assert "greatest difference to the engine on random images" in shown.out
    assert "http.server" in shown.err
    assert set(written) == {
        "index.html", "page.js", "page.css", "here.js", "network.js", "offline.js", "model.json",
        "model-ab.onnx", "model-ba.onnx", "NOTICE.txt", *runtime.FILES,
    }  # fmt: skip
    facts = json.loads(written["model.json"])["models"][0]
    assert facts["directions"][1] == {"id": "ba", "from": "winter", "to": "summer"}
    assert (facts["name"], facts["samples"], facts["step"]) == ("run", [], 5)
    html = written["index.html"].decode()
    assert html.index("Content-Security-Policy") < html.index('"here.js"') < html.index('"page.js"')
    # What is kept is all there is, but for the page under its other name.
    kept = json.loads(written["offline.js"].decode().split("FILES = ")[1].split(";")[0])
    assert set(kept) == {"./", *written} - {"index.html", "offline.js", "NOTICE.txt"}
    assert main(words) == 2
    assert "index.html exists: choose another --out" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--sample"]) == 0
    assert json.loads((out / "model.json").read_text())["models"][0]["samples"] == ["sample.png"]
    assert (out / "offline.js").read_bytes() != written["offline.js"]  # another version
    assert main([*words[:3], "onnx", *words[4:]]) == 2
    assert "--runtime-files are for --format web: omit them" in capsys.readouterr().err


def test_images_that_browsers_do_not_have_are_rejected(make_run, small_runtime, tmp_path):
    for changes in ({"bands_a": 4}, {"depth_b": 16}):
        with pytest.raises(ConfigError, match=r"browsers read and show grey and RGB images of 8"):
            export_web(make_run(**changes), tmp_path / "out", runtime_files=small_runtime)
    assert not (tmp_path / "out").exists()


def test_other_runtime_files_are_rejected(make_run, small_runtime, tmp_path):
    first = small_runtime / next(iter(runtime.FILES))
    first.write_bytes(b"other")
    with pytest.raises(DataError, match="is not that of onnxruntime-web") as error:
        export_web(make_run(), tmp_path / "out", runtime_files=small_runtime)
    first.unlink()
    with pytest.raises(DataError, match="cannot be read: give its files by --runtime-files"):
        export_web(make_run(), tmp_path / "out", runtime_files=small_runtime)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_runtime_is_fetched_once_and_verified(small_runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    package = tmp_path / "www" / "package.tgz"
    package.parent.mkdir()
    with tarfile.open(package, "w:gz") as archive:
        for path in small_runtime.iterdir():
            archive.add(path, f"package/dist/{path.name}")
    sha256 = hashlib.sha256(package.read_bytes()).hexdigest()
    with Files(package.parent) as files:
        url = files.url + "package.tgz"
        with pytest.raises(DataError, match=f"has the SHA-256 {sha256}, not 00"):
            runtime.fetch_runtime(url=url, sha256="00")
        found = runtime.fetch_runtime(url=url, sha256=sha256)
    assert found == runtime.read_runtime(small_runtime)
    assert runtime.fetch_runtime(url=url, sha256=sha256) == found  # no server any more
    assert {path.name for path in (tmp_path / "home").iterdir() if path.is_dir()} == {
        f"onnxruntime-web-{runtime.VERSION}"
    }


def test_no_network_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    with pytest.raises(DataError) as error:
        runtime.fetch_runtime(url="http://name.invalid/package.tgz")
    assert "is there a network?" in str(error.value)
    assert "or give its files by --runtime-files DIR" in str(error.value)
    assert "\n" not in str(error.value)


# ---- in a browser -------------------------------------------------------------------------


def translated(browser, path):
    """Uploads an image and returns what the page gives for it."""
    count = browser.js("document.querySelectorAll('#items .done').length")
    browser.choose("#files", path)
    browser.wait(f"document.querySelectorAll('#items .done, #items .failed').length > {count}")
    assert browser.js("document.querySelectorAll('#items .failed').length") == 0
    return np.asarray(Image.open(browser.saved("#items li:last-child .does a")))


@needs_chromium
@pytest.mark.skipif(not KEPT.is_dir(), reason=f"{KEPT} is fetched by the first export")
def test_a_browser_translates_as_the_engine_does_and_offline(make_run, tmp_path):
    # Grey to RGB and back; without norms, which would hide a wrong scale of the input.
    run = make_run(bands_a=1, norm="none")
    export_web(run, tmp_path / "out", threads=1)
    model = load(run, device="cpu", threads=1, precision="fp32")
    rng = np.random.default_rng(1)
    path = tmp_path / "image.png"
    pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    browser = Browser(tmp_path)
    try:
        with Files(tmp_path / "out") as files:
            browser.open(files.url)
            browser.wait("document.querySelectorAll('#directions input').length === 2")
            first = translated(browser, path)
            browser.click("#directions label:last-child input")
            opposite = translated(browser, path)
            browser.wait("document.querySelector('#offline')")
            assert browser.js("self.crossOriginIsolated") is False
        # Without a server; and now with the headers that allow several threads.
        browser.open(files.url + "?again")
        browser.wait("document.querySelectorAll('#directions input').length === 2")
        assert browser.js("self.crossOriginIsolated") is True
        again = translated(browser, path)
        # Smaller, as the visitor chooses, and told so.
        Image.fromarray(np.repeat(np.repeat(pixels, 9, 0), 9, 1)).save(tmp_path / "large.png")
        browser.js("document.querySelector('#drop select').value = '256'")
        assert translated(browser, tmp_path / "large.png").shape == (158, 256, 4)
        browser.click("#items li:last-child .open")
        warning = "reduced from 306 × 189 to 256 × 158 pixels, as chosen"
        browser.wait(f"document.querySelector('#warning').innerText === '{warning}'")
        pages = [url for url in browser.requests if not url.startswith(("blob:", "data:"))]
        assert {url.split("/")[2] for url in pages} == {files.url.split("/")[2]}
        assert [line for line in browser.complaints if "Content Security" in line] == []
    finally:
        browser.close()
    for to, seen in (("winter", first), ("winter", again), ("summer", opposite)):
        expected = model.translate(pixels, to=to).astype(int)
        expected = np.broadcast_to(expected, (*SIZE, 3))
        assert seen.shape == (*SIZE, 4)
        assert (seen[..., 3] == 255).all()
        assert np.abs(seen[..., :3] - expected).max() <= 2
        assert expected.std() > 10  # not an even surface, on which anything would agree
    assert np.abs(first.astype(int) - opposite).max() > 50
