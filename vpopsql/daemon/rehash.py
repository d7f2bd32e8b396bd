"""Better hashes for passwords that were just right: made after the login has been answered.

Only at a login is the password there to be hashed anew. What has to be done is remembered for a
moment and done by a thread of its own, many at once, so that a file with the hashes of a domain is
written once for all of them. A password that is changed meanwhile is left as it is.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from vpopsql import passwords
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.errors import Conflict, VpopsqlError
from vpopsql.services import logins
from vpopsql.services.accounts import Login
from vpopsql.touched import Touched

_WAITING_MAX = 1000
"""Logins that wait; of more, the hashes are made anew at another login."""

_GATHER_S = 2.0
"""How long logins are waited for that are done together with the first one."""


class Files(Protocol):
    """What keeps the site's files in step with the database."""

    def follow(self, touched: Touched) -> None:
        """Return once the files show what was committed. :raises ExportFailed: they do not."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A login by a weak hash."""

    login: Login
    password: str = field(repr=False)


class Rehasher:
    """Takes good logins, and stores better hashes where there are weak ones."""

    def __init__(self, database: Database, config: Config, files: Files) -> None:
        self._database = database
        self._settings = config.passwords
        self._files = files
        self._log = structlog.get_logger("vpopsql.logins")
        self._waiting: queue.Queue[_Seen | None] = queue.Queue(_WAITING_MAX)

    def take(self, login: Login, password: str) -> None:
        """Remember a login whose password was right; take no time, and never raise."""
        settings = self._settings
        stored = login.account.password_hash
        if settings.rehash and passwords.needs_rehash(stored, settings.scheme, settings.rounds):
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(_Seen(login, password))

    def finish(self) -> None:
        """Do all that is waiting."""
        with contextlib.suppress(queue.Empty):
            seen = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
            self._store([each for each in seen if each])

    def run(self) -> None:
        """Do what comes, until `stop`."""
        while first := self._waiting.get():
            seen = [first]
            deadline = time.monotonic() + _GATHER_S
            is_last = False
            with contextlib.suppress(queue.Empty):
                while (left := deadline - time.monotonic()) > 0:
                    more = self._waiting.get(timeout=left)
                    if more is None:
                        is_last = True
                        break
                    seen.append(more)
            self._store(seen)
            if is_last:
                return

    def stop(self) -> None:
        """Let `run` end once all is done that waits now."""
        self._waiting.put(None)

    def _store(self, seen: list[_Seen]) -> None:
        touched = Touched()
        # Once for each mailbox, however often it has just been logged in to.
        for each in {one.login.actor.mailbox_id: one for one in seen}.values():
            try:
                if domain := self._store_one(each):
                    touched.accounts.add(domain)
            except Conflict:
                continue
            except VpopsqlError as error:
                address = each.login.actor.address
                self._log.warning("hash not replaced", account=address, error=str(error))
            except Exception:  # noqa: BLE001 - the others are not to blame
                self._log.exception("internal error")
        if touched:
            try:
                self._files.follow(touched)
            except VpopsqlError as error:
                self._log.error("files behind", error=str(error))

    def _store_one(self, seen: _Seen) -> str | None:
        """Return the domain whose files change; None: nothing was stored."""
        old = seen.login.account.password_hash
        settings = self._settings
        new = passwords.hash_password(seen.password, settings.scheme, settings.rounds)
        with self._database.writer() as session:
            domain = logins.replace_hash(session, seen.login.actor, old, new)
        if domain:
            self._log.info(
                "hash replaced",
                account=seen.login.actor.address,
                was=passwords.scheme_of(old),
                now=passwords.scheme_of(new),
            )
        return domain


@contextlib.contextmanager
def rehashing(
    database: Database, config: Config, files: Files
) -> Iterator[Callable[[Login, str], None]]:
    """Give what takes good logins, and store better hashes meanwhile."""
    rehasher = Rehasher(database, config, files)
    thread = threading.Thread(target=rehasher.run, name="rehash")
    thread.start()
    try:
        yield rehasher.take
    finally:
        rehasher.stop()
        thread.join()
