"""The page in headless Chromium, against a stand-in server: what people do with it."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from browser import Browser, needs_chromium
from serving_stand_in import PAGE, StandIn

RED, SIZE = (200, 40, 60), (96, 64)


def image_file(path, size=SIZE, colour=RED):
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def server():
    with StandIn() as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    browser = Browser(tmp_path_factory.mktemp("browser"), *camera)
    yield browser
    browser.close()


@pytest.fixture
def page(browser, server):
    """The page of the stand-in server, open; in the end nothing asked for came from elsewhere."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(server.url)
    browser.wait("document.querySelectorAll('#directions input').length")
    yield browser
    outside = [
        url for url in browser.requests if not url.startswith((server.url, "blob:", "data:"))
    ]
    assert outside == []
    policy = [line for line in browser.complaints if "Content Security" in line]
    assert policy == []


def upload(page, *paths, seen=None):
    page.choose("#files", *paths)
    if seen:
        page.wait(f"document.querySelectorAll('#items li.{seen}').length >= {len(paths)}")


def text(page, selector):
    return page.js(f"document.querySelector({json.dumps(selector)}).innerText")


def said(page):
    """What stands beside each image of the list, by name."""
    return dict(
        page.js(
            "[...document.querySelectorAll('#items li')].map("
            "li => [li.querySelector('.open').innerText, li.querySelector('.said').innerText])"
        )
    )


def near(image, x, y, colour):
    return np.abs(np.array(image.getpixel((int(x), int(y)))) - np.array(colour)).max() <= 8


# ---- without a browser --------------------------------------------------------------------


def test_three_small_files_that_name_no_other_place():
    files = {path.name: path.read_text("utf-8") for path in PAGE.iterdir()}
    assert set(files) == {"index.html", "page.css", "page.js"}
    assert sum(len(each.encode()) for each in files.values()) < 60_000
    for name, content in files.items():
        assert not re.search(r"https?:|[\"'(]//|@import|eval\(|innerHTML", content), name
    html = files["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", html)
    assert len(re.findall(r"<script", html)) == 1
    wanted = set(re.findall(r"\$\(\"([\w-]+)\"\)", files["page.js"]))
    assert wanted <= set(re.findall(r'id="([\w-]+)"', html))


# ---- in a browser -------------------------------------------------------------------------


@needs_chromium
def test_upload_translate_slide(page, tmp_path):
    upload(page, image_file(tmp_path / "red.png"), seen="done")
    page.wait(
        "!document.querySelector('#viewer').hidden && document.querySelector('#after').naturalWidth"
    )
    assert text(page, "h1") == "summer ⇄ winter"
    assert text(page, "#name") == "red.png"
    assert said(page)["red.png"].startswith("summer to winter, ")
    # The original on the left of the line, the translation on its right.
    page.js("document.querySelector('#share').focus()")
    page.js("document.querySelector('#slide').scrollIntoView({block: 'center'})")
    inverse = tuple(255 - value for value in RED)

    def place():
        return page.js(
            "(r => [r.x, r.y, r.width, r.height])"
            "(document.querySelector('#slide').getBoundingClientRect())"
        )

    def looks_like(share):
        left, top, width, height = place()
        seen, y = page.see(), top + height * 0.25
        return near(seen, left + width * (share - 0.1), y, RED) and near(
            seen, left + width * (share + 0.1), y, inverse
        )

    page.until(lambda: looks_like(0.5))
    for _ in range(20):
        page.press("ArrowRight")
    assert page.js("document.querySelector('#share').value") == "70"
    assert page.js("document.querySelector('#share').ariaValueText") == "70 % summer, 30 % winter"
    page.until(lambda: looks_like(0.7))
    assert not looks_like(0.5)
    left, top, width, height = place()
    page.mouse("mousePressed", left + width * 0.7, top + height / 2)
    for share in (0.6, 0.5, 0.3):
        page.mouse("mouseMoved", left + width * share, top + height / 2)
    page.mouse("mouseReleased", left + width * 0.3, top + height / 2)
    assert abs(int(page.js("document.querySelector('#share').value")) - 30) <= 4
    page.until(lambda: looks_like(0.3))
    saved = page.saved("#save")
    assert saved.name == "red-winter.png"
    assert Image.open(saved).getpixel((3, 3)) == inverse
    assert page.complaints == []


