"""Clients that change a site as fast as they are answered, and remember what they were told."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.torturing.ledger import Change, Key, Ledger, content
from vpopsql.client import Client, ClientError, Disconnected, Refused, commands, connect
from vpopsql.client.commands import Command

SHARED = "shared.example"
"""A domain that all clients change."""

DOMAINS = "/home/vpopmail/domains"

_PASSWORD = "a word between us"  # noqa: S105 - of mailboxes that live for seconds
_UNKNOWN = frozenset({"0.108"})
"""Refusals after which a change may have been carried out: the database broke."""
_BEHIND = "0.112"
"""Saved, but not all files could be written."""
_DEFECT = "0.109"
"""Internal error: what no client must ever hear."""
_RETRY_S = 0.01
_LONG_FILE_LINES = 4000

Step = tuple[Command[None], Change] | None


@dataclass(slots=True)
class Told:
    """What all clients of a run were told, counted."""

    answers: Counter[str] = field(default_factory=Counter)
    """``ok``, ``unanswered``, or the code of a refusal."""
    verbs: Counter[str] = field(default_factory=Counter)
    """Commands that were carried out."""
    defect: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, answer: str, verb: str) -> None:
        """Count an answer."""
        with self._lock:
            self.answers[answer] += 1
            if answer == "ok":
                self.verbs[verb] += 1


class Pause:
    """Lets clients be stopped between two commands."""

    def __init__(self, clients: int) -> None:
        self._changed = threading.Condition()
        self._wanted = True
        self._resting = 0
        self._clients = clients
        self.is_over = False

    def rest(self) -> None:
        """Wait while a pause is wanted; called by clients."""
        with self._changed:
            self._resting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._wanted or self.is_over)
            self._resting -= 1

    @property
    def is_wanted(self) -> bool:
        """Tell whether clients are to stop."""
        return self._wanted or self.is_over

    def begin(self) -> None:
        """Return once no client has a command under way."""
        with self._changed:
            self._wanted = True
            self._changed.wait_for(lambda: self._resting == self._clients)

    def end(self) -> None:
        """Let clients go on."""
        with self._changed:
            self._wanted = False
            self._changed.notify_all()

    def finish(self) -> None:
        """Let clients end."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()


class Worker(threading.Thread):
    """One client.

    :param port: where the daemon listens by now.
    :param login: address and password of a system administrator.
    """

    def __init__(
        self,
        number: int,
        seed: int,
        port: Callable[[], int],
        login: tuple[str, str],
        pause: Pause,
        told: Told,
    ) -> None:
        super().__init__(name=f"client {number}", daemon=True)
        self.ledger = Ledger()
        self._port = port
        self._login = login
        self._pause = pause
        self._told = told
        self._client: Client | None = None
        self._choices = _Choices(number, random.Random(f"{seed} {number}"), self.ledger)  # noqa: S311

    def run(self) -> None:
        """Change the site until it is over."""
        while not self._pause.is_over:
            if self._pause.is_wanted or self.ledger.open:
                self._pause.rest()
                continue
            try:
                self._connect()
            except ClientError:
                self._hang_up()
                self._wait()
            else:
                self._step()
        self._hang_up()

    def _wait(self) -> None:
        threading.Event().wait(_RETRY_S)

    def _connect(self) -> None:
        if self._client is None:
            self._client = connect(port=self._port(), timeout_s=20)
            self._client.login(*self._login, verb="slogin")

    def _hang_up(self) -> None:
        if self._client:
            with contextlib.suppress(ClientError):
                self._client.close()
        self._client = None

    def _step(self) -> None:
        step = self._choices.next()
        if step is None or self._client is None:
            return
        command, change = step
        try:
            self._client.run(command)
        except Refused as refused:
            self._refused(refused, command.verb, change)
        except Disconnected:
            self._told.count("unanswered", command.verb)
            self.ledger.leave_open(change)
            self._hang_up()
        except ClientError as error:
            self._told.defect = f"{change.what}: {error}"
            self.ledger.leave_open(change)
            self._hang_up()
        else:
            self._told.count("ok", command.verb)
            self.ledger.confirm(change)

    def _refused(self, refused: Refused, verb: str, change: Change) -> None:
        self._told.count(str(refused), verb)
        if refused.code == _DEFECT:
            self._told.defect = f"{change.what}: {refused}"
        if refused.code == _BEHIND:
            self.ledger.confirm(change)
        elif refused.code in _UNKNOWN or refused.code == _DEFECT:
            self.ledger.leave_open(change)


