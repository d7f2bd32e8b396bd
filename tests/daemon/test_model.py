"""Random commands of three callers against a simple model; rows and files compared at the end."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from tests import databases, factories
from tests.daemon import conftest
from tests.daemon.conversations import Site, Talk
from vpopsql.db import Database
from vpopsql.exporter.apply import apply
from vpopsql.model import (
    DirCounter,
    Domain,
    DomainLimits,
    DomainName,
    DotQmailFile,
    DotQmailLine,
    Flag,
    Mailbox,
)

HOME = "root.example"
"""The domain of the system administrator, which nobody changes."""
OWN = "own.example"
"""The domain of the domain administrator and the user, which nobody deletes."""
DOMAINS = [OWN, "b.example", "c.example"]
NAMES = [*DOMAINS, "alias.example"]
USERS = ["postmaster", "user", "ann", "ben"]
ALIASES = ["one", "two"]
FILES = [".qmail-one", ".qmail-two", ".qmail", "plain"]
LINES = ["ann@own.example", "&x@else.example", "#", "", "y@b.example", "|/bin/true"]
FLAGS = {
    "no_pop": Flag.NO_POP,
    "user_flag_2": Flag.V_USER2,
    "no_maildrop": Flag.NO_MAILDROP,
    "delete_spam": Flag.DELETE_SPAM,
}
ANYONES = {"no_maildrop", "delete_spam"}
LIMITS = {"max_popaccounts": [-1, 2, 3], "max_aliases": [-1, 0, 1], "max_forwards": [-1, 0, 1]}

PlaceKey = tuple[str, str, str]
"""Domain, mailbox (empty: none) and name of a file."""


@dataclass
class Person:
    """A mailbox as it should be."""

    password: str
    comment: str
    quota: str = "NOQUOTA"
    flags: int = 0


@dataclass
class Model:
    """What a site should be."""

    names: dict[str, str] = field(default_factory=lambda: {HOME: HOME})
    """Name -> real domain."""
    people: dict[tuple[str, str], Person] = field(default_factory=dict)
    files: dict[PlaceKey, tuple[str, ...]] = field(default_factory=dict)
    limits: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, domain: str) -> int:
        """Return how many mailboxes a domain has."""
        return len([each for of, each in self.people if of == domain])

    def limit(self, domain: str, name: str) -> int:
        """Return a limit of a domain."""
        return self.limits.get(domain, {}).get(name, -1)

    def kind(self, lines: tuple[str, ...]) -> str:
        """Return the limit that a domain's file is subject to."""
        targets = [line.strip("&").partition("@")[2] for line in lines]
        away = [target for target in targets if target and target not in self.names]
        return "max_forwards" if away else "max_aliases"

    def has_room(self, key: PlaceKey, lines: tuple[str, ...], *, without: PlaceKey) -> bool:
        """Tell whether a domain administrator may write a domain's file."""
        domain, user, name = key
        if user or not name.startswith(".qmail-"):
            return True
        kind, old = self.kind(lines), None if without == key else self.files.get(key)
        if old == lines or (old is not None and self.kind(old) == kind):
            return True
        others = [
            content
            for each, content in self.files.items()
            if each[:2] == (domain, "") and each[2].startswith(".qmail-") and each != without
        ]
        most = self.limit(domain, kind)
        return most < 0 or len([each for each in others if self.kind(each) == kind]) < most


def is_dotqmail(key: PlaceKey) -> bool:
    """Tell whether qmail reads a file: a domain has no ``.qmail``."""
    return key[2].startswith(".qmail-") or (key[2] == ".qmail" and bool(key[1]))


actors = st.sampled_from(["system", "system", "admin", "admin", "user"])
mostly_system = st.sampled_from(["system", "system", "system", "admin"])
names = st.sampled_from([OWN, OWN, OWN, *NAMES])
users = st.sampled_from(["ann", "user", *USERS])
aliases = st.sampled_from(ALIASES)
lines_of_file = st.lists(st.sampled_from(LINES), max_size=3).map(tuple)
places = st.tuples(
    st.just(OWN), st.sampled_from(["", "", "user", "user", "ann"]), st.sampled_from(FILES)
).filter(lambda key: bool(key[1]) or key[2] != ".qmail")
"""A file of a domain, or of a mailbox; no domain has a use for ``.qmail``."""