@needs_chromium
def test_back_again_and_the_difference(page, server, tmp_path):
    upload(page, image_file(tmp_path / "red.png"), seen="done")
    page.wait("!document.querySelector('#viewer').hidden")
    page.js("document.querySelector('#tab-slide').focus()")
    page.press("ArrowRight")
    assert page.js("document.activeElement.id") == "tab-four"
    page.wait("!document.querySelector('#f-difference').hidden")
    assert [path for method, path in server.asked if method == "POST"][1].count("to=summer") == 1
    shown = page.js("[...document.querySelectorAll('figcaption')].map(f => f.innerText)")
    assert shown == [
        "original (summer)", "translated (winter)", "back again (summer)",
        "difference × 5, 0.0 levels of 255 on average",
    ]  # fmt: skip
    pixels = page.js(
        "[...document.querySelector('#f-difference').getContext('2d')"
        ".getImageData(5, 5, 1, 1).data]"
    )
    assert pixels == [0, 0, 0, 255]
    assert page.complaints == []


@needs_chromium
def test_many_files_fail_wait_are_cancelled_and_tried_again(page, server, tmp_path):
    names = ["a.png", "bad.png", "busy.png", "slow.png", "lost.png", "no image.png"]
    paths = [image_file(tmp_path / name) for name in names]
    paths[5].write_bytes(b"text")
    (tmp_path / "large.png").write_bytes(bytes(2_000_001))
    upload(page, *paths, tmp_path / "large.png")
    page.wait("document.querySelectorAll('#items .failed').length === 4")
    page.wait("document.querySelectorAll('#items .done').length === 2")
    page.wait("document.querySelector('#items .running')")
    told = said(page)
    assert "bad.png: its data end too early: send it again" in told["bad.png"]
    assert "no image.png: not an image of a format that is read" in told["no image.png"]
    assert "no such job" in told["lost.png"]
    assert "this server takes at most 2 MB: make it smaller" in told["large.png"]
    assert told["slow.png"].startswith("translating")
    assert text(page, "#status") == "2 of 7 images done, 4 failed"
    assert not any("large" in path for method, path in server.asked if method == "POST")
    # Cancelled with the keyboard; the server is told, and the focus stays on the row.
    page.js("document.querySelector('#items .running .does button').focus()")
    page.press("Enter", "\r")
    page.wait("document.querySelectorAll('#items .cancelled').length === 1")
    assert page.js("document.activeElement.ariaLabel") == "Retry: slow.png"
    key = next(k for k, job in server.jobs.items() if job["images"][0]["name"] == "slow.png")
    page.until(lambda: ("DELETE", f"/v1/jobs/{key}") in server.asked)
    server.freed.set()
    page.press("Enter", "\r")
    page.wait("document.querySelectorAll('#items .done').length === 3")
    # What was fetched is no longer kept by the server; all results in one file.
    with zipfile.ZipFile(page.saved("#zip")) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"a-winter.png", "busy-winter.png", "slow-winter.png"}
        first = Image.open(io.BytesIO(archive.read("a-winter.png")))
    assert first.getpixel((0, 0)) == tuple(255 - value for value in RED)
    page.click("#clear")
    assert page.js(
        "document.querySelector('#list').hidden && document.querySelector('#viewer').hidden"
    )


@needs_chromium
def test_cancel_all_and_the_limit_of_jobs_at_once(page, server, tmp_path):
    upload(page, *[image_file(tmp_path / f"slow{k}.png") for k in range(9)])
    page.wait("document.querySelectorAll('#items .running').length === 4")
    assert sum(method == "POST" for method, _ in server.asked) == 4
    page.click("#cancel-all")
    page.wait("document.querySelectorAll('#items .cancelled').length === 9")
    assert sum(method == "POST" for method, _ in server.asked) == 4
    assert text(page, "#status") == "0 of 9 images done, 9 cancelled"


@needs_chromium
def test_paste_drop_and_camera(page):
    page.js("""(async () => {
      const canvas = new OffscreenCanvas(20, 20);
      canvas.getContext('2d').fillRect(0, 0, 20, 20);
      const file = new File([await canvas.convertToBlob()], 'given.png', {type: 'image/png'});
      const given = new DataTransfer();
      given.items.add(file);
      dispatchEvent(new ClipboardEvent('paste', {clipboardData: given}));
      dispatchEvent(new DragEvent('drop', {dataTransfer: given, cancelable: true}));
    })()""")
    page.wait("document.querySelectorAll('#items .done').length === 2")
    page.click("#camera")
    page.wait("document.querySelector('#video').videoWidth > 0")
    page.click("#take")
    page.wait("document.querySelectorAll('#items .done').length === 3")
    assert list(said(page)) == ["given.png", "camera.png"]
    assert page.js("document.querySelector('#video').srcObject.active") is False
    assert page.complaints == []


