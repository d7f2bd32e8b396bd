"""The known holes of the C daemon, each tried over a real socket: none of them works here."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.daemon.conftest import Running, Talk
from vpopsql.model import Domain, Flag, Mailbox
from vpopsql.qmail.vpasswd import VpasswdLine, parse

Serve = Callable[..., Running]
TalkTo = Callable[..., Talk]

SYSTEM = ("postmaster@test.com", "password")
POSTMASTER = ("postmaster@example.com", "expass")
ADMIN = ("dadmin@example.com", "dadminpw")
OVERRIDE = ("oadmin@example.com", "oadminpw")
ALICE = ("alice@example.com", "alicepw")
AL = ("al@example.com", "alpw")
ROOT = ("root@example.com", "rootpw")
NOT_WRITTEN = "-ERR 0.2002 Operation not permitted"
NOT_ALIASED = "-ERR 17.907 Alias Insertion Failed"

DOMAINS = "home/vpopmail/domains"
EXAMPLE = f"/{DOMAINS}/example.com"
HASH = "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"


@pytest.fixture
def daemon(serve: Serve) -> Running:
    return serve("base")


@pytest.fixture
def root(daemon: Running) -> Path:
    return Path(daemon.config.paths.root)


@pytest.fixture
def system(daemon: Running, talk_to: TalkTo) -> Talk:
    return talk_to(daemon, *SYSTEM)


def fields(talk: Talk, address: str) -> dict[str, str]:
    """Return what user_info shows."""
    lines = talk.ask(f"user_info {address}")[1:-1]
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def contents(directory: Path) -> dict[str, bytes | str | None]:
    """Return all that is below a directory: content of files, target of links."""
    return {
        str(path.relative_to(directory)): (
            str(path.readlink())
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else None
        )
        for path in directory.rglob("*")
    }


def entries(root: Path) -> dict[str, VpasswdLine]:
    """Return the lines of example.com's vpasswd by name."""
    lines = parse((root / DOMAINS / "example.com/vpasswd").read_bytes())
    return {line.name: line for line in lines if isinstance(line, VpasswdLine)}


# --- field injection ----------------------------------------------------------------------------


INJECTIONS: list[str | bytes] = [
    "comment x:/home/vpopmail:NOQUOTA",
    "comment x\x01y",
    b"comment x\0y",
    "comment x\ry",
    "quota 1S:/home",
    "quota NOQUOTA\ry",
    "encrypted_password $1$ab:65536:0:x",
    f"encrypted_password {HASH}:0:65536",
    "encrypted_password *\ry",
    "clear_text_password x\ry",
    "clear_text_password x\x02y",
    b"clear_text_password x\0y",
    "no_pop 1:65536",
]


def test_no_value_of_a_user_reaches_another_field(system: Talk, root: Path) -> None:
    before = entries(root)
    asked = [line if isinstance(line, bytes) else line.encode() for line in INJECTIONS]

    answers = []
    for option in asked:
        assert system.ask("mod_user bob@example.com") == ["+OK "]
        answers += system.ask(option, ".")

    assert [answer[:11] for answer in answers] == ["-ERR 0.507 "] * len(INJECTIONS)
    assert entries(root) == before


def test_a_password_with_a_colon_stays_a_password(
    daemon: Running, root: Path, talk_to: TalkTo
) -> None:
    before = entries(root)["alice"]
    password = "p:0:65536:root:/home:NOQUOTA"

    talk_to(daemon, *ALICE).change("mod_user alice@example.com", f"clear_text_password {password}")

    after = entries(root)["alice"]
    assert after.clear_text == password
    assert (after.apop_uid, after.flags, after.directory) == (
        before.apop_uid,
        before.flags,
        before.directory,
    )
    talk_to(daemon, "alice@example.com", password)


NAMES = [
    "add_user a:b@example.com pw",
    "add_user eve@example.com:0:65536 pw",
    "add_user ev\re@example.com pw",
    "add_domain a:b.org pw",
    "add_domain a\rb.org pw",
    "add_domain new.org pw\x01",
    "add_alias_domain example.com a:b.org",
    "add_alias_domain example.com a\rb.org",
    "add_alias a:b@example.com bob@example.com",
    "add_alias a\rb@example.com bob@example.com",
    "add_alias ab@example.com bob@example.com\rx",
    "add_ip_map 192.0.2.1:x example.com",
    "add_ip_map 192.0.2.1\rx example.com",
]


