"""Logins to other services than the daemon itself: what checkpassword programs ask.

`vpopsql.checkpassword` says what a question and an answer look like. Questions go in, answers come
out; there is no socket here. Neither passwords nor challenges are logged.
"""

import ipaddress
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self, TypeVar

import structlog
from sqlalchemy.orm import Session

from vpopsql import errors, passwords
from vpopsql.checkpassword import DENIED, FIELDS, GRANTED, LATER, PROTOCOL
from vpopsql.config import Config
from vpopsql.daemon.call import parse_address
from vpopsql.daemon.guard import Door, OpenDoor
from vpopsql.db import Database
from vpopsql.names import lower
from vpopsql.protocol import decode
from vpopsql.services import accounts, logins
from vpopsql.services.accounts import Login

T = TypeVar("T")

_QUICK_S = 0.5
"""A read that fails sooner met connections that had been broken before it."""

_HERE = "127.0.0.1"
"""Where a login comes from that no network brought."""


class NotUnderstood(errors.VpopsqlError):
    """What was asked is no question of this protocol."""


class ServiceForbidden(errors.InvalidLogin):
    """The password is right, but the account may not use the service."""


@dataclass(frozen=True, slots=True)
class Question:
    """A login to be checked."""

    service: str
    remote_ip: str
    local_ip: str
    default_domain: str
    """What a login without a domain belongs to, before all other rules; usually empty."""
    login: str
    password: str = field(repr=False)
    """The password; or a digest or a challenge, see `passwords.verify_challenge`."""
    challenge: str = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the question that bytes are. :raises NotUnderstood: they are none."""
        protocol, *words = data.split(b"\0")
        # What follows the last NUL is no field.
        if protocol != PROTOCOL or len(words) <= len(FIELDS):
            raise NotUnderstood("this is no question of a checkpassword program of this version")
        asked = cls(*map(decode, words[: len(FIELDS)]))
        if asked.service not in logins.SERVICES:
            raise NotUnderstood("there is no such service")
        return asked


@dataclass(frozen=True, slots=True)
class Granted:
    """Somebody who may log in."""

    login: Login
    service: str
    remote_ip: str


class Authenticator:
    """Checks logins against the database; for any number of threads.

    :param after_login: told of every good login by password, with it; must take no time, and not
        raise.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        after_login: Callable[[Login, str], object] = lambda _login, _password: None,
        verify: Callable[[str, str | None], bool] = passwords.verify,
        door: Door | None = None,
    ) -> None:
        self._database = database
        self._is_right = verify
        self._door = door or OpenDoor()
        self._after_login = after_login
        self._config = config
        self._log = structlog.get_logger("vpopsql.logins")

    def answer(self, data: bytes) -> tuple[bytes, Granted | None]:
        """Return the answer to a question, and who may log in, for `remember`; never raise."""
        try:
            granted = self.check(Question.parse(data))
        except errors.InvalidLogin:
            return _words(DENIED), None
        except errors.VpopsqlError as error:
            self._log.error("login not checked", error=str(error))
            return _words(LATER, str(error)), None
        except Exception:  # noqa: BLE001 - whoever asks gets an answer
            self._log.exception("internal error")
            return _words(LATER, "internal error"), None
        login = granted.login
        # A path that cannot be sent is none that anybody could go to.
        home = str(self._config.paths.real(login.actor.directory))
        said = (str(login.uid), str(login.gid), login.actor.name, login.actor.address, home)
        return _words(GRANTED, *said), granted

    def check(self, asked: Question) -> Granted:
        """Return who may log in.

        :raises InvalidLogin: nobody; `ServiceForbidden` if it is the service that he may not use.
        :raises DatabaseUnavailable: nobody knows.
        """
        started = time.monotonic()
        log = self._log.bind(
            # A word that is no address may be a password in the wrong place.
            account=asked.login[:320] if "@" in asked.login else None,
            service=asked.service,
            peer=asked.remote_ip or None,
        )
        try:
            found = self._prove(asked)
            actor = found.actor
            if not self._read(
                lambda session: logins.may_use(
                    session, asked.service, actor.domain_id, actor.flags
                )
            ):
                raise ServiceForbidden("the account may not use the service")
        except errors.InvalidLogin as error:
            log.warning("login failed", reason=str(error) or None, ms=_ms_since(started))
            raise
        log.info("login", actor=actor.address, ms=_ms_since(started))
        return Granted(found, asked.service, _address_or(asked.remote_ip, _HERE))

    def _prove(self, asked: Question) -> Login:
        """Return whose password or digest it is; all take the time of one verification."""
        try:
            found = self._read(lambda session: self._find(session, asked))
        except errors.InvalidAddress:
            found = None
        account = found.actor.address if found else lower(asked.login)
        with self._door.attempt(account, asked.remote_ip, asked.service):
            return self._verify(found, asked)

    def _verify(self, found: Login | None, asked: Question) -> Login:
        account = found.account if found else None
        is_proved = self._is_right(asked.password, account.password_hash if account else None)
        is_digest = not is_proved
        # Who is locked out is so with a digest as well.
        if account and passwords.scheme_of(account.password_hash) not in _NO_PASSWORD:
            is_proved |= passwords.verify_challenge(
                account.clear_text, asked.password, asked.challenge
            )
        if not is_proved or found is None:
            raise errors.InvalidLogin
        stored = found.account.password_hash
        deadlines = self._config.passwords.deadlines
        logins.require_good_hash(stored, deadlines, datetime.now(UTC).date())
        if not is_digest:
            self._after_login(found, asked.password)
        return found

    def _find(self, session: Session, asked: Question) -> Login | None:
        login = asked.login
        if asked.default_domain and not any(sign in login for sign in "@%/"):
            login = f"{login}@{asked.default_domain}"
        name, domain = parse_address(session, login, asked.local_ip)
        return accounts.find_login(
            session, name, domain, self._config.paths.vpopmail, remote_ip=asked.remote_ip
        )

    def remember(self, granted: Granted) -> None:
        """Write down when and from where somebody logged in; that it fails is logged only."""
        try:
            with self._database.writer() as session:
                logins.record_login(
                    session,
                    granted.login.actor.mailbox_id,
                    granted.service,
                    granted.remote_ip,
                )
        except errors.Conflict:
            # The account is gone, or another login of this moment has been written down.
            return
        except errors.VpopsqlError as error:
            self._log.error("login not recorded", error=str(error))

    def _read(self, work: Callable[[Session], T]) -> T:
        """Do what only reads, once more if the database has just come back."""
        started = time.monotonic()
        try:
            return self._database.read(work)
        except errors.DatabaseUnavailable:
            if time.monotonic() - started > _QUICK_S:
                raise
        return self._database.read(work)


_NO_PASSWORD = frozenset({"empty", "locked", "unknown"})
"""Kinds of hashes that keep their account out, whatever else is stored."""


def _words(kind: bytes, *words: str) -> bytes:
    said = (os.fsencode(word.replace("\0", "")) for word in words)
    return b"".join(word + b"\0" for word in (kind, *said))


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)


def _address_or(text: str, otherwise: str) -> str:
    """Return the IP address that a text is, in its usual form."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return otherwise
