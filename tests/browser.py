"""A headless Chromium that tests talk to: the DevTools protocol over two pipes, nothing else."""

import base64
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest
from PIL import Image

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"
)
PATIENCE = 30  # seconds for an answer or a condition

# The protocol is spoken on the descriptors 3 and 4.
_START = (
    "import os, sys; r, w = int(sys.argv[1]), int(sys.argv[2]);"
    "os.dup2(r, 103, True) and os.dup2(w, 104, True);"
    "os.dup2(103, 3, True); os.dup2(104, 4, True); os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One page in a browser with a profile of its own.

    `requests` are the URLs asked for, `complaints` what stands in the console as warning or error
    and exceptions, `downloads` the folder that saved files go to.
    """

    def __init__(self, folder, *flags):
        (read_ours, write_theirs), (read_theirs, write_ours) = os.pipe(), os.pipe()
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--user-data-dir={folder / 'profile'}", "--no-first-run", "--disable-extensions",
            "--disable-background-networking", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", *flags, "about:blank",
        ]  # fmt: skip
        self.log = (folder / "chromium.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _START, str(read_theirs), str(write_theirs), *command],
            pass_fds=(read_theirs, write_theirs), stdout=self.log, stderr=self.log,
        )  # fmt: skip
        os.close(read_theirs)
        os.close(write_theirs)
        self.read, self.write = read_ours, write_ours
        self.rest, self.number, self.session = b"", 0, None
        self.requests, self.complaints = [], []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method, **params):
        """The answer to a command; events that come before it are noted."""
        number = self._send(method, params)
        while True:
            answer = self._next(PATIENCE)
            assert answer is not None, f"Chromium does not answer {method}"
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _send(self, method, params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        return self.number

    def _next(self, seconds):
        while b"\0" not in self.rest:
            if not select.select([self.read], [], [], seconds)[0]:
                return None
            some = os.read(self.read, 1 << 20)
            assert some, "Chromium ended"
            self.rest += some
        line, self.rest = self.rest.split(b"\0", 1)
        found = json.loads(line)
        params = found.get("params", {})
        match found.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Page.javascriptDialogOpening":  # it would block the page
                self._send("Page.handleJavaScriptDialog", {"accept": True})
            case "Log.entryAdded" if params["entry"]["level"] in ("warning", "error"):
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("warning", "error", "assert"):
                self.complaints.append(str(params["args"]))
        return found

    def open(self, url, width=1000, height=900, *, dark=False, phone=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression):
        """The value of a JavaScript expression; a promise is awaited."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression, awaitPromise=True, returnByValue=True, userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not self.js(f"!!({condition})"):
            text = "document.body ? document.body.innerText.slice(0, 2000) : ''"
            assert time.monotonic() < end, f"never: {condition}\n{self.js(text)}"
            time.sleep(0.03)

    def until(self, holds, seconds=PATIENCE):
        """Waits until a function of this process gives something true."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it never held"
            self._next(0.03)

    def click(self, selector):
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key, text=""):
        """Presses a key of the keyboard, such as ArrowRight, for whatever has the focus."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Enter": 13, " ": 32}
        code = codes.get(key, ord(key.upper()[0]))
        down = {"type": "keyDown", "key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", **down, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def mouse(self, kind, x, y):
        """kind: mousePressed, mouseMoved or mouseReleased."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def touch(self, x, y):
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector):
        """The middle of an element, as (x, y) in the window."""
        return self.js(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )

    def choose(self, selector, *paths):
        """Gives files to a file input, as its dialog would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)

    def see(self, path=None, *, whole=False):
        """A screenshot as a Pillow image in RGB; also saved if a path is given."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        data = base64.b64decode(found["data"])
        if path:
            path.write_bytes(data)
        return Image.open(io.BytesIO(data)).convert("RGB")

    def names(self):
        """(role, name) of everything that a screen reader can reach and use."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        usable = {"button", "link", "radio", "slider", "textbox", "combobox", "tab", "image", "img",
                  "progressbar", "heading", "status", "alert"}  # fmt: skip
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node.get("role", {}).get("value") in usable
        ]

    def saved(self, selector):
        """The file that a click on an element saves, once it is whole; earlier ones are removed."""
        for path in self.downloads.iterdir():
            path.unlink()
        self.click(selector)

        def new():
            found = list(self.downloads.iterdir())
            whole = all(path.suffix != ".crdownload" and path.stat().st_size for path in found)
            return found[0] if found and whole else None

        self.until(new)
        return new()

    def close(self):
        with contextlib.suppress(AssertionError, OSError):
            self.session = None
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for fd in (self.read, self.write):
            os.close(fd)
        self.log.close()
