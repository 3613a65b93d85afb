"""A headless Chromium, driven over its debugging pipe as a person would: keys and clicks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from contextlib import contextmanager

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()

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


class Page:
    """One tab. Messages are JSON ended by a zero byte, read and written on two pipes."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._number, self._rest = reader, writer, 0, b""
        self._session = None
        self.problems = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]
            if found.get("method") == "Runtime.exceptionThrown":
                self.problems.append(found["params"]["exceptionDetails"])
            if found.get("method") == "Log.entryAdded":
                self.problems.append(found["params"]["entry"])

    def _next(self):
        while b"\0" not in self._rest:
            read = os.read(self._reader, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, url, *, width=1280, height=800, dark=False, phone=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)

    def run(self, script):
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition):
        """The value of a script once it is true."""
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
    # The browser reads from its descriptor 3 and writes to 4.
    to_browser, from_browser = os.pipe(), os.pipe()
    theirs = [os.dup(end) for end in (to_browser[0], from_browser[1])]
    command = f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
    running = subprocess.Popen(
        ["sh", "-c", command, BROWSER, *OPTIONS, f"--user-data-dir={folder}"],
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