def test_no_name_reaches_another_field(system: Talk, root: Path) -> None:
    before = contents(root)

    answers = [system.ask(command) for command in NAMES]

    assert [
        command for command, said in zip(NAMES, answers, strict=True) if said == ["+OK "]
    ] == []
    assert contents(root) == before


# --- rights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [ALICE, POSTMASTER, ADMIN, OVERRIDE])
def test_only_the_system_administrator_sets_a_hash(
    daemon: Running, system: Talk, talk_to: TalkTo, who: tuple[str, str]
) -> None:
    said = talk_to(daemon, *who).change(
        f"mod_user {who[0]}", "comment Seen", f"encrypted_password {HASH}"
    )

    after = fields(system, who[0])
    assert said == "+OK "
    assert after["comment"] == "Seen"
    assert after["encrypted_password"] != HASH
    talk_to(daemon, *who)


@pytest.fixture
def with_root(daemon: Running, system: Talk) -> Running:
    """A daemon with a system administrator in a domain of others."""
    assert system.ask("add_user root@example.com rootpw") == ["+OK "]
    assert system.change("mod_user root@example.com", "system_admin_privileges 1") == "+OK "
    return daemon


@pytest.mark.parametrize("who", [POSTMASTER, ADMIN, OVERRIDE])
def test_a_domain_administrator_cannot_become_the_system_administrator(
    with_root: Running, system: Talk, root: Path, talk_to: TalkTo, who: tuple[str, str]
) -> None:
    admin = talk_to(with_root, *who)
    before = fields(system, "root@example.com")

    assert admin.change("mod_user root@example.com", "clear_text_password mine") == (
        "-ERR 9.503 Not Authorized"
    )
    assert admin.ask("del_user root@example.com") == ["-ERR 9.404 Not Authorized"]
    assert admin.ask("add_user root@example.com mine")[0].startswith("-ERR 0.305 ")
    assert admin.change(f"mod_user {who[0]}", "system_admin_privileges 1") == "+OK "
    assert admin.change(f"mod_user {who[0]}", "system_expert_privileges 1") == "+OK "
    home = f"{EXAMPLE}/root"
    assert admin.ask(f"rm_dir {home}") == ["-ERR 26.1511 Unauthorized Directory."]
    assert admin.ask(f"rename_file {home} {EXAMPLE}/x") == ["-ERR 26.1511 Unauthorized Directory."]

    shown = [fields(admin, "root@example.com"), *blocks(admin.ask("list_users example.com"))]
    of_root = [each for each in shown if each["name"] == "root"]
    assert [(each["encrypted_password"], each["clear_text_password"]) for each in of_root] == [
        ("", "")
    ] * 2
    assert fields(system, "root@example.com") == before
    assert not int(fields(system, who[0])["gidflags"]) & int(Flag.SA_ADMIN | Flag.SA_EXPERT)
    talk_to(with_root, *ROOT)


def blocks(lines: list[str]) -> list[dict[str, str]]:
    """Return the users of a list."""
    texts = "\n".join(lines[1:-1]).strip("\n").split("\n\n")
    pairs = [[line.partition(" ") for line in text.split("\n")] for text in texts]
    return [{name: value for name, _, value in each} for each in pairs]


def test_in_a_system_administrators_home_a_domain_administrator_runs_no_program(
    with_root: Running, talk_to: TalkTo, root: Path
) -> None:
    # Mail of his domain is his to forward; what runs with rights that he lacks is not.
    admin = talk_to(with_root, *ADMIN)

    said = admin.ask("write_file root@example.com/.qmail", "|/bin/sh -c id", ".")
    assert said == [NOT_WRITTEN]
    assert admin.ask("write_file root@example.com/.qmail", "bob@example.com", ".") == ["+OK "]

    assert (root / DOMAINS / "example.com/root/.qmail").read_text() == "bob@example.com\n"


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who, paths",
    [
        (
            POSTMASTER,
            {
                f"{EXAMPLE}/../example.company": "20.1501",
                "/home/vpopmail/domains/example.company": "26.1511",
                "/home/vpopmail/domains/example.com.bak": "26.1511",
                "example.company/eve": "26.1511",
                "eve@example.company/Maildir": "26.1511",
                "/etc": "26.1511",
            },
        ),
        (
            AL,
            {
                f"{EXAMPLE}/alice": "26.1512",
                "example.com/alice": "26.1512",
                f"{EXAMPLE}//al/./../alice": "20.1501",
                f"{EXAMPLE}/al/%2e%2e/alice": "21.1502",
                "alice@example.com/": "12.1508",
                "al@example.com/../alice": "20.1501",
            },
        ),
        (
            SYSTEM,
            {
                "/home/vpopmail/domains-backup": "26.1510",
                "/home/vpopmail/etc": "26.1510",
                "/home/vpopmail/domains/../etc": "20.1501",
                "/etc": "26.1510",
            },
        ),
    ],
)
def test_a_path_that_only_begins_like_the_own_one_leads_nowhere(
    daemon: Running, root: Path, talk_to: TalkTo, who: tuple[str, str], paths: dict[str, str]
) -> None:
    (root / DOMAINS / "example.com.bak").mkdir()
    (root / "home/vpopmail/domains-backup").mkdir()
    talk = talk_to(daemon, *who)
    before = contents(root)

    codes = {
        path: {talk.ask(*command)[0].split(" ")[1] for command in commands_on(path)}
        for path in paths
    }

    assert codes == {path: {code} for path, code in paths.items()}
    assert contents(root) == before


