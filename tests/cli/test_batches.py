"""Many things from a file: all or none, and every mistake with its place."""

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.cli.conftest import DOMAIN, HASH, Site, on_sqlite
from vpopsql import passwords
from vpopsql.model import DirCounter, Mailbox, Revision


def number_of_users(site: Site) -> int:
    with site.database.reader() as session:
        return session.scalar(select(func.count()).select_from(Mailbox)) or 0


def test_many_users_come_from_csv_in_one_transaction(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    lines = "".join(
        f"u{n}@example.com,{HASH},User {n},1M,no_pop delete_spam\n" for n in range(120)
    )
    file.write_text(f"address,encrypted,comment,quota,flags\n{lines}")
    with site.database.reader() as session:
        before = session.scalar(select(func.max(Revision.id))) or 0

    done = site.ok("user", "add", "--from", str(file))

    assert done.out == "120 of 120 users added\n"
    with site.database.reader() as session:
        assert session.scalar(select(func.max(Revision.id))) == before + 1
        homes = set(session.scalars(select(Mailbox.directory)))
        counter = session.scalars(select(DirCounter).where(DirCounter.id != 0)).one()
        assert counter.cur_users == 123
    # The hundredth directory opens the first bucket, as one by one.
    assert f"/{DOMAIN}/u95" in homes
    assert f"/{DOMAIN}/0/u119" in homes
    assert len((site.root / DOMAIN / "vpasswd").read_text().splitlines()) == 123
    assert site.show("user", "show", "u7@example.com")["flags"] == ["no_pop", "delete_spam"]
    site.verified()


@on_sqlite
def test_users_come_from_json_lines_on_standard_input(site: Site) -> None:
    lines = [
        {
            "address": "carol@example.com",
            "password": "pä ss",
            "quota": "none",
            "flags": ["no_pop"],
        },
        {"address": "dave@alias.org", "encrypted": HASH, "comment": None},
    ]

    site.ok("user", "add", "--from", "-", stdin="\n".join(map(json.dumps, lines)))

    assert site.show("user", "show", "carol@example.com")["flags"] == ["no_pop"]
    assert site.show("user", "show", "dave@example.com")["comment"] == "dave"
    with site.database.reader() as session:
        stored = session.scalars(select(Mailbox.password_hash).where(Mailbox.name == "carol"))
        assert passwords.verify("pä ss", stored.one())
    site.verified()


def test_one_refused_line_refuses_its_whole_batch(site: Site) -> None:
    lines = f"address,encrypted\ncarol@example.com,{HASH}\nalice@example.com,{HASH}\n"
    lines += f"carol@example.com,{HASH}\nx@nowhere.org,{HASH}\n-x@example.com,{HASH}\n"
    before = site.files()

    said = site.refused("user", "add", "--from", "-", stdin=lines)

    assert said.splitlines() == [
        "vpopsql: standard input:3: there is a user already: alice@example.com",
        "standard input:4: there is a user already: carol@example.com",
        "standard input:5: no such domain: nowhere.org",
        "standard input:6: no user may be called so: '-x': the name starts with '-'",
    ]
    assert number_of_users(site) == 3
    assert site.files() == before


@on_sqlite
def test_batches_are_done_one_by_one_up_to_the_first_refused_one(site: Site) -> None:
    lines = "".join(f"{name}@example.com,{HASH}\n" for name in ("a", "b", "c", "alice", "d"))
    stdin = f"address,encrypted\n{lines}"

    done = site.run("user", "add", "--from", "-", "--batch", "2", stdin=stdin)
    again = site.run("user", "add", "--from", "-", "--batch", "1", "--keep-going", stdin=stdin)

    assert (done.code, done.out) == (1, "2 of 5 users added\n")
    assert "input:5: there is a user already: alice@example.com" in done.err
    assert (again.code, again.out) == (1, "2 of 5 users added\n")
    assert number_of_users(site) == 7
    site.verified()


@on_sqlite
@pytest.mark.parametrize(
    "text, says",
    [
        ("adress,password\nx@example.com,x", "input:1: there is no column 'adress'. Did you mean"),
        ("address,password\nx@example.com", "input:2: it has 1 fields, the header 2"),
        ("address,password\n\nx,y\n", "input:3: 'x' is no address"),
        ("address,encrypted\nx@example.com,plain", "input:2: encrypted_password is no hash"),
        ("address\nx@example.com", "input:2: it needs a password or an encrypted one"),
        ("address,password\n,secret", "input:2: address is missing"),
        ('address,password\n"x@example.com,s\n', "input:2: unexpected end of data"),
        ('{"address": "x@example.com", "password": "x"\n', "input:1: Expecting"),
        ('{"address": "x@example.com", "pasword": "x"}', "input:1: there is no column 'pasword'"),
        ("address,password,flags\nx@example.com,x,no_pup", "input:2: there is no flag 'no_pup'"),
        ("address,password,quota\nx@example.com,x,much", "input:2: quota is not understood"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_never_with_a_password(
    site: Site, text: str, says: str
) -> None:
    said = site.refused("user", "add", "--from", "-", stdin=text)

    assert says in said
    assert "secret" not in said
    assert number_of_users(site) == 3


@on_sqlite
def test_generated_passwords_are_told_once_they_are_stored(site: Site) -> None:
    stdin = "address\ncarol@example.com\ndave@example.com\n"

    dry = site.ok(*("user", "add", "--generate", "--from", "-", "--dry-run"), stdin=stdin)
    done = site.ok(
        *("user", "add", "--generate", "--from", "-", "--format", "json"), stdin=stdin
    ).document

    assert dry.out == "2 of 2 users would be added\n"
    made = {each["address"]: each["password"] for each in done["generated"]}
    with site.database.reader() as session:
        stored = session.scalars(select(Mailbox.password_hash).where(Mailbox.name == "dave")).one()
    assert passwords.verify(made["dave@example.com"], stored)


@on_sqlite
def test_users_are_modified_and_deleted_in_bulk(site: Site) -> None:
    changes = "address,quota,set\nalice@example.com,2M,no_pop\nbob@example.com,none,\n"

    site.ok("user", "modify", "--from", "-", stdin=changes)
    refused = site.refused(
        "user", "delete", "--from", "-", stdin="address\nbob@example.com\nx@example.com\n"
    )
    site.ok("user", "delete", "--from", "-", stdin="address\nbob@example.com\n")

    assert site.show("user", "show", "alice@example.com")["flags"] == ["no_pop"]
    assert site.show("user", "show", "alice@example.com")["quota"] == "2097152S"
    assert "input:3: no such user: x@example.com" in refused
    assert number_of_users(site) == 2
    site.verified()


@on_sqlite
def test_domains_and_aliases_come_in_bulk(site: Site) -> None:
    domains = "domain,aliases\nfirst.org,first.net first.com\nsecond.org,\n"
    aliases = (
        "address,destinations\ninfo@first.org,alice@example.com x@y.org\n"
        "robot@second.org,|/usr/bin/vacation -a b\n"
    )

    site.ok("domain", "add", "--generate", "--from", "-", stdin=domains)
    site.ok("alias", "add", "--from", "-", stdin=aliases)

    assert site.show("domain", "show", "first.com")["alias_domains"] == ["first.com", "first.net"]
    assert site.show("alias", "show", "info@first.net")["destinations"] == [
        "&alice@example.com",
        "&x@y.org",
    ]
    assert site.show("alias", "show", "robot@second.org")["destinations"] == [
        "|/usr/bin/vacation -a b"
    ]
    site.verified()

    site.ok("alias", "delete", "--from", "-", stdin="address\ninfo@first.org\nrobot@second.org\n")

    assert site.rows("alias", "list") == []
    site.verified()


@on_sqlite
def test_mail_in_the_place_of_a_new_directory_refuses_the_batch(site: Site) -> None:
    message = site.root / DOMAIN / "dave/Maildir/new/1.host"
    message.parent.mkdir(parents=True)
    message.write_text("mail")
    lines = f"address,encrypted\ncarol@example.com,{HASH}\ndave@example.com,{HASH}\n"

    done = site.run("user", "add", "--from", "-", stdin=lines)

    assert (done.code, done.out) == (1, "0 of 2 users added\n")
    assert f"in the place of the new directory: /{DOMAIN}/dave" in done.err
    assert message.read_text() == "mail"
    assert number_of_users(site) == 3


@on_sqlite
def test_options_of_one_are_refused_for_many(site: Site) -> None:
    stdin = "address,password\nx@example.com,x\n"

    assert "--quota does not go with --from" in site.misused(
        *("user", "add", "--from", "-", "--quota", "1M"), stdin=stdin
    )
    assert "--batch is for --from" in site.misused(
        *("user", "delete", "alice@example.com", "--batch", "5")
    )


@on_sqlite
def test_a_file_that_is_not_there_is_named_as_it_was_given(site: Site) -> None:
    several = site.run("user", "add", "--from", "/nowhere/users.csv")
    one = site.run("user", "add", "new@example.com", "--password-file", "/nowhere/secret")

    assert (several.code, one.code) == (1, 1)
    assert several.err == "vpopsql: /nowhere/users.csv: No such file or directory\n"
    assert one.err == "vpopsql: /nowhere/secret: No such file or directory\n"
