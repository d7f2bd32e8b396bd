"""One client's conversation: greeting, login, budgets, and one transaction a command.

Lines go in, replies come out; there is no socket here, so TCP and standard input are served alike.
Neither passwords nor other parameters are logged, only verbs, outcomes and who logged in.
"""

import errno
import itertools
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session
from structlog.typing import FilteringBoundLogger

from vpopsql import errors, passwords
from vpopsql.config import Config
from vpopsql.daemon.call import (
    Afterwards,
    Answer,
    Body,
    Call,
    Effects,
    Unsynced,
    Write,
    parse_address,
)
from vpopsql.daemon.commands import (
    COMMANDS,
    FILES_BEHIND,
    INTERNAL_ERROR,
    LOGIN_VERBS,
    QUIT_VERBS,
    TEMPORARY_ERROR,
    Command,
    find_command,
    help_reply,
    refusal,
    refuse,
)
from vpopsql.daemon.guard import Door, OpenDoor
from vpopsql.daemon.metrics import Metrics, Result
from vpopsql.daemon.reading import login_reply
from vpopsql.db import Database
from vpopsql.names import lower
from vpopsql.prepared import commit
from vpopsql.protocol import (
    COMMAND_LINE_MAX,
    END,
    HTTP_VERBS,
    Overlong,
    Reply,
    Words,
    decode,
    failure,
    ok,
    parse_command,
)
from vpopsql.services import accounts, changes, logins
from vpopsql.services.accounts import Login
from vpopsql.services.rights import Actor, Level
from vpopsql.touched import Touched
from vpopsql.tree import Replaced, UnsafePath

# Under tcpserver each connection has a process of its own, so numbers alone would be all alike.
_PROCESS = secrets.token_hex(4)
_connections = itertools.count(1)
_KNOWN = frozenset({*COMMANDS, *LOGIN_VERBS, *QUIT_VERBS, "help"})

_FIRST_WORD = re.compile(r"[^\s\0]+")

T = TypeVar("T")


_QUICK_S = 0.5
"""A read that fails sooner met connections that had been broken before it."""

TOO_MANY_CONNECTIONS = failure("3.111", "Too many connections", close=True)


class Files(Protocol):
    """What keeps the site's files in step with the database."""

    def follow(self, touched: Touched) -> None:
        """Return once the files show what was committed. :raises ExportFailed: they do not."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all conversations of a daemon share."""

    database: Database
    config: Config
    files: Files
    metrics: Metrics = field(default_factory=Metrics)
    verify: Callable[[str, str | None], bool] = passwords.verify
    """Whether a password belongs to a hash, as `passwords.verify` has it."""
    after_login: Callable[[Login, str], object] = lambda _login, _password: None
    """Told of every good login with its password; must take no time, and not raise."""
    door: Door = field(default_factory=OpenDoor)
    log: FilteringBoundLogger = field(
        default_factory=lambda: structlog.get_logger("vpopsql.daemon").bind()
    )
    """What conversations say; made once, as it takes as long as saying something."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The two ends of a connection, as far as they are known."""

    remote_ip: str = ""
    local_ip: str = ""


@dataclass(slots=True)
class _Collecting:
    """The lines that follow a command, so far."""

    command: Command
    actor: Actor
    body: Body
    max_bytes: int
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    is_too_large: bool = False

    def add(self, raw: bytes | Overlong) -> None:
        """Take a line; forget all of them when they become too many bytes."""
        self.size += 0 if isinstance(raw, Overlong) else len(raw) + 1
        if isinstance(raw, Overlong) or self.size > self.max_bytes:
            self.is_too_large = True
            self.lines.clear()
        elif not self.is_too_large:
            self.lines.append(raw)

    def all_lines(self) -> list[bytes]:
        """Return the lines. :raises OSError: they were too many."""
        if self.is_too_large:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return self.lines


class _Answered(NamedTuple):
    """What is logged of a command."""

    request: str
    verb: str
    account: str
    status: str
    seconds: float