def commands_on(path: str) -> list[tuple[str, ...]]:
    """Return every file command on a path, and on a name in it."""
    inside = f"{path.rstrip('/')}/note.txt"
    return [
        (f"list_dir {path}",),
        (f"mk_dir {inside}",),
        (f"rm_dir {path}",),
        (f"read_file {inside}",),
        (f"stat_file {inside}",),
        (f"rm_file {inside}",),
        (f"rename_file {inside} {inside}",),
        (f"write_file {inside}", "mine", "."),
    ]


OURS = [
    "vpasswd",
    "vpasswd.cdb",
    ".vpasswd.lock",
    "vpasswd.1234",
    ".qmailadmin-limits",
    ".dir-control",
    ".dir-control.lock",
    "bob/vpasswd",
    "mylist/.qmailadmin-limits",
    "ip_alias_map",
    "./vpasswd",
    "/vpasswd",
    "vpasswd/",
]


def test_no_file_command_reaches_what_the_database_owns(
    daemon: Running, root: Path, talk_to: TalkTo
) -> None:
    talk = talk_to(daemon, *POSTMASTER)
    before = contents(root)
    paths = [f"example.com/{name}" for name in OURS]
    moves = [(f"rename_file alice@example.com/note.txt {path}",) for path in paths]
    commands = [command for path in paths for command in commands_on(path)]

    answers = [(command, talk.ask(*command)) for command in commands + moves]

    refused = ["-ERR 26.1511 Unauthorized Directory."]
    assert [command for command, said in answers if said != refused] == []
    assert contents(root) == before


# --- symbolic links -----------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of somebody else, with what the directory it takes the place of has."""
    made = tmp_path / "outside"
    (made / "sub").mkdir(parents=True)
    (made / "sub/kept").write_text("THEIRS")
    (made / "file").write_text("THEIRS")
    return made


FILE_COMMANDS = [
    (b"list_dir alice@example.com/d",),
    (b"list_dir alice@example.com/d/sub",),
    (b"read_file alice@example.com/d/file",),
    (b"stat_file alice@example.com/d/file",),
    (b"write_file alice@example.com/d/file", b"mine", b"."),
    (b"write_file alice@example.com/d/new", b"mine", b"."),
    (b"mk_dir alice@example.com/d/made",),
    (b"rename_file alice@example.com/d/file alice@example.com/taken",),
    (b"rename_file alice@example.com/d/file alice@example.com/.qmail-x",),
    (b"rename_file alice@example.com/note.txt alice@example.com/d/note.txt",),
    (b"rm_file alice@example.com/d/file",),
    (b"rm_dir alice@example.com/d/sub",),
    (b"get_user_size alice@example.com",),
]


def test_no_file_command_follows_a_link(
    daemon: Running, root: Path, talk_to: TalkTo, outside: Path
) -> None:
    home = root / DOMAINS / "example.com/alice"
    (home / "d").symlink_to(outside)
    talk = talk_to(daemon, *ALICE)
    before, ours = contents(outside), contents(home)

    answers = [talk.ask(*command) for command in FILE_COMMANDS]

    assert answers[:-1] == [["-ERR 26.1512 Unauthorized Directory."]] * (len(FILE_COMMANDS) - 1)
    assert contents(outside) == before
    assert contents(home) == ours


def test_no_file_command_follows_a_link_to_a_file(
    daemon: Running, root: Path, talk_to: TalkTo, outside: Path
) -> None:
    (root / DOMAINS / "example.com/alice/l").symlink_to(outside / "file")
    talk = talk_to(daemon, *ALICE)

    answers = [
        talk.ask("read_file alice@example.com/l"),
        talk.ask("stat_file alice@example.com/l"),
        talk.ask("write_file alice@example.com/l", "mine", "."),
        talk.ask("rename_file alice@example.com/l alice@example.com/.qmail-x"),
        talk.ask("list_dir alice@example.com/l"),
        talk.ask("rm_dir alice@example.com/l"),
    ]

    assert answers == [["-ERR 26.1512 Unauthorized Directory."]] * 6
    assert (outside / "file").read_text() == "THEIRS"