class Commands(RuleBasedStateMachine):
    """Three callers; each command is a step, answered as the model says it should be."""

    make: Callable[[], Site]

    def __init__(self) -> None:
        super().__init__()
        self.site = self.make()
        self.model = Model()
        self.model.people[HOME, "postmaster"] = Person(factories.PASSWORD, "Postmaster")
        self.passwords = 0
        self.add_domain("system", OWN)
        self.add_user("system", OWN, "user")
        self.add_user("system", OWN, "ann")
        self.add_alias("system", OWN, "one", LINES[1])
        self.write_file("user", (OWN, "user", "plain"), (LINES[0],))

    # --- callers ---

    def talk(self, actor: str) -> Talk:
        """Log in anew, so that each step sees what the one before did."""
        where = {"system": HOME, "admin": OWN, "user": OWN}[actor]
        name = "user" if actor == "user" else "postmaster"
        return self.site.talk((f"{name}@{where}", self.model.people[where, name].password))

    def expect(self, said: list[str], *, good: bool) -> bool:
        """Check the end of an answer; return whether the command was to be carried out."""
        assert said[-1].startswith("+OK" if good else "-ERR "), said
        assert not said[-1].startswith(("-ERR 0.108", "-ERR 0.109", "-ERR 0.112")), said
        return good

    def new_password(self) -> str:
        """Return a password that nobody has."""
        self.passwords += 1
        return f"secret {self.passwords}"

    def administers(self, actor: str, domain: str) -> bool:
        """Tell whether a caller may change what is in a domain."""
        return domain in self.model.names and (
            actor == "system" or (actor == "admin" and domain == OWN)
        )

    # --- domains ---

    @rule(actor=mostly_system, name=st.sampled_from(NAMES[1:]))
    def add_domain(self, actor: str, name: str) -> None:
        password = self.new_password()
        said = self.talk(actor).ask(f"add_domain {name} {password}")
        if self.expect(said, good=actor == "system" and name not in self.model.names):
            self.model.names[name] = name
            self.model.people[name, "postmaster"] = Person(password, "postmaster")

    @rule(actor=mostly_system, first=names, second=names)
    def add_alias_domain(self, actor: str, first: str, second: str) -> None:
        said = self.talk(actor).ask(f"add_alias_domain {first} {second}")
        there = [name for name in (first, second) if name in self.model.names]
        if self.expect(said, good=actor == "system" and len(there) == 1):
            alias = second if there == [first] else first
            self.model.names[alias] = self.model.names[there[0]]

    @rule(actor=mostly_system, name=st.sampled_from(NAMES[1:]))
    def del_domain(self, actor: str, name: str) -> None:
        said = self.talk(actor).ask(f"del_domain {name}")
        if self.expect(said, good=actor == "system" and name in self.model.names):
            model = self.model
            gone = (
                {name}
                if model.names[name] != name
                else {each for each, real in model.names.items() if real == name}
            )
            model.names = {each: real for each, real in model.names.items() if each not in gone}
            real_names = set(model.names.values())
            model.people = {
                key: each for key, each in model.people.items() if key[0] in real_names
            }
            model.files = {key: each for key, each in model.files.items() if key[0] in real_names}
            model.limits = {key: each for key, each in model.limits.items() if key in real_names}

    @rule(
        actor=mostly_system,
        name=names,
        settings=st.fixed_dictionaries(
            {}, optional={key: st.sampled_from(values) for key, values in LIMITS.items()}
        ),
    )
    def set_limits(self, actor: str, name: str, settings: dict[str, int]) -> None:
        options = [f"{key} {value}" for key, value in settings.items()]
        good = actor == "system" and name in self.model.names
        lines = [*options, "."] if good else []
        said = self.talk(actor).ask(f"set_limits {name}", *lines)
        if self.expect(said, good=good):
            self.model.limits.setdefault(self.model.names[name], {}).update(settings)

    @rule(actor=mostly_system, name=names)
    def del_limits(self, actor: str, name: str) -> None:
        said = self.talk(actor).ask(f"del_limits {name}")
        if self.expect(said, good=actor == "system" and name in self.model.names):
            self.model.limits.pop(self.model.names[name], None)

    # --- users ---

    @rule(actor=actors, domain=names, name=users)
    def add_user(self, actor: str, domain: str, name: str) -> None:
        password = self.new_password()
        said = self.talk(actor).ask(f"add_user {name}@{domain} {password}")
        real = self.model.names.get(domain, domain)
        most = -1 if actor == "system" else self.model.limit(real, "max_popaccounts")
        is_free = (real, name) not in self.model.people
        has_room = most < 0 or self.model.count(real) < most
        if self.expect(said, good=self.administers(actor, domain) and is_free and has_room):
            self.model.people[real, name] = Person(password, name)

    @rule(actor=actors, domain=names, name=users.filter("user".__ne__))
    def del_user(self, actor: str, domain: str, name: str) -> None:
        said = self.talk(actor).ask(f"del_user {name}@{domain}")
        real = self.model.names.get(domain, domain)
        is_there = (real, name) in self.model.people and name != "postmaster"
        if self.expect(said, good=self.administers(actor, domain) and is_there):
            del self.model.people[real, name]
            files = self.model.files.items()
            self.model.files = {key: each for key, each in files if key[:2] != (real, name)}

    @rule(
        actor=actors,
        domain=names,
        name=users,
        comment=st.none() | st.sampled_from(["New", "", "Ümläut"]),
        quota=st.none() | st.sampled_from(["1000S,10C", "NOQUOTA"]),
        flags=st.dictionaries(st.sampled_from(list(FLAGS)), st.booleans()),
        has_password=st.booleans(),
    )
    def mod_user(
        self,
        actor: str,
        domain: str,
        name: str,
        comment: str | None,
        quota: str | None,
        flags: dict[str, bool],
        has_password: bool,
    ) -> None:
        password = self.new_password() if has_password else None
        named = {"comment": comment, "quota": quota, "clear_text_password": password}
        options = [f"{key} {value}" for key, value in named.items() if value is not None]
        options += [f"{key} {int(value)}" for key, value in flags.items()]
        real = self.model.names.get(domain, domain)
        is_own = actor == "user" and (domain, name) == (OWN, "user")
        good = (is_own or self.administers(actor, domain)) and (real, name) in self.model.people

        lines = [*options, "."] if good else []
        said = self.talk(actor).ask(f"mod_user {name}@{domain}", *lines)

        if self.expect(said, good=good):
            person = self.model.people[real, name]
            person.comment = person.comment if comment is None else comment
            person.password = password or person.password
            if quota and actor == "system":
                person.quota = quota
            for flag, is_set in flags.items():
                if actor == "system" or flag in ANYONES:
                    bit = int(FLAGS[flag])
                    person.flags = person.flags | bit if is_set else person.flags & ~bit

    # --- aliases ---

    @rule(
        actor=actors,
        domain=names,
        name=aliases,
        line=st.sampled_from([line for line in LINES if line]),
    )
    def add_alias(self, actor: str, domain: str, name: str, line: str) -> None:
        key = (self.model.names.get(domain, domain), "", f".qmail-{name}")
        old = self.model.files.get(key, ())
        new = old if line in old else (*old, line)
        good = self.administers(actor, domain) and (
            actor == "system"
            or line in old
            or ("|" not in line and self.model.has_room(key, new, without=("", "", "")))
        )
        said = self.talk(actor).ask(f"add_alias {name}@{domain} {line}")
        if self.expect(said, good=good):
            self.model.files[key] = new

    @rule(
        actor=actors,
        domain=names,
        name=aliases,
        line=st.sampled_from([line for line in LINES if line]),
    )
    def remove_alias(self, actor: str, domain: str, name: str, line: str) -> None:
        key = (self.model.names.get(domain, domain), "", f".qmail-{name}")
        old = self.model.files.get(key, ())
        new = tuple(each for each in old if each != line)
        good = self.administers(actor, domain) and (
            actor == "system" or not new or self.model.has_room(key, new, without=("", "", ""))
        )
        said = self.talk(actor).ask(f"remove_alias {name}@{domain} {line}")
        if self.expect(said, good=good) and line in old:
            self.model.files[key] = new
            if not new:
                del self.model.files[key]

    @rule(actor=actors, domain=names, name=aliases)
    def delete_alias(self, actor: str, domain: str, name: str) -> None:
        said = self.talk(actor).ask(f"delete_alias {name}@{domain}")
        if self.expect(said, good=self.administers(actor, domain)):
            self.model.files.pop((self.model.names[domain], "", f".qmail-{name}"), None)

    # --- files ---

    def may_reach(self, actor: str, key: PlaceKey) -> bool:
        """Tell whether a caller may work where a file is."""
        domain, user, _ = key
        is_there = not user or (domain, user) in self.model.people
        return is_there and (actor != "user" or user == "user")

    def may_write(
        self, actor: str, key: PlaceKey, lines: tuple[str, ...], without: PlaceKey
    ) -> bool:
        """Tell whether a caller may give a file these lines."""
        if actor == "system" or not is_dotqmail(key):
            return True
        return not any("|" in line for line in lines) and (
            self.model.has_room(key, lines, without=without)
        )

    @staticmethod
    def path(key: PlaceKey) -> str:
        """Return a path as clients write it."""
        domain, user, name = key
        return f"{user}@{domain}/{name}" if user else f"{domain}/{name}"

    @rule(actor=actors, key=places, lines=lines_of_file)
    def write_file(self, actor: str, key: PlaceKey, lines: tuple[str, ...]) -> None:
        good = self.may_reach(actor, key) and self.may_write(actor, key, lines, ("", "", ""))
        said = self.talk(actor).write(self.path(key), *lines)
        if self.expect(said, good=good):
            self.model.files[key] = lines

    @rule(actor=actors, key=places)
    def rm_file(self, actor: str, key: PlaceKey) -> None:
        said = self.talk(actor).ask(f"rm_file {self.path(key)}")
        good = self.may_reach(actor, key) and key in self.model.files
        if self.expect(said, good=good):
            del self.model.files[key]

    @rule(actor=actors, source=places, to=places)
    def rename_file(self, actor: str, source: PlaceKey, to: PlaceKey) -> None:
        lines = self.model.files.get(source)
        good = (
            lines is not None
            and self.may_reach(actor, source)
            and self.may_reach(actor, to)
            and (source == to or self.may_write(actor, to, lines, source))
        )
        said = self.talk(actor).ask(f"rename_file {self.path(source)} {self.path(to)}")
        if self.expect(said, good=good) and lines is not None:
            del self.model.files[source]
            self.model.files[to] = lines

    # --- what is read ---

    @rule(actor=actors, domain=names)
    def list_users(self, actor: str, domain: str) -> None:
        said = self.talk(actor).ask(f"list_users {domain}")
        real = self.model.names.get(domain)
        may = actor == "system" or (actor == "admin" and domain == OWN)
        there = sorted(name for of, name in self.model.people if of == real)
        shown = [line[5:] for line in said if line.startswith("name ")]
        assert (said[0] == "+OK+") == may
        assert shown == (there if may else [])

    @rule(domain=names)
    def list_alias(self, domain: str) -> None:
        said = self.talk("system").ask(f"list_alias {domain}")
        real = self.model.names.get(domain)
        there = [
            f"{name.removeprefix('.qmail-')}@{real} {line}"
            for (of, user, name), lines in sorted(self.model.files.items())
            if of == real and not user and name.startswith(".qmail-")
            for line in lines
            if line
        ]
        assert sorted(said) == sorted(["+OK+", *there, "."])

    @rule(key=places)
    def read_file(self, key: PlaceKey) -> None:
        said = self.talk("system").ask(f"read_file {self.path(key)}")
        there = self.model.files.get(key)
        assert (said[1:-1] if said[0] == "+OK+" else None) == (there and list(there)) or (
            there == () and said == ["+OK+", "."]
        )

    @invariant()
    def the_names_are_those_of_the_model(self) -> None:
        with self.site.database.reader() as session:
            assert set(session.scalars(select(DomainName.name))) == set(self.model.names)

    # --- the end ---

    def teardown(self) -> None:
        try:
            assert rows_of(self.site.database) == expected_rows(self.model)
            applied = apply(self.site.database, self.site.config)
            assert (applied.changed, applied.extra) == ((), ())
            assert plain_files(self.site) == expected_plain_files(self.model)
            self.everybody_can_log_in()
        finally:
            self.site.database.close()

    def everybody_can_log_in(self) -> None:
        """Log in with every password."""
        for (domain, name), person in self.model.people.items():
            self.site.talk((f"{name}@{domain}", person.password))


