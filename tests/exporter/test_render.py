"""Contents from snapshots: no database, no files."""

from dataclasses import replace
from typing import Any

import pytest

from vpopsql import names
from vpopsql.config import Paths
from vpopsql.exporter.render import Link, Unrenderable, domain_files, site_files
from vpopsql.exporter.snapshot import (
    Account,
    Counter,
    DomainState,
    DotQmail,
    Foreign,
    Limits,
    Name,
    Snapshot,
)
from vpopsql.model import CatchAll
from vpopsql.qmail import assign, control, limits
from vpopsql.qmail.dircontrol import DirControl

DIRECTORY = "/home/vpopmail/domains/example.com"
EMPTY = Snapshot(
    revision=0,
    paths=Paths(),
    names=(),
    foreign={},
    domains=(),
    ip_mappings=(),
    default_limits=None,
    counter=None,
)


def name(text: str, real: str = "", **fields: Any) -> Name:
    defaults: dict[str, Any] = {
        "name": text,
        "real": real or text,
        "sort_key": names.sort_key(text),
        "uid": 89,
        "gid": 89,
        "directory": f"/home/vpopmail/domains/{real or text}",
        "in_morercpthosts": False,
        "age": 1,
        "is_imported": True,
    }
    return Name(**(defaults | fields))


def account(**fields: Any) -> Account:
    defaults: dict[str, Any] = {
        "name": "alice",
        "password_hash": "$1$hash",
        "apop_uid": 1,
        "flags": 0,
        "comment": "Alice",
        "directory": f"{DIRECTORY}/alice",
        "quota_bytes": None,
        "quota_messages": None,
        "quota_text": "NOQUOTA",
        "clear_text": None,
    }
    return Account(**(defaults | fields))


def domain(**fields: Any) -> DomainState:
    bare = DomainState(
        name="example.com",
        directory=DIRECTORY,
        uid=89,
        gid=89,
        catchall=CatchAll.NONE,
        catchall_target=None,
        accounts=(),
        dotqmails=(),
        limits=None,
        counter=None,
    )
    return replace(bare, **fields)


def dotqmail(of: str, *lines: str, home: str | None = None) -> DotQmail:
    return DotQmail(home, of, lines, final_newline=True, link_target=None)


def site(**fields: Any) -> dict[str, bytes | None]:
    """Return the files of a site, by their names."""
    files = site_files(replace(EMPTY, **fields))
    return {path.rpartition("/")[2]: data for path, data in files.items()}


def files_of(**fields: Any) -> dict[str, bytes | Link]:
    """Return the files of a domain, by what stands behind its directory."""
    files = domain_files(domain(**fields), "/home/vpopmail")
    return {path.removeprefix(f"{DIRECTORY}/"): data for path, data in files.items()}


# --- the site ---------------------------------------------------------------------------------


def test_an_empty_site_has_a_whole_assign_and_an_rcpthosts_that_accepts_nothing() -> None:
    files = site()

    assert files == {
        "rcpthosts": b"",
        "morercpthosts": None,
        "morercpthosts.cdb": None,
        "virtualdomains": b"",
        "locals": None,
        "assign": b".\n",
        "cdb": assign.compile_cdb([]),
        "ip_alias_map": None,
    }


def test_an_alias_domain_is_assigned_to_the_real_ones_directory() -> None:
    files = site(names=[name("alias.org", "example.com"), name("example.com")])

    directory = "/home/vpopmail/domains/example.com"
    assert (
        files["assign"]
        == (
            f"+alias.org-:example.com:89:89:{directory}:-::\n"
            f"+example.com-:example.com:89:89:{directory}:-::\n.\n"
        ).encode()
    )
    assert files["virtualdomains"] == b"alias.org:alias.org\nexample.com:example.com\n"