@contextmanager
def swapped(directory: Path, target: Path) -> Iterator[None]:
    """Put a link in the place of a directory and take it away, as fast as can be."""
    stop = threading.Event()
    aside = directory.with_name("aside")

    def swap() -> None:
        while not stop.is_set():
            directory.rename(aside)
            directory.symlink_to(target)
            directory.unlink()
            aside.rename(directory)

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        yield
    finally:
        stop.set()
        attacker.join()


def test_no_file_command_follows_a_link_that_is_swapped_in_meanwhile(
    daemon: Running, root: Path, talk_to: TalkTo, outside: Path
) -> None:
    ours = root / DOMAINS / "example.com/alice/d"
    (ours / "sub").mkdir(parents=True)
    (ours / "file").write_text("ours")
    talk = talk_to(daemon, *ALICE)
    before = contents(outside)
    again = (b"mk_dir alice@example.com/d/sub",)

    deadline = time.monotonic() + 1.0
    with swapped(ours, outside):
        rounds = itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count())
        answers = [talk.ask(*command) for _ in rounds for command in (*FILE_COMMANDS, again)]

    assert contents(outside) == before
    assert {"THEIRS", "kept reg"}.isdisjoint(itertools.chain(*answers))
    # The links were met: what is swapped for one is not there, or refused, or the own directory.
    assert len({each[0] for each in answers}) > 1
    assert "THEIRS" not in repr(contents(root / DOMAINS))


# --- programs -----------------------------------------------------------------------------------


PROGRAMS = [
    "|/bin/sh -c 'id'",
    "| /usr/bin/autorespond 1 1 `id` x",
    "|/usr/bin/autorespond 1 1 x; id",
    "/etc/cron.d/x",
    "./../bob/Maildir/",
    " |/bin/sh",
    "&|/bin/sh",
    "/home/vpopmail/domains/example.company/eve/Maildir/",
]


@pytest.mark.parametrize(
    "who, path",
    [
        (ALICE, "alice@example.com/.qmail"),
        (ALICE, "alice@example.com/.qmail-ext"),
        (ADMIN, "example.com/.qmail-info"),
        (ADMIN, "example.com/.qmail-default"),
        (ADMIN, "alice@example.com/.qmail"),
        (POSTMASTER, "bob@example.com/.qmail"),
    ],
)
def test_nobody_writes_a_line_that_runs_a_program_or_leaves_his_place(
    daemon: Running, root: Path, talk_to: TalkTo, who: tuple[str, str], path: str
) -> None:
    talk = talk_to(daemon, *who)
    home = path.partition("/")[0]
    before = dotqmails(root)

    written = [talk.ask(f"write_file {path}", "&a@b.example", line, ".") for line in PROGRAMS]
    kept = [talk.ask(f"write_file {home}/plain", "&a@b.example", PROGRAMS[0], ".")]
    renamed = talk.ask(f"rename_file {home}/plain {path}")

    assert {said[0] for said in written} == {NOT_WRITTEN}
    assert kept == [["+OK "]]
    assert renamed == ["-ERR 0.3803 Operation not permitted"]
    assert dotqmails(root) == before


def dotqmails(root: Path) -> dict[str, bytes]:
    """Return the dot-qmail files of the site."""
    found = [*(root / DOMAINS).rglob(".qmail"), *(root / DOMAINS).rglob(".qmail-*")]
    return {str(path): path.read_bytes() for path in found}


