"""A headless Chromium, driven over its debugging pipe as a person would: keys and clicks."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from contextlib import contextmanager, suppress

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()

# The browser reads from its descriptor 3 and writes to 4.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

WAITS = """new Promise((done, fail) => {
  const end = Date.now() + 15000;
  const look = () => {
    let found = null;
    try { found = %s; } catch (error) {}
    if (found) done(found);
    else if (Date.now() > end) fail(new Error("never came: " + %s));
    else setTimeout(look, 20);
  };
  look();
})"""


class Moved(Exception):
    """The page went elsewhere while a script ran."""


class Page:
    """One tab. Messages are JSON ended by a zero byte, read and written on two pipes."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._number, self._rest = reader, writer, 0, b""
        self._session = None
        self.problems, self._loaded = [], set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "navigated" in found.get("error", {}).get("message", ""):
                    raise Moved
                assert "error" not in found, found
                return found["result"]

    def _next(self):
        while b"\0" not in self._rest:
            read = os.read(self._reader, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found = json.loads(message)
        params = found.get("params", {})
        if found.get("method") == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"])
        # Such as that a page had set the focus before the browser did.
        if found.get("method") == "Log.entryAdded" and params["entry"]["level"] != "info":
            self.problems.append(params["entry"])
        if found.get("method") == "Page.lifecycleEvent" and params["name"] == "load":
            self._loaded.add(params["loaderId"])
        return found

    def open(self, url, *, width=1280, height=800, dark=False, phone=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        loader = self.call("Page.navigate", url=url)["loaderId"]
        while loader not in self._loaded:
            self._next()

    def run(self, script):
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition):
        """The value of a script once it is true."""
        while True:
            # A first page may move to a process of its own after it was loaded.
            with suppress(Moved):
                return self.run(WAITS % (condition, json.dumps(condition)))

    def type(self, text):
        for letter in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", text=letter, key=letter)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def press(self, key, code=0):
        text = {"Enter": "\r", " ": " "}.get(key, "")
        both = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **both)
        self.call("Input.dispatchKeyEvent", type="keyUp", **both)

    def click(self, selector):
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path):
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(folder):
    """A page in a browser whose profile lies in ``folder``; it ends with the block."""
    to_browser, from_browser = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], from_browser[1])]
    running = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, theirs), BROWSER, *OPTIONS,
         f"--user-data-dir={folder}"],
        pass_fds=theirs, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for end in (to_browser[0], from_browser[1], *theirs):
        os.close(end)
    try:
        yield Page(from_browser[0], to_browser[1])
    finally:
        running.terminate()
        running.wait(timeout=20)
        os.close(to_browser[1])
        os.close(from_browser[0])
