"""Clients with a domain of their own: what they do, and what they must be told."""

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from scripts.soaking import Wrong
from vpopsql.client import Client, Refused, commands
from vpopsql.client.commands import Command

PASSWORD = "a word between us"  # noqa: S105 - of a site that lives for an hour
SYSTEM = "postmaster@root.example"
"""The system administrator."""

USERS = ("u0", "u1", "u2")
"""Users that each domain has from the beginning, besides its postmaster."""

AWAY = "0.108"
"""The database is away, or busy for too long: to be tried again later."""

_MOST = 4
"""Users, aliases, files and directories that are added before one is deleted."""

_PIPELINE = 20
_LINES = 40

T = TypeVar("T")


@dataclass(slots=True)
class Domain:
    """What is known of a domain that one client alone changes."""

    name: str
    number: int
    users: dict[str, str] = field(default_factory=dict)
    """Names and comments, its postmaster's too."""
    aliases: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    has_alias_domain: bool = False
    has_other: bool = False
    """Whether there is a second domain of this client's."""
    is_mapped: bool = False
    accounts_max: int = -1

    @property
    def postmaster(self) -> str:
        """Return its administrator."""
        return f"postmaster@{self.name}"

    @property
    def alias_domain(self) -> str:
        """Return the name of its alias domain."""
        return f"also-{self.name}"

    @property
    def other(self) -> str:
        """Return the name of the second domain."""
        return f"other-{self.name}"

    @property
    def ip(self) -> str:
        """Return the address that is mapped to it."""
        return f"10.7.{self.number // 250}.{self.number % 250 + 1}"


def expect(found: object, wanted: object, what: str) -> None:
    """Compare an answer. :raises Wrong: it is another one."""
    if found != wanted:
        raise Wrong(f"{what}: {wanted!r} was expected, {found!r} came")


