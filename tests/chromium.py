"""A headless Chromium, driven through the pipe of its debugging protocol."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0
"""Longest time to wait for an answer."""


class Tab:
    """A tab of a browser.

    Attributes:
        complaints: errors and warnings of the console, and exceptions of scripts.
        requests: addresses that were asked for.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._buffer, self._last = to_browser, from_browser, b"", 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._last:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path, *, scheme: str = "light", width: int = 1200, height: int = 900) -> None:
        """Open a page, and wait until it is loaded; what was told of an earlier one is forgotten."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.complaints, self.requests = [], []
        self.ask("Page.navigate", url=page.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """Evaluate an expression of JavaScript, after promises."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        about: dict[str, Any] = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": codes[key],
        }
        about |= {"text": {"Enter": "\r", " ": " "}[key]} if key != "Tab" else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **about)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type into the field that has the focus."""
        self.ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a selector finds."""
        find = f"document.querySelector({json.dumps(selector)})"
        box = self.value(f"{find}.scrollIntoView(), {find}.getBoundingClientRect().toJSON()")
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, **where)

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._from, 2**16) if ready else b""
            assert data, "the browser does not answer"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        told = message.get("params", {})
        match message.get("method"):
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(told["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(told["args"]))
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
        return message


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Open a tab of a browser of its own; skips the test where there is no Chromium.

    Args:
        profile: a new folder.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    options = (
        f"--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --user-data-dir='{profile}'"
    )
    command = f"exec '{program}' {options} 3<&{theirs_in} 4>&{theirs_out}"
    running = subprocess.Popen(
        ["bash", "-c", command], pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        running.kill()
        running.wait()
        os.close(ours_out)
        os.close(ours_in)
