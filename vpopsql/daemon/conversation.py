"""One client's conversation: greeting, login, budgets, and one transaction a command.

Lines go in, replies come out; there is no socket here, so TCP and standard input are served alike.
Neither passwords nor other parameters are logged, only verbs, outcomes and who logged in.
"""

import itertools
import time
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from vpopsql import errors
from vpopsql.config import Config
from vpopsql.daemon.call import Call, parse_address
from vpopsql.daemon.commands import (
    INTERNAL_ERROR,
    QUIT_VERBS,
    TEMPORARY_ERROR,
    Command,
    find_command,
    help_reply,
    refusal,
    refuse,
)
from vpopsql.daemon.reading import login_reply
from vpopsql.db import Database
from vpopsql.protocol import (
    HTTP_VERBS,
    OK,
    Overlong,
    Reply,
    Words,
    decode,
    failure,
    ok,
    parse_command,
)
from vpopsql.services import accounts
from vpopsql.services.accounts import Login
from vpopsql.services.rights import Actor, Level

_connections = itertools.count(1)

TOO_MANY_CONNECTIONS = failure("3.111", "Too many connections", close=True)


@dataclass(frozen=True, slots=True)
class Service:
    """What all conversations of a daemon share."""

    database: Database
    config: Config


@dataclass(frozen=True, slots=True)
class Peer:
    """The two ends of a connection, as far as they are known."""

    remote_ip: str = ""
    local_ip: str = ""


class Conversation:
    """The state of one connection.

    Source: vpopmaild's rules, with `daemon.login_attempts` for its 4: that many lines, blank ones
    too, may come before a good login, and that many logins may fail.
    """

    def __init__(self, service: Service, peer: Peer) -> None:
        self._service = service
        self._peer = peer
        self._actor: Actor | None = None
        self._compact = False
        self._lines = 0
        self._failed_logins = 0
        self._id = next(_connections)
        self._log = structlog.get_logger("vpopsql.daemon").bind(
            connection=self._id, peer=peer.remote_ip or None
        )
        self._log.debug("connected")

    def greeting(self) -> Reply:
        """Return what the server says first."""
        return ok()

    def timed_out(self) -> Reply:
        """Return what is said when no line came in time, or none will come any more."""
        return refuse("3.106" if self._actor else "3.103", close=True)

    def receive(self, raw: bytes | Overlong) -> list[Reply]:
        """Carry out one line; return what to send, usually one reply, for a blank line none.

        The server hangs up after a reply that says so.
        """
        self._lines += 1
        started = time.monotonic()
        verb, words = parse_command("" if isinstance(raw, Overlong) else decode(raw))
        garbled = isinstance(raw, Overlong) or b"\0" in raw
        if not verb and not garbled:
            replies = []
        else:
            reply = self._unknown() if garbled else self._guarded(verb, words)
            self._log.info(
                "command",
                request=self._request,
                verb=verb if self._is_known(verb) and not garbled else "unknown",
                actor=self._actor.address if self._actor else None,
                status=reply.status[:4].strip(),
                code=reply.status.split(" ")[1] if reply.status.startswith("-ERR") else None,
                ms=round((time.monotonic() - started) * 1000, 1),
            )
            replies = [reply]
        if not self._actor and not any(reply.close for reply in replies):
            replies += self._spent_budgets()
        return replies

    def _spent_budgets(self) -> list[Reply]:
        allowed = self._service.config.daemon.login_attempts
        if self._failed_logins >= allowed:
            return [refuse("5.105", close=True)]
        if self._lines >= allowed:
            return [refuse("5.102", close=True)]
        return []

    @property
    def _request(self) -> str:
        return f"{self._id}-{self._lines}"

    @property
    def _level(self) -> Level:
        return self._actor.level if self._actor else Level.ANYBODY

    def _is_known(self, verb: str) -> bool:
        return bool(
            find_command(verb, Level.SYSTEM) or verb in _LOGINS or verb in {*QUIT_VERBS, "help"}
        )

    def _unknown(self) -> Reply:
        return refuse("4.107" if self._actor else "4.104")

    def _guarded(self, verb: str, words: Words) -> Reply:
        """Carry out a command; whatever goes wrong, answer it and live on."""
        try:
            return self._carry_out(verb, words)
        except errors.DatabaseUnavailable as error:
            self._log.error("database unavailable", request=self._request, error=str(error))
            return TEMPORARY_ERROR
        except Exception:  # noqa: BLE001 - a defect must not take the connection down
            self._log.exception("internal error", request=self._request, verb=verb)
            return INTERNAL_ERROR

    def _carry_out(self, verb: str, words: Words) -> Reply:
        if verb in QUIT_VERBS:
            return Reply(OK, close=True)
        if verb == "help":
            return help_reply(self._level)
        if self._actor is None:
            if verb in _LOGINS:
                return self._log_in(verb, words)
        elif command := find_command(verb, self._level):
            return self._run(command, self._actor, words)
        reply = self._unknown()
        # Somebody's browser was made to talk to us: what follows is not meant for us either.
        reply.close = verb in HTTP_VERBS
        return reply

    # --- login --------------------------------------------------------------------------------

    def _log_in(self, verb: str, words: Words) -> Reply:
        address, password = words.next(), words.rest()
        if not address:
            return refuse("6.203")
        if not password:
            return refuse("7.204")
        try:
            login = accounts.verify_login(self._find_login(address), password)
        except errors.InvalidAddress:
            self._failed_logins += 1
            return refuse("8.205")
        except errors.InvalidLogin:
            self._failed_logins += 1
            # A word that is no address may be a password in the wrong place.
            self._log.warning("login failed", account=address[:320] if "@" in address else None)
            return refuse("8.207")
        self._actor, self._compact = login.actor, verb != "login"
        self._log = self._log.bind(actor=login.actor.address)
        return ok() if verb == "slogin" else login_reply(login, compact=self._compact)

    def _find_login(self, address: str) -> Login | None:
        with self._service.database.reader() as session:
            name, domain = parse_address(session, address, self._peer.local_ip)
            return accounts.find_login(session, name, domain, self._service.config.paths.vpopmail)

    # --- commands -----------------------------------------------------------------------------

    def _run(self, command: Command, actor: Actor, words: Words) -> Reply:
        try:
            with self._service.database.reader() as session:
                answer = command.handler(self._call(session, actor, words))
            return answer() if callable(answer) else answer
        except Exception as error:
            reply = refusal(error, command, actor.level)
            if reply is None:
                raise
            return reply

    def _call(self, session: Session, actor: Actor, words: Words) -> Call:
        return Call(
            session=session,
            actor=actor,
            words=words,
            compact=self._compact,
            config=self._service.config,
            local_ip=self._peer.local_ip,
        )


_LOGINS = frozenset({"login", "clogin", "slogin"})
