"""A page in a real browser without a window, driven through its own debugging protocol: no further package is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str | None:
    """Where a browser of the Chromium family is, if this machine has one."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class Page:
    """One page. ``ask`` evaluates an expression of JavaScript in it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def go(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def ask(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 45) -> Any:
        """The value of the expression once it is true; AssertionError with the page's text if it never is."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.ask(expression):
                return value
            time.sleep(0.2)
        raise AssertionError(f"{expression} did not become true; the page says: {self.ask('document.body.innerText')[:2000]}")


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """A page of a browser with a profile of its own in ``folder``."""
    program = browser()
    assert program
    # Without its sandbox, which cannot be had as root or in a container; it opens pages of this machine alone.
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--window-size=1600,1000"]  # fmt: skip
    process = subprocess.Popen([program, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = folder / "DevToolsActivePort"
        end = time.monotonic() + 45
        while not (port_file.exists() and "\n" in port_file.read_text()):
            assert process.poll() is None and time.monotonic() < end, "the browser does not start"
            time.sleep(0.2)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            [address] = [target["webSocketDebuggerUrl"] for target in json.load(answer) if target["type"] == "page"]
        with connect(address, max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(timeout=30)