def rows_of(database: Database) -> dict[str, Any]:
    """Return what the database has, by names."""
    with database.reader() as session:
        of_id = dict(
            session.execute(
                select(DomainName.domain_id, DomainName.name).where(~DomainName.is_alias)
            ).all()
        )
        boxes = {each.id: each for each in session.scalars(select(Mailbox))}
        lines = select(DotQmailLine.line).order_by(DotQmailLine.position)
        return {
            "names": {
                each.name: of_id[each.domain_id] for each in session.scalars(select(DomainName))
            },
            "people": {
                (of_id[each.domain_id], each.name): (each.comment, each.quota_text, each.flags)
                for each in boxes.values()
            },
            "dotqmails": {
                (
                    of_id[each.domain_id],
                    boxes[each.mailbox_id].name if each.mailbox_id else "",
                    f".qmail-{each.name}" if each.name else ".qmail",
                ): tuple(session.scalars(lines.where(DotQmailLine.file_id == each.id)))
                for each in session.scalars(select(DotQmailFile))
            },
            "limits": {
                of_id[each.domain_id]: {name: getattr(each, name) for name in LIMITS}
                for each in session.scalars(select(DomainLimits))
            },
            "counters": {
                of_id.get(each.domain_id or 0, ""): each.cur_users
                for each in session.scalars(select(DirCounter))
            },
            "domains": len(session.scalars(select(Domain)).all()),
        }