def test_foreign_lines_stand_where_they_sort_and_before_ours_of_the_same_key() -> None:
    files = site(
        names=[name("b.example"), name("d.example")],
        foreign={
            "control/rcpthosts": [
                Foreign("a.example", "a.example"),
                Foreign("# about b", "b.example"),
                Foreign("c.example  ", "c.example"),
            ]
        },
    )

    assert files["rcpthosts"] == b"a.example\n# about b\nb.example\nc.example  \nd.example\n"


def test_our_names_leave_locals_and_everything_else_stays() -> None:
    files = site(
        names=[name("example.com")],
        foreign={
            "control/locals": [
                Foreign("localhost", "localhost"),
                Foreign("Example.COM ", "example.com"),
                Foreign("# mine", "x"),
            ]
        },
    )

    assert files["locals"] == b"localhost\n# mine\n"


def test_what_was_found_in_morercpthosts_stays_there() -> None:
    files = site(
        names=[name("a.example", in_morercpthosts=True), name("b.example")],
        foreign={
            "control/morercpthosts": [Foreign("# more", "a"), Foreign("Z.example ", "z.example")]
        },
    )

    assert files["rcpthosts"] == b"b.example\n"
    assert files["morercpthosts"] == b"# more\na.example\nZ.example \n"
    assert files["morercpthosts.cdb"] == control.compile_morercpthosts(["a.example", "z.example"])


def test_imported_names_stay_in_rcpthosts_however_many_they_are() -> None:
    files = site(names=[name(f"d{number:03}.example") for number in range(200)])

    assert (files["rcpthosts"] or b"").count(b"\n") == 200
    assert files["morercpthosts"] is None


def test_the_51st_name_made_here_goes_to_morercpthosts() -> None:
    made = [name(f"d{60 - age:03}.example", age=age, is_imported=False) for age in range(60)]

    files = site(names=sorted(made, key=lambda each: each.sort_key))

    assert (files["rcpthosts"] or b"").split() == [b"d%03d.example" % n for n in range(11, 61)]
    assert (files["morercpthosts"] or b"").split() == [b"d%03d.example" % n for n in range(1, 11)]


def test_foreign_and_imported_lines_count_for_the_50() -> None:
    files = site(
        names=[
            *(name(f"a{number:03}.example") for number in range(48)),
            name("b1.example", age=2, is_imported=False),
            name("b2.example", age=3, is_imported=False),
        ],
        foreign={"control/rcpthosts": [Foreign("localhost", "localhost")]},
    )

    assert b"b1.example\n" in (files["rcpthosts"] or b"")
    assert files["morercpthosts"] == b"b2.example\n"


def test_the_ip_map_has_a_line_an_address() -> None:
    files = site(ip_mappings=[("192.0.2.1", "example.com"), ("2001:db8::1", "test.com")])

    assert files["ip_alias_map"] == b"192.0.2.1 example.com\n2001:db8::1 test.com\n"


def test_an_assign_that_qmail_newu_would_refuse_is_not_made() -> None:
    broken = {"users/assign": [Foreign("=root:too:few", "root")]}

    with pytest.raises(Unrenderable, match="/var/qmail/users/assign: no line of users/assign"):
        site(foreign=broken)


# --- a domain ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, line",
    [
        ({}, b"alice:$1$hash:1:0:Alice:%s/alice:NOQUOTA\n"),
        ({"clear_text": ""}, b"alice:$1$hash:1:0:Alice:%s/alice:NOQUOTA:\n"),
        ({"clear_text": "a:b"}, b"alice:$1$hash:1:0:Alice:%s/alice:NOQUOTA:a:b\n"),
        (
            {"comment": "caf\udce9", "flags": 0x2008, "apop_uid": 2},
            b"alice:$1$hash:2:8200:caf\xe9:%s/alice:NOQUOTA\n",
        ),
        (
            {"quota_bytes": 10_485_760, "quota_text": "10M"},
            b"alice:$1$hash:1:0:Alice:%s/alice:10M\n",
        ),
        (
            {"quota_bytes": 5, "quota_messages": 7, "quota_text": "10M"},
            b"alice:$1$hash:1:0:Alice:%s/alice:5S,7C\n",
        ),
        ({"quota_text": "10M"}, b"alice:$1$hash:1:0:Alice:%s/alice:NOQUOTA\n"),
        ({"quota_text": ""}, b"alice:$1$hash:1:0:Alice:%s/alice:\n"),
    ],
)
def test_a_line_of_vpasswd(fields: dict[str, Any], line: bytes) -> None:
    files = files_of(accounts=[account(**fields)])

    assert files["vpasswd"] == line % DIRECTORY.encode()


