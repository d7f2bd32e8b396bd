"""What has changed on this host and not every hook has heard of.

The outbox lies on the host itself, in qmail's users directory, and not in the database: what it
tells of are this host's files, it must be written while they are, and hooks must hear of them
though the database is away.

Nothing is lost: each path is written to a journal, on disk, before the file changes. When the
writer is done, it makes an *event* of the journal, under the lock of the site that it holds
anyway; the journal of one that was killed becomes an event of the next. So an event may name a
file that has not changed after all, and is never without one that has.

An event is complete once it is sealed: the objects of the database that had changed by then are
added, from the audit log. Each hook has a position, the number of the newest event that it has
heard of; what all have heard of goes.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vpopsql.config import Paths
from vpopsql.tree import Tree

DIRECTORY = ".vpopsql-outbox"
"""Below qmail's users directory."""

OURS = ".vpopsql-"
"""Files and directories whose names begin so are no files of the site."""

_MODE = 0o700

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Object:
    """Something in the database, by the audit log's terms."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """That files of this host have changed."""

    number: int
    at: datetime
    files: tuple[str, ...]
    """Site paths, in the order of their changes."""
    objects: tuple[Object, ...] | None = None
    """What had changed in the database; None: the event is not sealed yet."""
    revision: int = 0
    """The newest revision when it was sealed."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known besides the events."""

    last: int = 0
    """The highest number that was ever delivered."""
    audit: int | None = None
    """Up to where the audit log was read; None: never."""
    delivered: Mapping[Command, int] = field(default_factory=dict)
    """The newest event that each hook has heard of."""


class Outbox:
    """The outbox of one host."""

    def __init__(self, tree: Tree, paths: Paths) -> None:
        self._tree = tree
        self.directory = f"{paths.users}/{DIRECTORY}"
        self._journal = f"{self.directory}/journal"

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Make an event of the files that the block changes; the site must be locked."""
        self._close_journal()
        try:
            with self._tree.telling(self._note):
                yield
        finally:
            self._close_journal()

    def events(self) -> list[Event]:
        """Return what waits, in order."""
        return [self._read(number) for number in self._numbers()]

    def seal(self, objects: Iterable[Object], revision: int, audit: int) -> None:
        """Complete the events that are not.

        :param objects: what has changed since the last time; it goes with the newest event.
        :param audit: up to where the audit log was read for it.
        """
        open_ = [event for event in self.events() if event.objects is None]
        for event in open_:
            found = tuple(dict.fromkeys(objects)) if event is open_[-1] else ()
            self._write(replace(event, objects=found, revision=revision))
        # Last: killed before this, it says the same again.
        self.save(replace(self.state(), audit=audit))

    def deliver(self, command: Command, upto: int, commands: Sequence[Command]) -> None:
        """Note that a hook has heard of all up to an event; drop what all ``commands`` have."""
        state = self.state()
        known = {each: state.delivered.get(each, 0) for each in commands} | {command: upto}
        self.save(replace(state, delivered=known, last=max(state.last, upto)))
        for number in self._numbers():
            if number <= min(known.values()):
                self._tree.remove(self._path(number))

    def state(self) -> State:
        """Return what is known besides the events; of a damaged file, nothing."""
        try:
            found: dict[str, Any] = json.loads(self._tree.read(f"{self.directory}/state"))
            delivered = {tuple(words): number for words, number in found["delivered"]}
            return State(found["last"], found["audit"], delivered)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return State()

    def save(self, state: State) -> None:
        """Write down what is known."""
        delivered = [[list(command), number] for command, number in state.delivered.items()]
        shown = {"last": state.last, "audit": state.audit, "delivered": delivered}
        self._tree.make_dir(self.directory, _MODE, parents=True)
        self._tree.write(f"{self.directory}/state", json.dumps(shown).encode())

    def _note(self, paths: Sequence[str]) -> None:
        told = [path for path in paths if f"/{OURS}" not in path]
        if told:
            self._tree.make_dir(self.directory, _MODE, parents=True)
            # A break before it as well: what failed half-way must not spoil the next.
            self._tree.append(self._journal, b"\n" + json.dumps(told).encode() + b"\n")

    def _close_journal(self) -> None:
        try:
            lines = self._tree.read(self._journal).splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return
        files: dict[str, None] = {}
        for line in lines:
            # Half a line is of somebody who was killed before the files changed.
            with contextlib.suppress(ValueError):
                files.update(dict.fromkeys(json.loads(line)))
        if files:
            # The events first: one that goes meanwhile is in the state by then.
            number = max(self._numbers(), default=0)
            number = max(number, self.state().last) + 1
            self._write(Event(number, datetime.now(UTC), tuple(files)))
        self._tree.remove(self._journal)

    def _numbers(self) -> list[int]:
        try:
            entries = self._tree.list(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (entry.name.removesuffix(".json") for entry in entries)
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def _read(self, number: int) -> Event:
        found = json.loads(self._tree.read(self._path(number)))
        objects = found["objects"]
        return Event(
            number=number,
            at=datetime.fromisoformat(found["at"]),
            files=tuple(found["files"]),
            objects=None if objects is None else tuple(Object(*each) for each in objects),
            revision=found["revision"],
        )

    def _write(self, event: Event) -> None:
        objects = event.objects
        shown = {
            "at": event.at.isoformat(),
            "files": event.files,
            "objects": None if objects is None else [[each.type, each.name] for each in objects],
            "revision": event.revision,
        }
        self._tree.write(self._path(event.number), json.dumps(shown).encode())

    def _path(self, number: int) -> str:
        return f"{self.directory}/{number:010}.json"
