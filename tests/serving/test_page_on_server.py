"""The page in headless Chromium on the server itself; `test_page` has a stand-in for all else."""

import io
import json
import shutil
import subprocess
import zipfile

import pytest
from PIL import Image

from browser import Browser, needs_chromium

pytest.importorskip("starlette", reason="the extra serve is not installed")

from serving_servers import pixels, png, served
from unpaired.serving.serve import Address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


def save(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


@needs_chromium
def test_upload_translate_slide_cancel_and_an_error(browser, tmp_path):
    with served(("held",), max_body=1) as server:
        browser.requests.clear()
        browser.open(server.running.url)
        browser.wait("document.querySelectorAll('#directions input').length === 2")
        image, broken = png(-1, 64), png(-2, 64)[:900]
        browser.choose(
            "#files", save(tmp_path, "image.png", image), save(tmp_path, "broken.png", broken)
        )
        browser.wait("document.querySelector('#items .done')")
        browser.wait("document.querySelector('#items .failed')")
        told = browser.js("document.querySelector('#items .failed .said').innerText")
        assert told == "damaged or cut off (image file is truncated)"
        browser.wait("document.querySelector('#after').naturalWidth === 64")
        browser.js("document.querySelector('#share').focus()")
        browser.press("ArrowLeft")
        assert browser.js("document.querySelector('#slide').style.getPropertyValue('--share')") == (
            "49%"
        )
        saved = browser.saved("#save")
        assert (pixels(saved.read_bytes()) == 255 - pixels(image)).all()
        # Back again is the image itself.
        browser.click("#tab-four")
        browser.wait("!document.querySelector('#f-difference').hidden")
        shown = browser.js("document.querySelector('#f-difference').nextElementSibling.innerText")
        assert shown == "difference × 5, 0.0 levels of 255 on average"
        # What is cancelled leaves the server; what was fetched is not kept.
        server.hold()
        browser.choose("#files", save(tmp_path, "held.png", png(-3, 64)))
        browser.wait("document.querySelector('#items .running, #items .waiting')")
        browser.click("#items li:last-child .does button")
        browser.wait("document.querySelector('#items .cancelled')")
        server.release()
        jobs = {url.split("/v1/jobs/")[1].split("/")[0] for url in browser.requests
                if "/v1/jobs/" in url}  # fmt: skip
        assert len(jobs) >= 4
        for job in jobs:
            browser.until(lambda job=job: server.client.get(f"/v1/jobs/{job}").status_code == 404)
        # A zip comes back as a zip.
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("one.png", png(-4))
            archive.writestr("two.png", png(-5))
        browser.choose("#files", save(tmp_path, "both.zip", packed.getvalue()))
        browser.wait("document.querySelectorAll('#items .done').length === 2")
        saved = browser.saved("#items li:last-child .does a")
        with zipfile.ZipFile(saved) as archive:
            assert {Image.open(archive.open(name)).size for name in archive.namelist()} == {
                (16, 16)
            }
            assert len(archive.namelist()) == 2
        outside = [u for u in browser.requests if not u.startswith((server.running.url, "blob:"))]
        assert [url for url in outside if not url.startswith("data:")] == []
        assert [line for line in browser.complaints if "Content Security" in line] == []


@needs_chromium
def test_more_files_than_one_client_may_have_in_flight(browser, tmp_path):
    with served(("small",), in_flight=3, queue=2) as server:
        browser.open(server.running.url)
        browser.wait("document.querySelectorAll('#directions input').length === 2")
        files = [save(tmp_path, f"{k}.png", png(k)) for k in range(9)]
        browser.choose("#files", *files)
        browser.wait("document.querySelectorAll('#items .done').length === 9")


@needs_chromium
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_line_for_several_images_does_what_the_page_does(browser, tmp_path):
    """In a shell, with names that shells and curl take apart."""
    names = ["plain.png", "it's $HOME.png", "a,b;type=text.png", 'quoted "x\\y".png']
    with served(("small",)) as server:
        browser.open(server.running.url)
        browser.wait("document.querySelectorAll('#directions input').length === 2")
        files = [save(tmp_path, name, png(-k - 1)) for k, name in enumerate(names)]
        browser.choose("#files", *files)
        browser.wait("document.querySelectorAll('#items .done').length === 4")
        assert not browser.js("document.querySelector('#job').hidden")
        line = browser.js("document.querySelector('#curl').textContent")
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stderr, done.stdout)
        told = server.wait(json.loads(done.stdout)["id"])
        assert [image["state"] for image in told["images"]] == ["done"] * 4
        assert [image["name"] for image in told["images"]][:3] == [
            "plain.png", "it's $HOME.png", "a,b;type=text.png",
        ]  # fmt: skip
        result = server.client.get(told["result"]).content
        with zipfile.ZipFile(io.BytesIO(result)) as archive:
            for k, name in enumerate(archive.namelist()):
                assert (pixels(archive.read(name)) == 255 - pixels(png(-k - 1))).all()
        browser.click("#clear")
        assert "--data-binary @photo.jpg" in browser.js(
            "document.querySelector('#curl').textContent"
        )
        assert browser.js("document.querySelector('#job').hidden")


@needs_chromium
def test_the_token_of_a_server(browser, tmp_path):
    file = save(tmp_path, "token", b"a long secret of the server")
    with served(address=Address(port=0, token_file=file), ready=False) as server:
        browser.open(server.running.url)
        browser.wait("document.querySelector('#sign-in').open")
        browser.js("document.querySelector('#token').value = 'a long secret of the server'")
        browser.click("#sign-in button")
        browser.wait("document.querySelectorAll('#directions input').length === 2")
        browser.choose("#files", save(tmp_path, "image.png", png(-1)))
        browser.wait("document.querySelectorAll('#items .done').length === 1")
