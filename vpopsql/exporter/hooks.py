"""Telling programs on this host which files have changed, and what in the database.

A hook is a command. It runs without a shell, outside every lock and transaction, one at a time,
with one JSON object on standard input: all that waits for it. It has heard of that when it ends
with status 0; otherwise, or if it takes too long, it hears of it again, with what came since. So
each hook hears of every change at least once, in order, and a failing one holds up no other.

Standard output is discarded; the end of standard error is shown if the hook fails.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import structlog
from sqlalchemy import select

from vpopsql.config import Config, Hooks
from vpopsql.db import Database
from vpopsql.errors import DatabaseRefused, DatabaseUnavailable, VpopsqlError
from vpopsql.exporter.locking import explained
from vpopsql.exporter.outbox import Command, Event, Object, Outbox
from vpopsql.model import AuditEntry, HostRole
from vpopsql.qmail.lines import decode
from vpopsql.tree import Tree

FORMAT = 1
"""Of what hooks read; it grows when something in it changes its meaning or goes."""

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0

_SHOWN_BYTES = 500
_EVENTS_AT_ONCE = 1000
_OF_RELAYS = ("domain", "site")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a hook has not heard of."""

    command: Command
    events: Sequence[Event]


class Courier:
    """Delivers what waits in the outbox of this host.

    :param host: what hooks are told; empty: the system's name.
    """

    def __init__(
        self, database: Database, config: Config, host: str = "", role: HostRole = HostRole.MAIL
    ) -> None:
        self._database = database
        self._config = config
        self._host = host or socket.gethostname()
        self._role = role
        self._tree = Tree(config.paths.root, config.paths.places)
        self._outbox = Outbox(self._tree, config.paths)

    @property
    def is_needed(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._config.hooks.commands)

    def waiting(self) -> list[Waiting]:
        """Return what each hook has not heard of; those that have heard of all, too."""
        with explained(self._config.paths):
            delivered, events = self._outbox.state().delivered, self._outbox.events()
            return [
                Waiting(each, [event for event in events if event.number > delivered.get(each, 0)])
                for each in self._config.hooks.commands
            ]

    def deliver(self, *, lock_timeout_s: float = 60.0) -> list[str]:
        """Run the hooks that something waits for; return what went wrong, a sentence a hook.

        :param lock_timeout_s: how long to wait for somebody else who delivers.
        :raises DatabaseUnavailable, DatabaseRefused: what has changed in the database cannot be
            told; what was complete before is delivered.
        :raises ExportFailed: the outbox cannot be read or written, or is in use.
        """
        if not any(each.events for each in self.waiting()):
            return []
        with (
            explained(self._config.paths),
            self._tree.lock(f"{self._outbox.directory}/delivery", lock_timeout_s),
        ):
            outage = self._seal()
            failures = [self._tell(each, self._config.hooks) for each in self.waiting()]
        if outage:
            raise outage
        return [failure for failure in failures if failure]

    def deliver_patiently(self) -> list[str]:
        """Deliver, and try again what fails, as often as the configuration says."""
        failures = self.deliver()
        delay_s = RETRY_FIRST_S
        for _ in range(self._config.hooks.retries):
            if not failures:
                break
            time.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_LONGEST_S)
            failures = self.deliver()
        return failures

    def _seal(self) -> VpopsqlError | None:
        if all(event.objects is not None for event in self._outbox.events()):
            return None
        since = self._outbox.state().audit
        try:
            mark = self._database.mark()
            objects = self._objects_since(since) if since is not None else []
        except (DatabaseUnavailable, DatabaseRefused) as error:
            return error
        known = since if since is not None and not mark.is_settled else mark.audit
        self._outbox.seal(objects, mark.revision, known)
        return None

    def _objects_since(self, audit: int) -> list[Object]:
        query = select(AuditEntry.object_type, AuditEntry.object).where(AuditEntry.id > audit)
        if self._role is HostRole.RELAY:
            query = query.where(AuditEntry.object_type.in_(_OF_RELAYS))
        with self._database.reader() as session:
            rows = session.execute(query.order_by(AuditEntry.id))
            return [Object(*row) for row in rows]

    def _tell(self, to: Waiting, settings: Hooks) -> str | None:
        """Run one hook until nothing waits for it; return what went wrong."""
        for start in range(0, len(to.events), _EVENTS_AT_ONCE):
            events = to.events[start : start + _EVENTS_AT_ONCE]
            events = [event for event in events if event.objects is not None]
            if not events:
                break
            failure = run(to.command, self._message(events), settings.timeout_s)
            if failure:
                return f"{to.command[0]} {failure}"
            self._outbox.deliver(to.command, events[-1].number, settings.commands)
        return None

    def _message(self, events: Sequence[Event]) -> bytes:
        objects = dict.fromkeys(each for event in events for each in event.objects or ())
        shown = {
            "format": FORMAT,
            "host": self._host,
            "role": self._role.value,
            "revision": events[-1].revision,
            "events": [events[0].number, events[-1].number],
            "files": list(dict.fromkeys(path for event in events for path in event.files)),
            "objects": [{"type": each.type, "name": each.name} for each in objects],
        }
        return json.dumps(shown).encode() + b"\n"


def run(command: Command, message: bytes, timeout_s: float) -> str | None:
    """Run a command with ``message`` on standard input; return what went wrong, None: nothing."""
    # Files and no pipes: a hook may leave its input unread, and something running behind it.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(message)
        given.seek(0)
        try:
            hook = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be run: {error.strerror}"
        try:
            status = hook.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return f"did not end within {timeout_s:g} s"
        finally:
            if hook.poll() is None:
                # With all that it has started.
                os.killpg(hook.pid, signal.SIGKILL)
                hook.wait()
        return f"ended with status {status}{_end_of(said)}" if status else None


def _end_of(file: BinaryIO) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SHOWN_BYTES))
    said = decode(file.read()).strip()
    return f": {said}" if said else ""


class CourierThread:
    """Delivers in the background, and tries again what fails, until it is stopped."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._log = structlog.get_logger("vpopsql.hooks")
        self._something = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        # What the last process left.
        self._something.set()
        self._thread.start()

    def wake(self) -> None:
        """Deliver what there is by now."""
        self._something.set()

    def stop(self) -> None:
        """End when the hook that is running has ended; what waits stays in the outbox."""
        self._is_over.set()
        self._something.set()
        self._thread.join()

    def _run(self) -> None:
        delay_s = RETRY_FIRST_S
        said: list[str] = []
        while not self._is_over.is_set():
            self._something.wait()
            self._something.clear()
            if self._is_over.is_set():
                return
            failures = self._deliver()
            if failures and failures != said:
                self._log.error("hooks failed", errors=failures)
            elif said and not failures:
                self._log.info("hooks work again")
            said = failures
            if failures:
                self._is_over.wait(delay_s)
                delay_s = min(2 * delay_s, RETRY_LONGEST_S)
                self._something.set()
            else:
                delay_s = RETRY_FIRST_S

    def _deliver(self) -> list[str]:
        try:
            return self._courier.deliver()
        except VpopsqlError as error:
            return [str(error)]
        except Exception as error:  # noqa: BLE001 - the thread goes on, and says what it was
            self._log.exception("hooks broke")
            return [repr(error)]


@contextlib.contextmanager
def hooks_in_background(courier: Courier) -> Iterator[Callable[[], object]]:
    """Deliver in the background while the block runs; give what to call when files changed."""
    if not courier.is_needed:
        yield lambda: None
        return
    thread = CourierThread(courier)
    try:
        yield thread.wake
    finally:
        thread.stop()
