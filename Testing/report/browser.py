"""A real browser for the report: headless Chromium, spoken to over a pipe (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
A4_WIDTH, A4_HEIGHT = 794, 1123  # CSS pixels of an A4 page, 96 to the inch
PATIENCE = 60.0  # seconds for one answer


def chromium() -> str | None:
    """Path of the browser, if this machine has one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """A page of the browser and all that it said and asked for.

    Args:
        browser: the process.
        to_browser: file descriptor for commands.
        from_browser: file descriptor for answers and events.
    """

    def __init__(self, browser: subprocess.Popen[bytes], to_browser: int, from_browser: int) -> None:
        self._browser, self._to, self._from = browser, to_browser, from_browser
        self._pending = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.ask(f"{domain}.enable")

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file at a width, in light or dark colors, and wait until all is there."""
        self.show(width, height, dark)
        self._loaded = False
        self.ask("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + PATIENCE
        while not self._loaded:
            self._take(end)
        self.run("Promise.all(Array.from(document.images, image => image.decode().catch(() => null)))")

    def show(self, width: int, height: int = 900, dark: bool = False, medium: str = "") -> None:
        """Set the window's width and the colors that the reader prefers."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression, promises awaited."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key: Tab or Enter."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, whole: bool = True, scale: float = 1.0) -> None:
        """PNG of the whole page, or of the window's part of it."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize" if whole else "cssLayoutViewport"]
        clip = {
            "x": 0 if whole else size["pageX"],
            "y": 0 if whole else size["pageY"],
            "width": size.get("width") or size["clientWidth"],
            "height": size.get("height") or size["clientHeight"],
            "scale": scale,
        }
        answer = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page."""
        answer = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        path.write_bytes(base64.b64decode(answer["data"]))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._take(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _take(self, end: float) -> dict[str, Any]:
        """Next message of the browser; what happens on the page is noted."""
        while b"\0" not in self._pending:
            if not select.select([self._from], [], [], max(end - time.monotonic(), 0))[0]:
                raise AssertionError("the browser does not answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise AssertionError(f"the browser ended with {self._browser.wait(10)}")
            self._pending += part
        line, self._pending = self._pending.split(b"\0", 1)
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, values: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {values['args']}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {values['exceptionDetails']}")
        elif event == "Log.entryAdded":
            self.complaints.append(f"{values['entry']['level']}: {values['entry']['text']}")


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a fresh browser with an empty profile; browser and profile are gone afterwards."""
    program = chromium()
    assert program is not None, "there is no Chromium on this machine"
    profile = tempfile.mkdtemp(prefix="report-browser-")
    to_browser, from_browser = os.pipe(), os.pipe()

    def descriptors() -> None:  # the protocol asks for 3 to read from and 4 to write to
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], from_browser[1])]
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    browser = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        start_new_session=True,
        preexec_fn=descriptors,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Page(browser, to_browser[1], from_browser[0])
    finally:
        os.close(to_browser[1])
        os.close(from_browser[0])
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait(10)
        shutil.rmtree(profile, ignore_errors=True)
