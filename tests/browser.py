"""A real browser for tests: headless Chromium, driven by the DevTools protocol over two pipes.

No port is opened and no driver is needed. Chromium is the system's; where it is not installed the
tests that need it are skipped, unless ``VPOPSQL_TEST_REQUIRE_CHROMIUM`` is 1. axe-core, which
finds what keeps people from using a page, comes from npm; where it cannot be had its tests are
skipped, unless ``VPOPSQL_TEST_REQUIRE_AXE`` is 1.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
AXE = "axe-core@4.14.1"

_START_S = 40
_ANSWER_S = 30
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_DEVTOOLS_READS, _DEVTOOLS_WRITES = 3, 4


def is_installed() -> bool:
    """Say whether there is a Chromium."""
    return shutil.which(PROGRAM) is not None


def install_axe(directory: Path) -> str:
    """Return axe-core's program; nothing where it cannot be had."""
    if shutil.which("npm") is None:
        return ""
    command = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix")
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run([*command, directory, AXE], check=True, capture_output=True, timeout=60)
        return (directory / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
    return ""


class Browser:
    """One Chromium with one tab.

    What the pages did since `forget` was called is in `requests` (addresses) and `complaints`
    (what the console said, and exceptions).
    """

    def __init__(self, profile: Path) -> None:
        profile.mkdir()
        ours, theirs = os.pipe(), os.pipe()
        # The descriptors that Chromium expects may be ours of something else: move them first.
        actions = [
            (os.POSIX_SPAWN_DUP2, ours[0], _DEVTOOLS_READS),
            (os.POSIX_SPAWN_DUP2, theirs[1], _DEVTOOLS_WRITES),
        ]
        log = os.open(profile.parent / "chromium.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        actions += [(os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)]
        program = shutil.which(PROGRAM)
        assert program is not None
        self._pid = os.posix_spawn(
            program,
            [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            # What it leaves behind when it is killed goes with its profile.
            os.environ | {"TMPDIR": str(profile)},
            file_actions=actions,
            setsid=True,
        )
        os.close(ours[0])
        os.close(theirs[1])
        os.close(log)
        self._to, self._from = ours[1], theirs[0]
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def open(self, page: Path) -> None:
        """Open a page and wait until it is there."""
        self._events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self._wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise's once it is there."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def look(self, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Be a screen of this size, in a light or a dark room, or a sheet of paper."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def allow_scripts(self, *, are_allowed: bool) -> None:
        """Let pages run scripts from the next one on; what tests run is not theirs."""
        self.call("Emulation.setScriptExecutionDisabled", value=not are_allowed)

    def press_tab(self) -> None:
        """Press the tabulator key."""
        key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **key)

    def forget(self) -> None:
        """Forget what pages did."""
        self.requests.clear()
        self.complaints.clear()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return what the browser answers."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_S
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def close(self) -> None:
        """End it."""
        os.close(self._to)
        os.close(self._from)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _attach(self) -> None:
        deadline = time.monotonic() + _START_S
        while not (pages := self._pages()):
            assert time.monotonic() < deadline, "Chromium has no page"
        attached = self.call("Target.attachToTarget", targetId=pages[0], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _pages(self) -> list[str]:
        targets = self.call("Target.getTargets")["targetInfos"]
        return [each["targetId"] for each in targets if each["type"] == "page"]

    def _wait_for(self, method: str) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while not any(each["method"] == method for each in self._events):
            self._receive(deadline)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise EOFError("Chromium has ended: see chromium.log")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._note(message)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        about = event.get("params", {})
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(about))


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Browser]:
    """Give a browser with a profile of its own."""
    browser = Browser(directory / "profile")
    try:
        yield browser
    finally:
        browser.close()
