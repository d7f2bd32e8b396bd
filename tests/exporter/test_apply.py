"""Writing: what is touched, in which order, and what is left when it fails."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from tests import factories
from tests.exporter.applying import (
    CONTROL,
    RCPTHOSTS,
    add_domain,
    make_site,
    move,
    remove_domain,
    write,
)
from tests.exporter.conftest import files_below
from vpopsql.config import Config, Paths
from vpopsql.db import Database
from vpopsql.errors import ExportFailed
from vpopsql.exporter.apply import Applied
from vpopsql.exporter.generations import DIRECTORY as GENERATIONS
from vpopsql.exporter.projector import Projector
from vpopsql.model import (
    Domain,
    DotQmailFile,
    Export,
    IpMapping,
    Revision,
)
from vpopsql.qmail import cdb
from vpopsql.touched import Touched
from vpopsql.tree import writing

Exporter = Callable[..., Applied]
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


@pytest.fixture
def site(database: Database) -> Database:
    return make_site(database)


def age_of_files(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): path.stat().st_ino for path in files if GENERATIONS not in path.parts}


# --- what is written --------------------------------------------------------------------------


def test_only_what_changed_is_written(site: Database, export: Exporter, root: Path) -> None:
    export()
    before = age_of_files(root)

    write(site, lambda s: factories.mailbox(s, s.scalars(select(Domain)).first(), "carol"))
    applied = export()

    directory = "/home/vpopmail/domains/example.com"
    assert applied.changed == (f"{directory}/vpasswd", f"{directory}/vpasswd.cdb")
    after = age_of_files(root)
    assert {path for path in after if after[path] != before.get(path)} == {
        f"{root}{path}" for path in applied.changed
    }


def test_an_export_is_recorded_with_the_revision_it_shows(
    site: Database, export: Exporter
) -> None:
    add_domain(site, "new.net")

    applied = export()
    export()

    with site.reader() as session:
        recorded = session.scalars(select(Export)).all()
        newest = session.scalars(select(Revision.id).order_by(Revision.id.desc())).first()
    assert [(each.revision, each.files_changed) for each in recorded] == [
        (newest, len(applied.changed))
    ]


def test_new_files_and_directories_have_the_usual_modes_and_owners(
    site: Database, export: Exporter, root: Path
) -> None:
    export()

    def looks(path: str) -> str:
        return stat.filemode((root / path).stat().st_mode)

    assert looks("home/vpopmail") == "drwxr-xr-x"
    assert looks("home/vpopmail/domains/test.com") == "drwx------"
    assert looks("home/vpopmail/domains/test.com/vpasswd") == "-rw-------"
    assert looks("home/vpopmail/domains/example.com/.qmail-info") == "-rw-------"
    assert looks("var/qmail/users") == "drwxr-xr-x"
    assert looks("var/qmail/users/cdb") == "-rw-r--r--"
    assert looks(RCPTHOSTS) == "-rw-r--r--"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_the_domains_files_to_their_owner(
    site: Database, export: Exporter, root: Path
) -> None:
    export()

    status = (root / "home/vpopmail/domains/test.com/vpasswd").stat()
    assert (status.st_uid, status.st_gid) == (89, 89)
    assert (root / RCPTHOSTS).stat().st_uid == 0


def test_an_existing_file_keeps_its_mode(site: Database, export: Exporter, root: Path) -> None:
    export()
    (root / RCPTHOSTS).chmod(0o640)

    add_domain(site, "new.net")
    export()

    assert (root / RCPTHOSTS).stat().st_mode & 0o777 == 0o640
    assert b"new.net\n" in (root / RCPTHOSTS).read_bytes()


def test_what_others_changed_is_put_right(site: Database, export: Exporter, root: Path) -> None:
    export()
    whole = files_below(root)
    (root / "home/vpopmail/domains/test.com/vpasswd").write_text("mallory::1:0::/:NOQUOTA\n")
    (root / "var/qmail/users/cdb").unlink()

    applied = export()

    assert files_below(root) == whole
    assert set(applied.changed) == {
        "/home/vpopmail/domains/test.com/vpasswd",
        "/var/qmail/users/cdb",
    }


def test_any_bytes_come_out_as_they_went_in(site: Database, export: Exporter, root: Path) -> None:
    raw = "&caf\udce9@example.com"
    comment = "M\udcfcller "
    write(site, lambda s: factories.alias(s, s.scalars(select(Domain)).first(), "raw", raw))
    write(
        site,
        lambda s: factories.mailbox(
            s, s.scalars(select(Domain)).first(), "mueller", comment=comment
        ),
    )

    export()

    directory = root / "home/vpopmail/domains/example.com"
    assert (directory / ".qmail-raw").read_bytes() == b"&caf\xe9@example.com\n"
    assert b":M\xfcller :" in (directory / "vpasswd").read_bytes()


def test_a_dot_qmail_file_of_a_mailbox_without_home_gets_one(
    site: Database, export: Exporter, root: Path
) -> None:
    with site.writer() as session:
        owner = factories.domain(session, "new.net")
        box = factories.mailbox(session, owner, "zoe")
        session.add(DotQmailFile(domain_id=owner.id, mailbox_id=box.id, name=""))

    export()

    assert (root / "home/vpopmail/domains/new.net/zoe/.qmail").read_bytes() == b""


def test_a_file_takes_the_place_of_a_link_and_never_goes_through_it(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    target = root / "precious"
    target.write_text("precious")
    path = root / "home/vpopmail/domains/example.com/.qmail-info"
    path.unlink()
    path.symlink_to(target)

    applied = export()

    assert applied.changed == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert not path.is_symlink()
    assert path.read_bytes() == b"&alice@example.com\n"
    assert target.read_text() == "precious"


def test_a_link_takes_the_place_of_a_file(site: Database, export: Exporter, root: Path) -> None:
    export()
    write(
        site,
        lambda s: s.execute(update(DotQmailFile).values(link_target="/lists/editor")),
    )

    first, second = export(), export()

    path = root / "home/vpopmail/domains/example.com/.qmail-info"
    assert path.readlink() == Path("/lists/editor")
    assert first.changed == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert second.changed == ()


def test_files_without_rows_are_left_and_named(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    write(site, lambda session: session.execute(delete(DotQmailFile)))

    applied = export()

    assert applied.extra == ("/home/vpopmail/domains/example.com/.qmail-info",)
    assert (root / "home/vpopmail/domains/example.com/.qmail-info").exists()


def test_the_last_ip_mapping_takes_its_file_with_it(
    site: Database, export: Exporter, root: Path
) -> None:
    write(site, lambda s: factories.ip_mapping(s, "::1", s.scalars(select(Domain)).first()))
    export()
    assert (root / "home/vpopmail/etc/ip_alias_map").read_bytes() == b"::1 example.com\n"

    write(site, lambda session: session.execute(delete(IpMapping)))
    export()

    assert not (root / "home/vpopmail/etc/ip_alias_map").exists()


def test_paths_are_those_of_the_site_that_was_imported(
    site: Database, export: Exporter, root: Path
) -> None:
    write(site, lambda session: factories.setting(session, "vpopmail_dir", "/srv/vpopmail"))
    write(site, lambda s: factories.ip_mapping(s, "::1", s.scalars(select(Domain)).first()))

    export()

    assert (root / "srv/vpopmail/etc/ip_alias_map").exists()
    assert (
        (root / "home/vpopmail/domains/test.com/.qmail-default")
        .read_bytes()
        .startswith(b"| /srv/vpopmail/bin/")
    )


# --- shared files -----------------------------------------------------------------------------


def test_60_domains_need_morercpthosts_and_none_of_them_is_lost(
    database: Database, export: Exporter, root: Path
) -> None:
    created = factories.at(2026, 1, 1)
    with database.writer() as session:
        for number in range(1, 61):
            factories.domain(session, f"d{number:02}.example", created_at=created)

    export()

    few = (root / RCPTHOSTS).read_bytes().split()
    more = (root / f"{CONTROL}/morercpthosts").read_bytes().split()
    compiled = cdb.read((root / f"{CONTROL}/morercpthosts.cdb").read_bytes())
    assert few == [b"d%02d.example" % number for number in range(1, 51)]
    assert more == [b"d%02d.example" % number for number in range(51, 61)]
    assert compiled == [(name, b"") for name in more]


def test_morercpthosts_goes_with_its_last_name(
    site: Database, export: Exporter, root: Path
) -> None:
    move(site, "test.com", in_morercpthosts=True)
    export()
    assert (root / f"{CONTROL}/morercpthosts").read_bytes() == b"test.com\n"

    remove_domain(site, "test.com")
    applied = export()

    assert not list((root / CONTROL).glob("morercpthosts*"))
    assert f"/{CONTROL}/morercpthosts.cdb" in applied.changed


def test_locals_of_a_host_that_was_not_imported_lose_our_names_only(
    database: Database, export: Exporter, root: Path
) -> None:
    add_domain(database, "example.com")
    (root / CONTROL).mkdir(parents=True)
    (root / f"{CONTROL}/locals").write_bytes(b"host.example\nexample.com\n# keep\nlocalhost\n")

    export()

    assert (root / f"{CONTROL}/locals").read_bytes() == b"host.example\n# keep\nlocalhost\n"


def test_no_locals_are_made_where_there_were_none(
    database: Database, export: Exporter, root: Path
) -> None:
    add_domain(database, "example.com")

    export()

    assert not (root / f"{CONTROL}/locals").exists()


def test_an_empty_database_does_not_wipe_a_site(
    database: Database, export: Exporter, root: Path
) -> None:
    (root / CONTROL).mkdir(parents=True)
    (root / RCPTHOSTS).write_bytes(b"example.com\n")

    with pytest.raises(ExportFailed, match=r"has 1 names that the database does not"):
        export()

    assert (root / RCPTHOSTS).read_bytes() == b"example.com\n"


def test_a_new_database_does_not_drop_names_that_a_host_had_before(
    database: Database, root: Path
) -> None:
    config = Config(paths=Paths(root=str(root)))
    (root / CONTROL).mkdir(parents=True)
    (root / RCPTHOSTS).write_bytes(b"mail.example\n")
    with database.writer() as session:
        factories.domain(session, "example.com")

    with pytest.raises(ExportFailed, match=r"such as mail\.example: import the site first"):
        Projector(database, config).follow(Touched(site=True))

    assert (root / RCPTHOSTS).read_bytes() == b"mail.example\n"


def test_the_last_domain_can_be_removed(site: Database, export: Exporter, root: Path) -> None:
    export()
    remove_domain(site, "example.com")
    remove_domain(site, "test.com")

    export()

    assert (root / RCPTHOSTS).read_bytes() == b""
    assert (root / "var/qmail/users/assign").read_bytes() == b".\n"


# --- reload -----------------------------------------------------------------------------------


@pytest.fixture
def reload(tmp_path: Path) -> tuple[str, ...]:
    """A command that notes each of its runs, and fails while there is a file "broken"."""
    script = tmp_path / "reload"
    script.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/runs\n! test -e {tmp_path}/broken\n")
    script.chmod(0o755)
    return str(script), "$HOME;x"


def test_qmail_send_is_reloaded_only_when_its_files_changed(
    site: Database, export: Exporter, reload: tuple[str, ...], tmp_path: Path
) -> None:
    results = [export(reload_command=reload)]
    results.append(export(reload_command=reload))
    write(site, lambda s: factories.mailbox(s, s.scalars(select(Domain)).first(), "carol"))
    results.append(export(reload_command=reload))
    add_domain(site, "new.net")
    results.append(export(reload_command=reload))

    assert [result.reloaded for result in results] == [True, False, False, True]
    assert (tmp_path / "runs").read_text() == "$HOME;x\n$HOME;x\n"


def test_a_reload_that_failed_keeps_new_names_out_and_is_tried_again(
    site: Database, export: Exporter, reload: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    export(reload_command=reload)
    add_domain(site, "new.net")
    (tmp_path / "broken").touch()

    with pytest.raises(ExportFailed, match=r"reload ended with status 1.*tries again"):
        export(reload_command=reload)

    assert b"new.net" in (root / f"{CONTROL}/virtualdomains").read_bytes()
    assert b"new.net" not in (root / RCPTHOSTS).read_bytes()
    (tmp_path / "broken").unlink()
    assert export(reload_command=reload).reloaded
    assert b"new.net" in (root / RCPTHOSTS).read_bytes()
    assert not export(reload_command=reload).reloaded


def test_a_reload_command_that_does_not_exist_is_named(site: Database, export: Exporter) -> None:
    with pytest.raises(ExportFailed, match="/nowhere/svc"):
        export(reload_command=("/nowhere/svc", "-h"))


# --- failures ---------------------------------------------------------------------------------


def test_a_failing_write_leaves_the_old_files_whole_and_says_which_path(
    site: Database, export: Exporter, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export()
    before = files_below(root)
    add_domain(site, "new.net")

    write_all = writing.write_all

    def full(fd: int, data: bytes) -> None:
        if data.startswith(b"{"):  # the description of the generation
            return write_all(fd, data)
        os.write(fd, data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_all", full)
        with pytest.raises(ExportFailed, match=r"/exported/home/.*/new.net/.*No space left"):
            export()

    assert files_below(root) == before
    export()
    assert b"new.net" in (root / RCPTHOSTS).read_bytes()


def test_a_directory_in_the_place_of_a_file_is_named(
    site: Database, export: Exporter, root: Path
) -> None:
    (root / "var/qmail/users/assign").mkdir(parents=True)

    with pytest.raises(ExportFailed, match=r"var/qmail/users/assign: Is a directory"):
        export()


def test_a_row_that_no_file_can_hold_is_named_and_nothing_leads_astray(
    site: Database, export: Exporter, root: Path
) -> None:
    export()
    before = (root / "var/qmail/users/cdb").read_bytes()
    add_domain(site, "new.net", directory="/home/with:colon")

    with pytest.raises(ExportFailed, match="/var/qmail/users/assign: a field has a colon"):
        export()

    assert (root / "var/qmail/users/cdb").read_bytes() == before