@needs_chromium
def test_direction_terminal_and_gallery(page, server, tmp_path):
    line = text(page, "#curl") or page.js("document.querySelector('#curl').textContent")
    assert line == (
        f"curl --fail-with-body --data-binary @photo.jpg '{server.url}/v1/translate?to=winter' "
        "-o photo-winter.jpg"
    )
    page.js("document.querySelectorAll('#directions input')[0].focus()")
    page.press("ArrowRight")
    upload(page, image_file(tmp_path / "it's.png"), seen="done")
    assert "to=summer" in next(path for method, path in server.asked if method == "POST")
    page.wait("!document.querySelector('#viewer').hidden")
    line = page.js("document.querySelector('#curl').textContent")
    assert "--data-binary '@it'\\''s.png'" in line
    assert "to=summer' -o 'it'\\''s-summer.png'" in line
    page.wait("document.querySelector('#sample').naturalWidth === 396")
    assert page.js("document.querySelector('#moment').max") == "1"
    # An image translated in the wrong direction is one click from the other.
    page.click("#directions input")
    assert text(page, "#again") == "Translate it to winter"
    page.click("#again")
    page.wait("document.querySelectorAll('#items .done').length === 2")
    page.wait("document.querySelector('#slide .right').textContent === 'winter'")


@needs_chromium
def test_what_browsers_do_not_show_comes_as_png(page, server, tmp_path):
    upload(page, image_file(tmp_path / "scan.tif"), seen="done")
    page.wait("document.querySelector('#slide.single')")
    assert "format=png" in next(path for method, path in server.asked if method == "POST")
    assert page.js("document.querySelector('#after').naturalWidth") == SIZE[0]


@needs_chromium
def test_a_token_is_asked_for(browser, tmp_path):
    with StandIn(token="secret", both=False) as server:
        browser.open(server.url)
        browser.js("sessionStorage.clear()")
        browser.open(server.url + "/")
        for given in ("wrong", "secret"):
            browser.wait("document.querySelector('#sign-in').open")
            browser.js(f"document.querySelector('#token').value = '{given}'")
            browser.click("#sign-in button")
        browser.wait("document.querySelectorAll('#directions input').length === 1")
        assert text(browser, "h1") == "summer → winter"
        upload(browser, image_file(tmp_path / "tagged.png"), seen="done")
        assert text(browser, "#warning") == "EXIF with GPS is removed"
        browser.wait("document.querySelector('#sample').naturalWidth")
        assert "Bearer TOKEN" in browser.js("document.querySelector('#curl').textContent")
        assert "secret" not in browser.js("document.documentElement.outerHTML")
        assert not any("secret" in path for _, path in server.asked)


@needs_chromium
def test_a_server_that_is_gone_is_told(browser, tmp_path):
    with StandIn() as server:
        browser.open(server.url)
        browser.wait("document.querySelectorAll('#directions input').length")
    upload(browser, image_file(tmp_path / "red.png"), seen="failed")
    assert "the server does not respond: is it running?" in said(browser)["red.png"]


@needs_chromium
@pytest.mark.parametrize("width", [1000, 360])
def test_everything_has_a_name_and_fits(page, server, tmp_path, width):
    page.open(server.url, width, 800, phone=width < 500, dark=width < 500)
    upload(page, image_file(tmp_path / "red.png"), image_file(tmp_path / ("long" * 30 + ".png")))
    page.wait("document.querySelectorAll('#items .done').length === 2")
    page.js("document.querySelector('#terminal').open = true")
    page.wait("!document.querySelector('#viewer').hidden")
    nameless = [role for role, name in page.names() if not name.strip()]
    assert [role for role in nameless if role not in ("status", "alert")] == []
    names = {name for _, name in page.names()}
    assert {"Choose files", "Camera", "Cancel all", "Save: red-winter.png"} <= names
    assert "Line between the original on the left and the translation on the right" in names
    assert page.js("document.documentElement.scrollWidth") <= width
    small = page.js(
        "[...document.querySelectorAll('button, .button, select')].filter(b => b.offsetParent)"
        ".filter(b => !b.matches('.open')).map(b => b.getBoundingClientRect().height)"
        ".filter(h => h < 24).length"
    )
    assert small == 0
    page.until(lambda: (np.asarray(page.see())[5, 5].max() < 60) == (width < 500))