class _OtherRightsError(Exception):
    """Who wants to change something has other rights by now than when he asked."""


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
        self._collecting: _Collecting | None = None
        self._refused: Command | None = None
        """A command that was refused, whose body the client may send all the same."""
        self._is_first = False
        """Whether no line of that body has come yet."""
        self._id = f"{_PROCESS}-{next(_connections)}"
        self._verb = ""
        """What is carried out at the moment; of lines that follow a command, its verb."""
        self._unlogged: list[_Answered] = []
        self._replaced = Replaced()
        self._unsynced: list[Unsynced] = []
        self._about_connection = service.log.bind(connection=self._id, peer=peer.remote_ip or None)
        self._about_connection.debug("connected")

    @property
    def is_logged_in(self) -> bool:
        """Tell whether there was a good login."""
        return self._actor is not None

    @property
    def account(self) -> str:
        """Return who has logged in; empty: nobody."""
        return self._actor.address if self._actor else ""

    @property
    def line_max(self) -> int:
        """Return how long the next line may be, in bytes: a file's lines may be longer."""
        config = self._service.config.daemon
        in_file = self._collecting is not None and self._collecting.command.body_is_file
        return config.max_file_bytes if in_file else COMMAND_LINE_MAX

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
        if self._collecting:
            return self._collect(self._collecting, raw)
        if self._refused and self._is_swallowed(self._refused, raw):
            return []
        replies = self._take_command(raw)
        if not self._actor and not any(reply.close for reply in replies):
            replies += self._spent_budgets()
        return replies

    def _take_command(self, raw: bytes | Overlong) -> list[Reply]:
        if isinstance(raw, Overlong) or b"\0" in raw:
            start = raw.start if isinstance(raw, Overlong) else raw
            return self._answer("", lambda: [self._unknown(decode(start))])
        line = decode(raw)
        verb, words = parse_command(line)
        return self._answer(verb, lambda: self._carry_out(verb, words, line)) if verb else []

    def _spent_budgets(self) -> list[Reply]:
        allowed = self._service.config.daemon.login_attempts
        if self._failed_logins >= allowed:
            return [refuse("5.105", close=True)]
        if self._lines >= allowed:
            return [refuse("5.102", close=True)]
        return []

    @property
    def _logger(self) -> FilteringBoundLogger:
        """Return where to say something about what is carried out."""
        return self._about_connection.bind(request=self._request, verb=self._verb)

    @property
    def _request(self) -> str:
        return f"{self._id}-{self._lines}"

    @property
    def _level(self) -> Level:
        return self._actor.level if self._actor else Level.ANYBODY

    def _unknown(self, line: str) -> Reply:
        """Refuse a line that is no command, although it may have been meant to be one."""
        if self._actor and (first := _FIRST_WORD.search(line)):
            meant = find_command(first[0].lower(), self._actor.level)
            if meant and meant.has_body:
                self._expect_body_of(meant)
        return refuse("4.107" if self._actor else "4.104")

    def _expect_body_of(self, refused: Command) -> None:
        self._refused, self._is_first = refused, True

    def _answer(self, verb: str, work: Callable[[], list[Reply]]) -> list[Reply]:
        """Do some work and log it; whatever goes wrong, answer it and live on."""
        # Before others of the same client wait for what its last command has moved away.
        self._sync()
        started = time.monotonic()
        verb = self._verb = verb if verb in _KNOWN else "unknown"
        result = None
        try:
            replies = work()
        except errors.DatabaseUnavailable as error:
            self._logger.error("database unavailable", error=str(error))  # noqa: TRY400 - no defect
            replies, result = [TEMPORARY_ERROR], Result.DATABASE_UNAVAILABLE
        except errors.ExportFailed as error:
            self._logger.error("files behind", error=str(error))  # noqa: TRY400 - no defect
            replies, result = [FILES_BEHIND], Result.FILES_BEHIND
        except Exception:
            self._logger.exception("internal error")
            replies, result = [INTERNAL_ERROR], Result.INTERNAL_ERROR
        status = replies[0].status if replies else "+OK"
        passed_s = time.monotonic() - started
        if not self._collecting:
            said = Result.REFUSED if status.startswith("-ERR") else Result.OK
            self._service.metrics.command(verb, result or said, passed_s)
        self._unlogged.append(_Answered(self._request, verb, self.account, status, passed_s))
        return replies

    def after_answers(self) -> None:
        """Do what nobody has to wait for; to be called when all has been answered.

        The lines of the log, which take a sixth of the time of a short command; what files had
        that were replaced, a tenth of that of an `add_user`; and the disk for what went to the
        trash, a fifth of that of a `del_user`.
        """
        self._sync()
        self._replaced.let_go()
        for each in self._unlogged:
            self._about_connection.info(
                "command",
                request=each.request,
                verb=each.verb,
                actor=each.account or None,
                status=each.status[:4].strip(),
                code=each.status.split(" ")[1] if each.status.startswith("-ERR") else None,
                ms=round(each.seconds * 1000, 1),
            )
        self._unlogged.clear()

    def _sync(self) -> None:
        unsynced, self._unsynced = self._unsynced, []
        for tree, directories in unsynced:
            for directory in directories:
                try:
                    tree.sync(directory)
                except FileNotFoundError:
                    pass  # purged or moved by now
                except (OSError, UnsafePath) as error:
                    self._about_connection.error("trash not on disk", error=str(error))

    def _carry_out(self, verb: str, words: Words, line: str) -> list[Reply]:
        if verb in QUIT_VERBS:
            return [ok(close=True)]
        if verb == "help":
            return [help_reply(self._level)]
        if self._actor is None:
            if verb in LOGIN_VERBS:
                return [self._log_in(verb, words)]
        elif command := find_command(verb, self._level):
            return self._run(command, self._actor, words)
        reply = self._unknown(line)
        # Somebody's browser was made to talk to us: what follows is not meant for us either.
        reply.close = verb in HTTP_VERBS
        return [reply]

    # --- login ----------------------------------------------------------------------------------

    def _log_in(self, verb: str, words: Words) -> Reply:
        address, password = words.next(), words.rest()
        if not address:
            return refuse("6.203")
        if not password:
            return refuse("7.204")
        try:
            found = self._find_login(address)
            account = found.actor.address if found else lower(address)
            with self._service.door.attempt(account, self._peer.remote_ip, "vpopmaild"):
                login = accounts.verify_login(found, password, self._service.verify)
                logins.require_good_hash(
                    login.account.password_hash,
                    self._service.config.passwords.deadlines,
                    datetime.now(UTC).date(),
                )
        except errors.InvalidAddress:
            self._fail_login()
            return refuse("8.205")
        except errors.InvalidLogin as error:
            self._fail_login()
            # A word that is no address may be a password in the wrong place.
            shown = address[:320] if "@" in address else None
            self._logger.warning("login failed", account=shown, reason=str(error) or None)
            return refuse("8.207")
        self._service.metrics.login(is_good=True)
        self._actor = login.actor
        self._service.after_login(login, password)
        self._compact = verb != "login"
        return ok() if verb == "slogin" else login_reply(login, compact=self._compact)

    def _fail_login(self) -> None:
        self._failed_logins += 1
        self._service.metrics.login(is_good=False)

    def _find_login(self, address: str) -> Login | None:
        site = self._service.config.paths.vpopmail

        def find(session: Session) -> Login | None:
            name, domain = parse_address(session, address, self._peer.local_ip)
            return accounts.find_login(
                session,
                name,
                domain,
                site,
                remote_ip=self._peer.remote_ip,
                request_id=self._request,
            )

        return self._read(find)

    def _read(self, work: Callable[[Session], T]) -> T:
        """Do what only reads, once more if the database has just come back."""
        started = time.monotonic()
        try:
            return self._service.database.read(work)
        except errors.DatabaseUnavailable:
            if time.monotonic() - started > _QUICK_S:
                raise
            self._service.metrics.database_error()
        return self._service.database.read(work)

    # --- commands -------------------------------------------------------------------------------

    def _run(self, command: Command, actor: Actor, words: Words) -> list[Reply]:
        try:
            actor, answer = self._ask(command, actor, words, leaves_changes=True)
            if isinstance(answer, Write):
                try:
                    return [self._write(answer, actor)]
                except _OtherRightsError:
                    actor, answer = self._ask(command, actor, words)
            if isinstance(answer, Body):
                most = self._service.config.daemon.max_file_bytes
                self._collecting = _Collecting(command, actor, answer, most)
                return [answer.greeting] if answer.greeting else []
            if isinstance(answer, Write):
                return [self._write(answer, actor)]
            return [answer.make() if isinstance(answer, Afterwards) else answer]
        except _OtherRightsError:
            # They change all the time.
            return [refuse("4.107")]
        except Exception as error:
            reply = refusal(error, command, self._level)
            if command.has_body:
                self._expect_body_of(command)
            if reply is None:
                raise
            return [reply]

    def _ask(
        self, command: Command, actor: Actor, words: Words, *, leaves_changes: bool = False
    ) -> tuple[Actor, Answer]:
        actor, answer = self._read(
            lambda session: self._handle(session, command, actor, words, leaves_changes)
        )
        self._actor = actor
        return actor, answer

    def _handle(
        self,
        session: Session,
        command: Command,
        actor: Actor,
        words: Words,
        leaves_changes: bool,  # noqa: FBT001 - `_ask` names it
    ) -> tuple[Actor, Answer]:
        """Ask a handler, with the rights that ``actor`` has by now; return these, too.

        They hardly ever change, so the handler is asked before they have come: where the database
        is far away, its own question goes there together with the one for the rights. What it
        says counts only if they are the same.

        :param leaves_changes: leave it to `_commit`, which asks for the rights anyway, to see
            whether those of who wants to change something are the same.
        """
        rights = accounts.ask_present_rights(session, actor)
        try:
            answer = command.handler(self._call(session, actor, words.copy()))
        except Exception:
            if (present := rights()) is actor:
                raise
        else:
            is_left = leaves_changes and isinstance(answer, Write)
            if is_left or (present := rights()) is actor:
                return actor, answer
        if command.level > present.level:
            return present, refuse("4.107")
        return present, command.handler(self._call(session, present, words.copy()))

    def _write(self, write: Write, actor: Actor) -> Reply:
        """Make a change: commit it, bring the files to it, and only then answer.

        :raises _OtherRightsError: nothing was changed.
        """
        try:
            reply, effects = self._commit(write, actor)
        except errors.Conflict:
            # Another session was quicker; a second look sees what it did.
            reply, effects = self._commit(write, actor)
        if effects.touched:
            self._follow(effects.touched)
        for action in effects.actions:
            action()
        self._unsynced += effects.unsynced
        return reply or ok()

    def _follow(self, touched: Touched) -> None:
        started = time.monotonic()
        is_good = False
        try:
            with self._replaced.kept():
                self._service.files.follow(touched)
            is_good = True
        finally:
            self._service.metrics.files_written(time.monotonic() - started, is_good=is_good)

    def _commit(self, write: Write, actor: Actor) -> tuple[Reply | None, Effects]:
        effects = Effects()
        with self._service.database.writer() as session:
            rights = accounts.ask_present_rights(session, actor)
            write.expect(session)
            if rights() != actor:
                raise _OtherRightsError
            reply = write.job(session, effects)
            himself = None
            if effects.touched.may_have_lost(actor.domain, actor.name):
                himself = accounts.ask_present_rights(session, actor, may_be_gone=True)
            # Together with what was asked last. From here on nothing may be asked: if that failed,
            # nobody would hear of a change that is made.
            commit(session)
            effects.touched.revisions |= changes.revisions_of(session)
            if effects.sight:
                effects.touched.seen = effects.sight.seen()
            deleted_himself = himself is not None and himself().is_gone
        if deleted_himself:
            self._actor = replace(actor, deleted_himself=True)
        return reply, effects

    def _call(self, session: Session, actor: Actor, words: Words) -> Call:
        return Call(
            session=session,
            caller=actor,
            request_id=self._request,
            words=words,
            compact=self._compact,
            config=self._service.config,
            local_ip=self._peer.local_ip,
        )

    # --- lines that follow a command ------------------------------------------------------------

    def _collect(self, collecting: _Collecting, raw: bytes | Overlong) -> list[Reply]:
        """Take a line of a command's body; at the last one, finish the command."""
        if isinstance(raw, Overlong) or decode(raw) != END:
            collecting.add(raw)
            return []
        self._collecting = None
        return self._answer(collecting.command.verb, lambda: [self._finish(collecting)])

    def _finish(self, collecting: _Collecting) -> Reply:
        try:
            return self._write(collecting.body.finish(collecting.all_lines()), collecting.actor)
        except _OtherRightsError:
            # What was asked with other rights has to be asked again.
            return refuse("4.107")
        except Exception as error:
            reply = refusal(error, collecting.command, self._level)
            if reply is None:
                raise
            return reply

    def _is_swallowed(self, refused: Command, raw: bytes | Overlong) -> bool:
        """Tell whether a line belongs to the body of a command that was refused.

        Clients that send a file do not wait for an answer, so all of it is dropped. Of those that
        send options some wait and go on with another command, which no option is called like.
        """
        line = "" if isinstance(raw, Overlong) else decode(raw)
        is_first = self._is_first
        # Nothing is answered to a blank line either way.
        self._is_first = is_first and not line.strip(" \t")
        if line == END:
            self._refused = None
            return True
        if not refused.body_is_file and is_first and parse_command(line)[0] in _KNOWN:
            self._refused = None
            return False
        return True