class Talk:
    """One session of a client: steps that it may take, each of which checks what it is told.

    :param put_off: called when the daemon says that the database is away, as it does when others
        keep it busy for seconds; waits, or raises.
    """

    def __init__(
        self,
        client: Client,
        domain: Domain,
        rng: random.Random,
        serial: "itertools.count[int]",
        put_off: Callable[[], None],
    ) -> None:
        self._client = client
        self._domain = domain
        self._rng = rng
        self._serial = serial
        self._put_off = put_off

    def _run(self, command: Command[T]) -> T:
        """Carry out a command, again if it is to be tried later: then it was not carried out."""
        while True:
            try:
                return self._client.run(command)
            except Refused as refused:
                if refused.code != AWAY:
                    raise
                self._put_off()

    def _ask(self, command: Command[T], wanted: T) -> None:
        what = f"{command.verb} of {self._domain.name}"
        try:
            expect(self._run(command), wanted, what)
        except Refused as refused:
            raise Wrong(f"{what}: {refused}") from None

    def _be_refused(self, command: Command[T], code: str) -> None:
        try:
            found = self._run(command)
        except Refused as refused:
            expect(refused.code, code, f"{command.verb} of {self._domain.name}")
        else:
            raise Wrong(f"{command.verb} of {self._domain.name} is not refused: {found!r}")

    def _new(self, prefix: str) -> str:
        return f"{prefix}{next(self._serial)}"

    def _is_full(self, things: Iterable[object]) -> bool:
        return len(list(things)) >= self._rng.randint(1, _MOST)

    # --- what an administrator of a domain does -------------------------------------------------

    def look_up(self) -> None:
        """Ask for one user."""
        domain = self._domain
        name, comment = self._rng.choice(list(domain.users.items()))
        found = self._run(commands.user_info(f"{name}@{domain.name}"))
        expect((found.name, found.comment), (name, comment), f"user_info of {domain.name}")

    def look_up_many(self) -> None:
        """Ask for users without waiting for answers."""
        domain = self._domain
        names = self._rng.choices(list(domain.users), k=_PIPELINE)
        many = [commands.user_info(f"{name}@{domain.name}") for name in names]
        answers = list(self._client.run_all(many))
        while any(isinstance(each, Refused) and each.code == AWAY for each in answers):
            self._put_off()
            answers = list(self._client.run_all(many))
        found = [
            str(each) if isinstance(each, Refused) else (each.name, each.comment)
            for each in answers
        ]
        wanted = [(name, domain.users[name]) for name in names]
        expect(found, wanted, f"a pipeline of {domain.name}")

    def look_up_nobody(self) -> None:
        """Ask for a user that there is not."""
        self._be_refused(commands.user_info(f"nobody@{self._domain.name}"), "12.605")

    def list_users(self) -> None:
        """List and count the users."""
        domain = self._domain
        found = self._run(commands.list_users(domain.name))
        users = {each.name: each.comment for each in found}
        expect(users, domain.users, f"list_users of {domain.name}")
        self._ask(commands.user_count(domain.name), len(domain.users))

    def change_users(self) -> None:
        """Add a user, or delete one that was added."""
        domain = self._domain
        added = [name for name in domain.users if name.startswith("new")]
        if self._is_full(added):
            name = self._rng.choice(added)
            self._ask(commands.del_user(f"{name}@{domain.name}"), None)
            del domain.users[name]
        else:
            name = self._new("new")
            self._ask(commands.add_user(f"{name}@{domain.name}", PASSWORD), None)
            domain.users[name] = name
            self._be_refused(commands.add_user(f"{name}@{domain.name}", PASSWORD), "0.305")

    def modify_user(self) -> None:
        """Change a comment and a quota."""
        domain = self._domain
        name = self._rng.choice([name for name in domain.users if name != "postmaster"])
        comment = self._new("Comment ")
        quota = f"{self._rng.randrange(1, 1000)}M"
        modified = commands.mod_user(f"{name}@{domain.name}", comment=comment, quota=quota)
        self._ask(modified, None)
        domain.users[name] = comment

    def list_aliases(self) -> None:
        """List the aliases."""
        domain = self._domain
        found = self._run(commands.list_alias(domain.name))
        lines = sorted((each.address, each.line) for each in found)
        wanted = sorted(
            (f"{name}@{domain.name}", line)
            for name, lines in domain.aliases.items()
            for line in lines
        )
        expect(lines, wanted, f"list_alias of {domain.name}")

    def change_aliases(self) -> None:
        """Add a line to an alias, take one away, or delete the alias."""
        domain = self._domain
        name = self._rng.choice(("sales", "info"))
        address, lines = f"{name}@{domain.name}", domain.aliases.get(name, [])
        if not self._is_full(lines):
            line = f"&{self._new('x')}@elsewhere.example"
            self._ask(commands.add_alias(address, line), None)
            domain.aliases.setdefault(name, []).append(line)
        elif len(lines) > 1:
            line = self._rng.choice(lines)
            self._ask(commands.remove_alias(address, line), None)
            lines.remove(line)
        else:
            self._ask(commands.delete_alias(address), None)
            del domain.aliases[name]

    # --- files ----------------------------------------------------------------------------------

    def change_files(self) -> None:
        """Write, rename or remove a file."""
        domain, files = self._domain, self._domain.files
        if not self._is_full(files):
            name = self._new("note")
            lines = [self._new("line ") for _ in range(self._rng.randrange(1, _LINES))]
            self._ask(commands.write_file(f"{domain.name}/{name}", lines), None)
            files[name] = lines
        elif self._rng.random() < 0.5:  # noqa: PLR2004 - every other time
            name, new = self._rng.choice(list(files)), self._new("note")
            paths = f"{domain.name}/{name}", f"{domain.name}/{new}"
            self._ask(commands.rename_file(*paths), None)
            files[new] = files.pop(name)
        else:
            name = self._rng.choice(list(files))
            self._ask(commands.rm_file(f"{domain.name}/{name}"), None)
            del files[name]

    def read_file(self) -> None:
        """Read a file, or one that is not there."""
        domain = self._domain
        if domain.files:
            name, lines = self._rng.choice(list(domain.files.items()))
            self._ask(commands.read_file(f"{domain.name}/{name}"), lines)
        else:
            self._be_refused(commands.read_file(f"{domain.name}/nothing"), "0.2102")

    def change_directories(self) -> None:
        """Make a directory, or remove one."""
        domain = self._domain
        if self._is_full(domain.directories):
            name = domain.directories.pop(self._rng.randrange(len(domain.directories)))
            self._ask(commands.rm_dir(f"{domain.name}/{name}"), None)
        else:
            name = self._new("dir")
            self._ask(commands.mk_dir(f"{domain.name}/{name}"), None)
            domain.directories.append(name)

    def list_directory(self) -> None:
        """List the files of the domain's directory, but for those of mail and of users."""
        domain = self._domain
        found = self._run(commands.list_dir(f"{domain.name}/"))
        names = sorted(each.name for each in found if each.name.startswith(("note", "dir")))
        wanted = sorted([*domain.files, *domain.directories])
        expect(names, wanted, f"list_dir of {domain.name}")

    # --- what a system administrator does -------------------------------------------------------

    def change_domains(self) -> None:
        """Add a domain, or delete it."""
        domain = self._domain
        if domain.has_other:
            self._ask(commands.del_domain(domain.other), None)
        else:
            self._ask(commands.add_domain(domain.other, PASSWORD), None)
        domain.has_other = not domain.has_other

    def change_alias_domains(self) -> None:
        """Add an alias domain, or delete it."""
        domain = self._domain
        if domain.has_alias_domain:
            self._ask(commands.del_domain(domain.alias_domain), None)
        else:
            self._ask(commands.add_alias_domain(domain.name, domain.alias_domain), None)
        domain.has_alias_domain = not domain.has_alias_domain

    def list_domains(self) -> None:
        """List all domains: those of this client are as they must be."""
        domain = self._domain
        found = {each.name for each in self._run(commands.list_domains())}
        mine = {domain.name: True, domain.other: domain.has_other}
        mine[domain.alias_domain] = domain.has_alias_domain
        wanted = {name for name, is_there in mine.items() if is_there}
        expect(found & set(mine), wanted, f"list_domains of {domain.name}")

    def describe_domain(self) -> None:
        """Ask for the domain."""
        domain = self._domain
        found = self._run(commands.dom_info(domain.name))
        aliases = (domain.alias_domain,) if domain.has_alias_domain else ()
        told = (found.name, found.aliases)
        expect(told, (domain.name, aliases), f"dom_info of {domain.name}")

    def change_limits(self) -> None:
        """Set a limit, or delete all of them."""
        domain = self._domain
        if domain.accounts_max < 0:
            domain.accounts_max = self._rng.randrange(50, 1000)
            limits = commands.set_limits(domain.name, max_popaccounts=domain.accounts_max)
            self._ask(limits, None)
        else:
            domain.accounts_max = -1
            self._ask(commands.del_limits(domain.name), None)
        found = self._run(commands.get_limits(domain.name))
        expect(found.max_popaccounts, domain.accounts_max, f"get_limits of {domain.name}")

    def change_ip_map(self) -> None:
        """Map an address to the domain, or forget it."""
        domain = self._domain
        change = commands.del_ip_map if domain.is_mapped else commands.add_ip_map
        self._ask(change(domain.ip, domain.name), None)
        domain.is_mapped = not domain.is_mapped
        if domain.is_mapped:
            self._ask(commands.get_ip_map(domain.ip), domain.name)
        else:
            self._be_refused(commands.get_ip_map(domain.ip), "0.3003")

    # --- what a user does -----------------------------------------------------------------------

    def change_oneself(self) -> None:
        """Change one's own comment."""
        domain, comment = self._domain, self._new("I am ")
        self._ask(commands.mod_user(f"{USERS[0]}@{domain.name}", comment=comment), None)
        domain.users[USERS[0]] = comment

    def look_around(self) -> None:
        """List one's own directory, and be kept out of another's."""
        domain = self._domain
        found = self._run(commands.list_dir(f"{USERS[0]}@{domain.name}/"))
        kinds = [each.kind for each in found if each.name == "Maildir"]
        expect(kinds, ["dir"], f"list_dir of {USERS[0]}@{domain.name}")
        self._be_refused(commands.list_dir(f"{USERS[1]}@{domain.name}/"), "12.1508")


Step = Callable[[Talk], None]

ROLES: dict[str, tuple[Step, ...]] = {
    "postmaster": (
        *(Talk.look_up,) * 8,
        Talk.look_up_many,
        Talk.look_up_nobody,
        *(Talk.list_users,) * 3,
        *(Talk.change_users,) * 3,
        *(Talk.modify_user,) * 3,
        *(Talk.list_aliases,) * 2,
        *(Talk.change_aliases,) * 3,
        *(Talk.change_files,) * 3,
        *(Talk.read_file,) * 2,
        Talk.change_directories,
        Talk.list_directory,
    ),
    SYSTEM: (
        *(Talk.list_domains,) * 2,
        *(Talk.describe_domain,) * 4,
        *(Talk.look_up,) * 4,
        *(Talk.list_users,) * 2,
        Talk.change_domains,
        Talk.change_alias_domains,
        Talk.change_limits,
        Talk.change_ip_map,
    ),
    USERS[0]: (Talk.change_oneself, Talk.look_around),
}
"""Who logs in, by the name before the @ or a whole address, and what he does."""