def test_a_line_that_vpasswd_cannot_hold_is_named_without_its_secrets() -> None:
    with pytest.raises(Unrenderable, match="/vpasswd: a field of alice has a colon") as caught:
        files_of(accounts=[account(password_hash="se:cret")])

    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "catchall, target, line",
    [
        (CatchAll.BOUNCE, None, b"bounce-no-mailbox"),
        (CatchAll.DELETE, None, b"delete"),
        (CatchAll.ADDRESS, "all@example.com", b"all@example.com"),
        (CatchAll.DIRECTORY, f"{DIRECTORY}/alice", f"{DIRECTORY}/alice".encode()),
    ],
)
def test_a_catch_all_is_a_line_for_vdelivermail(
    catchall: CatchAll, target: str | None, line: bytes
) -> None:
    files = files_of(catchall=catchall, catchall_target=target)

    command = b"| /home/vpopmail/bin/vdelivermail '' "
    assert files[".qmail-default"] == command + line + b"\n"


def test_a_domain_without_catch_all_has_no_default_file() -> None:
    assert ".qmail-default" not in files_of(catchall=CatchAll.NONE)


def test_a_catch_all_of_another_program_is_written_as_its_lines() -> None:
    files = files_of(
        catchall=CatchAll.DOTQMAIL, dotqmails=[dotqmail("default", "|/usr/bin/maildrop")]
    )

    assert files[".qmail-default"] == b"|/usr/bin/maildrop\n"


def test_dot_qmail_files_of_domain_and_mailbox() -> None:
    home = f"{DIRECTORY}/alice"

    files = files_of(
        dotqmails=[
            dotqmail("first.last", "&a@example.com", "", "# b"),
            dotqmail("", "./Maildir/", home=home),
            dotqmail("ext", "&\udcff@example.com", home=f"{home}/"),
            DotQmail(None, "cut", ("&a@b.example",), final_newline=False, link_target=None),
            DotQmail(None, "list", (), final_newline=True, link_target="/lists/editor"),
        ]
    )

    assert files[".qmail-first:last"] == b"&a@example.com\n\n# b\n"
    assert files["alice/.qmail"] == b"./Maildir/\n"
    assert files["alice/.qmail-ext"] == b"&\xff@example.com\n"
    assert files[".qmail-cut"] == b"&a@b.example"
    assert files[".qmail-list"] == Link("/lists/editor")


def test_limits_are_written_as_they_came_while_they_mean_the_same() -> None:
    text = "# ours\nmaxaliases\t 3\n"
    values = {**limits.DEFAULTS, "max_aliases": 3}

    same = files_of(limits=Limits(values, text))
    changed = files_of(limits=Limits({**values, "max_aliases": 4}, text))

    assert same[".qmailadmin-limits"] == text.encode()
    assert changed[".qmailadmin-limits"] == limits.render({"max_aliases": 4})


def test_a_counter_has_its_freed_buckets_beside_it() -> None:
    files = files_of(counter=Counter(DirControl(cur_users=3), "0\n1\n"))

    assert files[".dir-control"] == b"3\n0\n3\n0 0 0\n61 61 61\n0 2 4\n0 0 0\n\n"
    assert files[".dir_control_free"] == b"0\n1\n"
