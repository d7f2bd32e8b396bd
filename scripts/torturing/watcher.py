"""Whether rcpthosts is there and whole at every moment: without it qmail relays for everybody.

The kernel tells of every event in the directory, so that no moment goes unseen, however short:
nothing but a file that is renamed to rcpthosts may ever happen to it.
"""

import ctypes
import os
import selectors
import struct
import threading
from pathlib import Path

_MOVED_FROM, _MOVED_TO, _OVERFLOW = 0x40, 0x80, 0x4000
_MODIFIED, _CREATED, _DELETED = 0x2, 0x100, 0x200
_MASK = _MODIFIED | _CREATED | _DELETED | _MOVED_FROM | _MOVED_TO
_EVENT = struct.Struct("iIII")


class Watcher:
    """Watches a file until it is closed.

    :param always: a line that the file must have at every moment.
    """

    def __init__(self, path: Path, always: str) -> None:
        self._path = path
        self._always = always.encode()
        self._stop, self._stopped = os.pipe()
        self._told = _told_of(path.parent)
        self.versions = 0
        """How many contents it has had."""
        self.defect: str | None = None
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        os.write(self._stopped, b".")
        self._thread.join()
        for descriptor in (self._told, self._stop, self._stopped):
            os.close(descriptor)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (self._told, self._stop):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self.defect:
                ready = {key.fd for key, _ in selector.select()}
                if self._told in ready:
                    self.defect = self._look(os.read(self._told, 1 << 16))
                elif self._stop in ready:
                    return

    def _look(self, events: bytes) -> str | None:
        while events:
            _, event, _, length = _EVENT.unpack_from(events)
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
            events = events[_EVENT.size + length :]
            if event & _OVERFLOW:
                return "more events than the kernel keeps"
            if name == os.fsencode(self._path.name):
                if event != _MOVED_TO:
                    return f"{self._path}: event {event:#x}, which is no rename to it"
                self.versions += 1
        try:
            data = self._path.read_bytes()
        except OSError as error:
            return f"{self._path}: {error}"
        if not data.endswith(b"\n") or self._always not in data.split(b"\n"):
            return f"{self._path}: it has {data!r}"
        return None


def _told_of(directory: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(directory), _MASK) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
    return int(descriptor)