class _Choices:
    """What a client does next: something that fits what it knows."""

    def __init__(self, number: int, rng: random.Random, ledger: Ledger) -> None:
        self._rng = rng
        self._facts = ledger.facts
        self._me = f"c{number}"
        self._own = [f"{self._me}d{each}.example" for each in range(2)]
        self._serial = 0
        self._kinds = (
            *(self._user,) * 6,
            *(self._alias,) * 4,
            *(self._dotqmail,) * 2,
            *(self._file,) * 4,
            self._domain,
            self._alias_domain,
            *(self._limits,) * 2,
            *(self._directory,) * 2,
        )

    def next(self) -> Step:
        """Return a command and what it changes; None: nothing came to mind."""
        self._serial += 1
        return self._rng.choice(self._kinds)()

    def _place(self) -> str:
        """Return the name of a domain that is there."""
        mine = [name for name in self._own if Key("domain", name) in self._facts]
        return self._rng.choice([SHARED, *mine])

    def _is_likely(self, chance: float) -> bool:
        return self._rng.random() < chance

    def _one_of(self, prefix: str, many: int) -> str:
        return f"{self._me}{prefix}{self._rng.randrange(many)}"

    def _user(self) -> Step:
        domain, name = self._place(), self._one_of("u", 4)
        key, address = Key("user", domain, name), f"{name}@{domain}"
        if key not in self._facts:
            made = commands.add_user(address, _PASSWORD)
            return made, Change(f"add_user {address}", {key: (name, None)})
        if self._is_likely(0.3):
            return commands.del_user(address), Change(f"del_user {address}", {key: None})
        comment, quota = f"Number {self._serial}", self._rng.randrange(1, 1 << 30)
        modified = commands.mod_user(address, comment=comment, quota=f"{quota}S")
        return modified, Change(f"mod_user {address}", {key: (comment, quota)})

    def _alias(self) -> Step:
        domain, name = self._place(), self._one_of("a", 3)
        key, address = Key("dotqmail", domain, name), f"{name}@{domain}"
        lines = self._facts.get(key, ())
        if len(lines) > 1 and self._is_likely(0.5):
            gone = self._rng.choice(lines)
            left = tuple(line for line in lines if line != gone)
            return (
                commands.remove_alias(address, gone),
                Change(f"remove_alias {address}", {key: left}),
            )
        if lines and self._is_likely(0.3):
            return commands.delete_alias(address), Change(f"delete_alias {address}", {key: None})
        line = f"&n{self._serial}@elsewhere.example"
        return commands.add_alias(address, line), Change(
            f"add_alias {address}", {key: (*lines, line)}
        )

    def _dotqmail(self) -> Step:
        """Write, rename or remove a dot-qmail file as a file."""
        domain, name = self._place(), self._one_of("q", 2)
        key, path = Key("dotqmail", domain, name), f"{DOMAINS}/{domain}/.qmail-{name}"
        other = self._one_of("q", 2)
        if key in self._facts and self._is_likely(0.5):
            to = Key("dotqmail", domain, other)
            if to == key or to in self._facts:
                return commands.rm_file(path), Change(f"rm_file {path}", {key: None})
            renamed = commands.rename_file(path, f"{DOMAINS}/{domain}/.qmail-{other}")
            change = {key: None, to: self._facts[key]}
            return renamed, Change(f"rename_file {path}", change)
        lines = tuple(
            f"&w{self._serial}x{each}@elsewhere.example"
            for each in range(self._rng.randrange(1, 30))
        )
        return commands.write_file(path, lines), Change(f"write_file {path}", {key: lines})

    def _file(self) -> Step:
        """Write, rename or remove a file that the database knows nothing of."""
        domain, name = self._place(), self._one_of("note", 3)
        key, path = Key("file", domain, name), f"{DOMAINS}/{domain}/{name}"
        if key in self._facts and self._is_likely(0.4):
            to = Key("file", domain, self._one_of("note", 3))
            if to == key or to in self._facts:
                return commands.rm_file(path), Change(f"rm_file {path}", {key: None})
            renamed = commands.rename_file(path, f"{DOMAINS}/{domain}/{to.name}")
            change = {key: None, to: self._facts[key]}
            return renamed, Change(f"rename_file {path}", change)
        many = _LONG_FILE_LINES if self._is_likely(0.1) else 20
        lines = [f"{self._serial} line {each}" for each in range(self._rng.randrange(1, many))]
        data = "".join(f"{line}\n" for line in lines).encode()
        written = commands.write_file(path, lines)
        return written, Change(f"write_file {path}", {key: content(data)})

    def _directory(self) -> Step:
        """Make a directory, or move it to the trash with the file that may be in it."""
        domain, name = self._place(), self._one_of("dir", 2)
        key, path = Key("dir", domain, name), f"{DOMAINS}/{domain}/{name}"
        inside = Key("file", domain, f"{name}/note")
        if key not in self._facts:
            return commands.mk_dir(path), Change(f"mk_dir {path}", {key: True})
        if self._is_likely(0.5):
            text = f"{self._serial}"
            return commands.write_file(f"{path}/note", [text]), Change(
                f"write_file {path}/note", {inside: content(f"{text}\n".encode())}
            )
        return commands.rm_dir(path), Change(f"rm_dir {path}", {key: None, inside: None})

    def _domain(self) -> Step:
        name = self._rng.choice(self._own)
        if Key("domain", name) not in self._facts:
            made = commands.add_domain(name, _PASSWORD)
            return made, Change(f"add_domain {name}", {Key("domain", name): ("postmaster",)})
        if self._is_likely(0.5):
            return None
        going = {key: None for key in self._facts if key.domain == name}
        return commands.del_domain(name), Change(f"del_domain {name}", going)

    def _alias_domain(self) -> Step:
        mine = [name for name in self._own if Key("domain", name) in self._facts]
        if not mine:
            return None
        domain = self._rng.choice(mine)
        alias = f"also-{domain}"
        key = Key("alias-domain", domain, alias)
        if key in self._facts:
            return commands.del_domain(alias), Change(f"del_domain {alias}", {key: None})
        made = commands.add_alias_domain(domain, alias)
        return made, Change(f"add_alias_domain {alias}", {key: True})

    def _limits(self) -> Step:
        domain = self._place()
        if domain == SHARED:
            return None
        key = Key("limits", domain)
        if key in self._facts and self._is_likely(0.3):
            return commands.del_limits(domain), Change(f"del_limits {domain}", {key: None})
        accounts, aliases = self._rng.randrange(50, 1000), self._rng.randrange(50, 1000)
        settings = commands.set_limits(domain, max_popaccounts=accounts, max_aliases=aliases)
        return settings, Change(f"set_limits {domain}", {key: (accounts, aliases)})