def test_no_alias_runs_a_program(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    admin, alice = talk_to(daemon, *ADMIN), talk_to(daemon, *ALICE)
    before = dotqmails(root)

    answers = [admin.ask(f"add_alias new@example.com {line}")[0] for line in PROGRAMS]

    assert {answer[:5] for answer in answers} == {"-ERR "}
    assert alice.ask("add_alias new@example.com |/bin/sh") == ["-ERR 4.107 Invalid Command"]
    assert dotqmails(root) == before
    assert system.ask("add_alias new@example.com |/bin/true") == ["+OK "]


def test_the_lines_of_a_refused_file_are_no_commands(
    daemon: Running, talk_to: TalkTo, root: Path
) -> None:
    before = contents(root)
    paths = ["/etc/x", "x", "a%b/c", "../x", "example.com/vpasswd", "no.example/x", "test.com/n/x"]
    talk = talk_to(daemon, *SYSTEM)

    answers = [
        talk.ask(f"write_file {path}", "del_domain example.com", "del_user al@example.com", ".")
        for path in paths
    ]

    assert [len(answer) for answer in answers] == [1] * len(paths)
    assert talk.ask("domain_count") == ["+OK+", "count 6", "."]
    assert contents(root) == before


def test_the_options_of_a_refused_change_are_no_commands(daemon: Running, talk_to: TalkTo) -> None:
    talk = talk_to(daemon, *SYSTEM)

    said = talk.ask("mod_user no@example.com", "comment x", "del_domain example.com", ".")
    assert said == ["-ERR 12.505 User does not exist"]
    said = talk.ask("set_limits no.example", "max_aliases 1", "del_domain example.com", ".")
    assert said == ["-ERR 34.3505 Could not get limits"]

    assert talk.ask("domain_count") == ["+OK+", "count 6", "."]


UNKNOWN = "-ERR 4.107 Invalid Command"


@pytest.mark.parametrize(
    "line",
    [
        b"write_file example.com/" + b"x" * 9000,
        b"write_file example.com/x\0",
        b"write_file\texample.com/x",
        b"\0write_file example.com/x",
        b"set_limits example.com" + b" " * 9000,
        b"MOD_USER bob@example.com\0",
    ],
    ids=["too long", "nul", "tab", "nul first", "options", "upper case"],
)
def test_the_lines_after_what_is_no_command_are_no_commands(system: Talk, line: bytes) -> None:
    said = system.ask(line, "x 1", "del_domain empty.org", ".")

    assert said == [UNKNOWN]
    assert system.ask("domain_count") == ["+OK+", "count 6", "."]


def test_a_client_that_waits_may_send_blank_lines_before_its_next_command(system: Talk) -> None:
    assert system.ask("mod_user no@example.com") == ["-ERR 12.505 User does not exist"]

    assert system.ask("", "domain_count") == ["+OK+", "count 6", "."]


# --- rights that are taken away -----------------------------------------------------------------


def test_who_is_deleted_can_do_nothing_any_more(
    daemon: Running, talk_to: TalkTo, root: Path
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    system.ask("del_user dadmin@example.com")
    before = contents(root)

    said = [
        admin.ask("add_user evil@example.com pw"),
        admin.ask("user_info alice@example.com"),
        admin.ask("get_limits example.com"),
        admin.ask("write_file example.com/.qmail-x", "bob@example.com", "."),
        admin.ask("write_file /home/vpopmail/domains/example.com/x", "text", "."),
        admin.ask("mod_user alice@example.com"),
    ]

    assert [answer[0][:5] for answer in said] == ["-ERR "] * len(said)
    assert contents(root) == before


@pytest.mark.parametrize("again", ["add_user alice@example.com new", ""])
def test_who_gets_a_name_later_is_somebody_else(
    daemon: Running, talk_to: TalkTo, root: Path, again: str
) -> None:
    system, alice = talk_to(daemon, *SYSTEM), talk_to(daemon, *ALICE)
    assert system.ask("del_user alice@example.com") == ["+OK "]
    assert not again or system.ask(again) == ["+OK "]
    before = contents(root)

    said = [
        alice.ask("list_dir alice@example.com/"),
        alice.ask("write_file alice@example.com/.qmail", "evil@example.com", "."),
        alice.ask("write_file /home/vpopmail/domains/example.com/alice/x", "text", "."),
        alice.ask("get_lastauth alice@example.com"),
        alice.ask("get_user_size alice@example.com"),
        alice.ask("mod_user alice@example.com", "clear_text_password taken", "."),
    ]

    assert [answer[0] for answer in said] == [
        "-ERR 25.1506 Invalid Directory. Unknown email address",
        "-ERR 25.1506 Invalid Directory. Unknown email address",
        "-ERR 0.2002 No such file or directory",
        "-ERR 12.3705 User does not exist",
        "-ERR 3805 user does not exist",
        "-ERR 12.505 User does not exist",
    ]
    assert contents(root) == before


def test_who_administers_a_domain_does_not_administer_the_next_of_its_name(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, postmaster = talk_to(daemon, *SYSTEM), talk_to(daemon, *POSTMASTER)
    system.ask("del_domain example.com")
    assert postmaster.ask("user_count example.com") == ["+OK+", "count 0", "."]
    system.ask("add_domain example.com new")

    assert postmaster.ask("add_user evil@example.com pw") == [UNKNOWN]
    assert postmaster.ask("user_info postmaster@example.com") == [UNKNOWN]


@pytest.mark.parametrize(
    "who, option, command",
    [
        (ADMIN, "domain_admin_privileges 0", "add_user evil@example.com pw"),
        (ROOT, "system_admin_privileges 0", "del_domain empty.org"),
    ],
)
def test_rights_that_are_taken_away_are_gone_at_once(
    daemon: Running,
    talk_to: TalkTo,
    with_root: object,
    who: tuple[str, str],
    option: str,
    command: str,
) -> None:
    system, demoted = talk_to(daemon, *SYSTEM), talk_to(daemon, *who)
    assert system.change(f"mod_user {who[0]}", option) == "+OK "

    assert demoted.ask(command) == [UNKNOWN]
    assert system.ask("domain_count") == ["+OK+", "count 6", "."]


def test_rights_are_looked_at_again_when_the_lines_of_a_change_are_complete(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    assert admin.ask("mod_user bob@example.com") == ["+OK "]
    system.change("mod_user dadmin@example.com", "domain_admin_privileges 0")

    assert admin.ask("clear_text_password mine", ".") == [UNKNOWN]
    assert fields(system, "bob@example.com")["clear_text_password"] == "bobpw"


def test_a_deleted_system_administrator_is_none_any_more(
    daemon: Running, talk_to: TalkTo, with_root: object
) -> None:
    system, other = talk_to(daemon, *SYSTEM), talk_to(daemon, *ROOT)
    system.ask("del_user root@example.com")

    assert other.ask("add_user backdoor@test.com pw") == [UNKNOWN]


def test_a_domain_administrator_does_not_take_over_who_may_run_programs(
    daemon: Running, talk_to: TalkTo
) -> None:
    system, admin = talk_to(daemon, *SYSTEM), talk_to(daemon, *ADMIN)
    system.change("mod_user bob@example.com", "system_expert_privileges 1")

    shown = fields(admin, "bob@example.com")
    said = admin.change("mod_user bob@example.com", "clear_text_password mine")

    assert (shown["encrypted_password"], shown["clear_text_password"]) == ("", "")
    assert said == "-ERR 9.503 Not Authorized"
    bob = talk_to(daemon, "bob@example.com", "bobpw")
    assert bob.change("mod_user bob@example.com", "clear_text_password new") == "+OK "


# --- limits -------------------------------------------------------------------------------------


ROBOT = f"|/usr/bin/autorespond 1000 3 {EXAMPLE}/INFO/message {EXAMPLE}/INFO"
LIST = f"|/usr/bin/ezmlm/ezmlm-send {EXAMPLE}/mylist"


FULL = "-ERR 0.907 Limit reached"
FULL_FOR_FILES = "-ERR 0.2002 Limit reached"
DENIED = "-ERR 9.901 Not Authorized"
TO_ALIAS = "add_alias {}@example.com bob@example.com"
TO_FORWARD = "add_alias {}@example.com x@else.example"
WRITE = "write_file example.com/.qmail-{}"

LIMITS = [
    ("max_popaccounts 8", ["add_user {}@example.com pw"], "-ERR 0.305 Limit reached"),
    ("max_aliases 2", [TO_ALIAS], FULL),
    ("max_aliases 2", [WRITE, "bob@example.com", "."], FULL_FOR_FILES),
    ("max_forwards 0", [TO_FORWARD], FULL),
    ("max_forwards 0", [WRITE, "bob@example.com", "x@else.example", "."], FULL_FOR_FILES),
    ("max_autoresponders 0", [WRITE, ROBOT, "."], FULL_FOR_FILES),
    ("max_mailinglists 0", [WRITE, LIST, "."], FULL_FOR_FILES),
    ("perm_account 1", ["add_user {}@example.com pw"], "-ERR 9.304 Not Authorized"),
    (
        "perm_account 2",
        ["mod_user bob@example.com", "comment x", "."],
        "-ERR 9.503 Not Authorized",
    ),
    ("perm_account 4", ["del_user bob@example.com"], "-ERR 9.404 Not Authorized"),
    ("perm_alias 1", [TO_ALIAS], DENIED),
    ("perm_alias 2", ["add_alias info@example.com bob@example.com"], DENIED),
    ("perm_alias 4", ["delete_alias info@example.com"], "-ERR 9.1101 Not Authorized"),
    ("perm_alias 4", ["rm_file example.com/.qmail-info"], "-ERR 0.1902 Operation not permitted"),
    ("perm_forward 1", [TO_FORWARD], DENIED),
    ("perm_autoresponder 1", [WRITE, ROBOT, "."], NOT_WRITTEN),
    ("perm_maillist 1", [WRITE, LIST, "."], NOT_WRITTEN),
]


def test_each_limit_holds_for_domain_administrators(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    admin = talk_to(daemon, *ADMIN)
    before = dotqmails(root), rows(daemon)

    answers = [limited(system, admin, limit, lines) for limit, lines, _ in LIMITS]

    assert answers == [answer for _, _, answer in LIMITS]
    assert (dotqmails(root), rows(daemon)) == before


def limited(system: Talk, caller: Talk, limit: str, lines: list[str]) -> str:
    """Return what a command is answered while one limit holds."""
    system.ask("del_limits example.com")
    assert system.change("set_limits example.com", limit) == "+OK "
    return caller.ask(*(line.format("new") for line in lines))[0]


def test_no_limit_holds_for_those_above_limits(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    callers = {"one": talk_to(daemon, *SYSTEM), "two": talk_to(daemon, *OVERRIDE)}

    answers = [
        limited(system, talk, limit, [line.replace("{}", f"{name}{number}") for line in lines])
        for name, talk in callers.items()
        for number, (limit, lines, _) in enumerate(LIMITS)
        if "bob" not in lines[0] and lines[0].startswith(("add_user", WRITE))
    ]

    assert set(answers) == {"+OK "}


def test_the_quotas_of_a_domain_share_what_it_has(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    system.change("set_limits example.com", "disk_quota 30", f"default_quota {12 << 20}")
    admin = talk_to(daemon, *POSTMASTER)

    assert admin.ask("add_user one@example.com pw") == ["+OK "]

    # Carol has 10,000,000 bytes already.
    assert admin.ask("add_user two@example.com pw") == ["-ERR 0.305 Limit reached"]


def test_quotas_that_no_integer_can_sum_up_are_too_many(
    daemon: Running, system: Talk, talk_to: TalkTo
) -> None:
    system.change("set_limits example.com", "disk_quota 30", f"default_quota {2**63 - 1}")
    assert system.ask("add_user one@example.com pw") == ["+OK "]
    assert system.ask("add_user two@example.com pw") == ["+OK "]

    admin = talk_to(daemon, *POSTMASTER)

    assert admin.ask("add_user three@example.com pw") == ["-ERR 0.305 Limit reached"]


# --- telling users apart ------------------------------------------------------------------------


def test_nobody_learns_from_a_failed_login_who_exists(daemon: Running) -> None:
    known, unknown = [], []

    for _ in range(9):
        known.append(failed_login(daemon, "alice@example.com"))
        unknown.append(failed_login(daemon, "nobody@example.com"))

    assert {answer for answer, _ in known + unknown} == {"-ERR 8.207 Invalid Login"}
    one, other = (statistics.median(spent for _, spent in each) for each in (known, unknown))
    assert 1 / 3 < one / other < 3


def failed_login(daemon: Running, address: str) -> tuple[str, float]:
    """Return what a wrong password is answered, and after how many seconds."""
    talk = Talk(daemon.address)
    started = time.perf_counter()
    (answer,) = talk.ask(f"slogin {address} wrong")
    spent = time.perf_counter() - started
    talk.client.close()
    return answer, spent


@pytest.mark.parametrize("command", ["user_info", "mod_user", "get_lastauth", "get_user_size"])
def test_a_user_learns_of_nobody_who_exists(
    daemon: Running, talk_to: TalkTo, command: str
) -> None:
    talk = talk_to(daemon, *ALICE)

    there, not_there = (talk.ask(f"{command} {name}@example.com") for name in ("bob", "nobody"))

    assert there == not_there
    assert there[0].startswith("-ERR ")


# --- lost updates -------------------------------------------------------------------------------


FLAG_NAMES = [
    "no_pop",
    "no_imap",
    "no_webmail",
    "no_smtp",
    "bounce_mail",
    "no_relay",
    "no_dialup",
    "user_flag_0",
    "user_flag_1",
    "user_flag_2",
    "user_flag_3",
    "no_spamassassin",
    "delete_spam",
    "no_maildrop",
]


def test_changes_of_many_sessions_are_all_there(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    options = [f"{name} 1" for name in FLAG_NAMES] + ["comment Many", "quota 5M"]
    talks = [talk_to(daemon, *SYSTEM) for _ in options]
    together = threading.Barrier(len(options))

    def change(talk: Talk, option: str) -> str:
        assert talk.ask("mod_user bob@example.com") == ["+OK "]
        together.wait()
        return talk.ask(option, ".")[0]

    with ThreadPoolExecutor(len(options)) as threads:
        answers = list(threads.map(change, talks, options))

    assert answers == ["+OK "] * len(options)
    bob = fields(system, "bob@example.com")
    assert bob["comment"] == "Many"
    assert bob["quota"] == "5242880S"
    assert int(bob["gidflags"]).bit_count() == len(FLAG_NAMES)
    line = entries(root)["bob"]
    assert (line.comment, line.flags, line.quota_text) == (
        "Many",
        int(bob["gidflags"]),
        "5242880S",
    )


# --- injection ----------------------------------------------------------------------------------


SQL = [
    "x' OR '1'='1",
    "'; DROP TABLE mailbox; --",
    "' UNION SELECT password_hash FROM mailbox --",
    "%",
    "al_ce",
    "\\'; DELETE FROM domain; --",
    "{0} %s %(name)s :name ? $1",
]


def test_sql_in_a_value_is_a_value(
    daemon: Running, system: Talk, talk_to: TalkTo, root: Path
) -> None:
    asked: list[str] = []
    for text in SQL:
        word = text.replace(" ", "/**/")
        asked += [
            f"user_info {word}@example.com",
            f"user_info alice@{word}",
            f"dom_info {word}",
            f"list_users {word} 0 0",
            f"find_domain {word} 10",
            f"list_alias {word}@example.com",
            f"get_limits {word}",
            f"get_ip_map {word}",
            f"del_user {word}@example.com",
            f"del_domain {word}",
            f"delete_alias {word}@example.com",
            f"read_file {word}@example.com/note.txt",
        ]
    before, counted = contents(root), rows(daemon)

    answers = [system.ask(line) for line in asked]

    assert not [said for said in answers if said[0].startswith(("-ERR 0.108", "-ERR 0.109"))]
    assert not [said for said in answers if any("password" in line for line in said)]
    assert contents(root) == before
    assert rows(daemon) == counted
    nobody = Talk(daemon.address)
    assert nobody.ask("slogin x'/**/OR/**/'1'='1@example.com x")[0].startswith("-ERR 8.20")
    nobody.client.close()
    for text in (each for each in SQL if ":" not in each):
        assert system.change("mod_user bob@example.com", f"comment {text}") == "+OK "
        assert fields(system, "bob@example.com")["comment"] == text
    assert rows(daemon) == counted


def rows(daemon: Running) -> list[int | None]:
    """Return how many mailboxes and domains there are."""
    with daemon.database.reader() as session:
        return [
            session.scalar(select(func.count()).select_from(each)) for each in (Mailbox, Domain)
        ]


def test_a_line_end_that_sql_stored_forges_no_reply(daemon: Running, talk_to: TalkTo) -> None:
    forged = "x\r\n.\r\n+OK+\r\nname root\r\nclear_text_password stolen\r\n."
    with daemon.database.writer() as session:
        of_bob = Mailbox.directory == f"{EXAMPLE}/bob"
        session.execute(update(Mailbox).where(of_bob).values(comment=forged, clear_text=forged))
    talk = talk_to(daemon, *POSTMASTER)

    shown = talk.ask("user_info bob@example.com")
    listed = blocks(talk.ask("list_users example.com 0 0"))

    assert [line.partition(" ")[0] for line in shown] == [
        "+OK+",
        "name",
        "comment",
        "quota",
        "user_dir",
        "encrypted_password",
        "clear_text_password",
        "gidflags",
        ".",
    ]
    assert [each["name"] for each in listed] == sorted(
        ["al", "alice", "bob", "carol", "dadmin", "locked", "oadmin", "postmaster"]
    )
    assert talk.ask("user_count example.com") == ["+OK+", "count 8", "."]


def test_a_line_end_that_sql_stored_forges_no_line_of_a_file(
    daemon: Running, system: Talk, root: Path
) -> None:
    before = entries(root)
    with daemon.database.writer() as session:
        of_bob = Mailbox.directory == f"{EXAMPLE}/bob"
        forged = f"x\nroot:{HASH}:0:65536:root:/:NOQUOTA:"
        session.execute(update(Mailbox).where(of_bob).values(comment=forged))

    said = system.change("mod_user alice@example.com", "comment Changed")

    assert said == "-ERR 0.112 Saved, but not all files could be written"
    after = entries(root)
    assert after.keys() == before.keys()
    assert {name: entry.flags for name, entry in after.items()} == {
        name: entry.flags for name, entry in before.items()
    }