def expected_rows(model: Model) -> dict[str, Any]:
    """Return what the database should have."""
    made = set(model.names.values()) - {HOME}
    return {
        "names": model.names,
        "people": {
            key: (each.comment, each.quota, each.flags | (int(Flag.SA_ADMIN) * (key[0] == HOME)))
            for key, each in model.people.items()
        },
        "dotqmails": {key: each for key, each in model.files.items() if is_dotqmail(key)},
        "limits": {
            domain: {name: each.get(name, -1) for name in LIMITS}
            for domain, each in model.limits.items()
        },
        "counters": {"": len(made)} | {domain: model.count(domain) for domain in made},
        "domains": len(made) + 1,
    }


def plain_files(site: Site) -> dict[str, bytes]:
    """Return the files that are no rows, and the homes, from disk."""
    domains = site.path("/home/vpopmail/domains")
    found = [path for name in (*FILES, "Maildir") for path in domains.rglob(name)]
    return {
        str(path.relative_to(domains)): path.read_bytes() if path.is_file() else b"a directory"
        for path in found
    }


def expected_plain_files(model: Model) -> dict[str, bytes]:
    """Return the files and homes that should be on disk."""
    homes = {f"{domain}/{name}/Maildir": b"a directory" for domain, name in model.people}
    homes.pop(f"{HOME}/postmaster/Maildir")
    files = {
        "/".join(filter(None, key)): "".join(f"{line}\n" for line in lines).encode()
        for key, lines in model.files.items()
        if key[2] in FILES
    }
    return homes | files


@pytest.fixture
def make_site(_backend: databases.Backend, tmp_path: Path) -> Callable[[], Site]:
    """A function that makes a site with nobody but its administrator, and its files."""
    numbers = itertools.count(1)

    def make() -> Site:
        url, root = _backend.create(migrated=True), tmp_path / f"site-{next(numbers)}"
        root.mkdir()
        database = Database(url, pool_size=1)
        with database.writer() as session:
            domain = factories.domain(session, HOME)
            factories.mailbox(session, domain, "postmaster", Flag.SA_ADMIN)
        site = Site(database, conftest.settings(url, root), root)
        apply(database, site.config)
        return site

    return make


def test_any_commands_leave_rows_and_files_as_a_simple_model_says(
    make_site: Callable[[], Site],
) -> None:
    class OnThisDatabase(Commands):
        make = staticmethod(make_site)

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=6,
            # To find a shorter case takes minutes; the steps that failed are shown anyway.
            phases=[Phase.generate],
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
