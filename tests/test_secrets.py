"""No password, hash or key anywhere but where it belongs: a site at work, and all that it says.

Everything is done with words that occur nowhere else; then all that was printed, logged, written
and shown is searched for them.
"""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select, text

from tests import commands
from tests.daemon.conftest import Talk
from vpopsql.db import Database
from vpopsql.model import AuditEntry, Mailbox
from vpopsql.sealed import new_key

WORDS = {
    name: f"Geheim-{name}-7Q!"
    for name in (
        "postmaster",
        "alice",
        "bob",
        "changed",
        "wrong",
        "refused",
        "misplaced",
        "garbled",
        "batch",
        "database",
    )
}
GIVEN_HASH = "$6$Geheimsalz$" + "hashhashhashhashhash" * 4 + "hashha"
REPORTS = (
    *("mailboxes", "password-schemes", "password-scheme-mailboxes", "clear-text", "admins"),
    *("changes", "growth", "long-lines", "flags", "domain-overview", "forwards"),
)
FILES_WITH_PASSWORDS = ("vpasswd", "keys", ".db", ".backup")


@dataclass(slots=True)
class Site:
    """A site, and all that was heard of it."""

    root: Path
    database: Database
    config: Path
    capture: pytest.CaptureFixture[str]
    daemon: subprocess.Popen[bytes]
    log: Path
    heard: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> str:
        """Run a command; remember what it says."""
        environ = {"VPOPSQL_CONFIG": str(self.config)} | environ
        done = commands.run(self.capture, *arguments, stdin=stdin, **environ)
        said = done.stdout + done.stderr
        self.heard[f"{len(self.heard)} {' '.join(arguments)}"] = said
        return said

    def port(self) -> int:
        """Return where the daemon listens."""
        while b'"port": ' not in (data := self.log.read_bytes()):
            assert self.daemon.poll() is None, data
            time.sleep(0.02)
        return int(data.split(b'"port": ')[1].split(b",")[0].strip(b"}\n"))


@pytest.fixture
def site(
    database: Database,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Site]:
    """A daemon at debug level that seals passwords, its database's URL in a file."""
    root, log = tmp_path / "root", tmp_path / "log"
    for place in ("home/vpopmail/domains", "var/qmail/control", "var/qmail/users"):
        (root / place).mkdir(parents=True)
    keys = tmp_path / "keys"
    keys.write_text(new_key() + "\n")
    keys.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[database]\nurl = "{database_url}"\n[paths]\nroot = "{root}"\n'
        f'[passwords]\nstore_clear_text = true\nkey_file = "{keys}"\nrounds = 1000\n'
        '[daemon]\nlisten = "127.0.0.1:0"\n[log]\nlevel = "debug"\n'
    )
    config.chmod(0o600)
    program = (sys.executable, "-c", "from vpopsql.cli import main; main()", "serve")
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            program,
            env={**os.environ, "VPOPSQL_CONFIG": str(config)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=out,
        )
    made = Site(root, database, config, capsys, daemon, log)
    yield made
    daemon.kill()
    daemon.communicate()


def by_commands(site: Site) -> None:
    site.run("export", "apply")
    site.run("domain", "add", "example.com", "--password-stdin", stdin=WORDS["postmaster"])
    site.run("user", "add", "alice@example.com", "--password-stdin", stdin=WORDS["alice"])
    site.run("user", "add", "alice@example.com", "--password-stdin", stdin=WORDS["refused"])
    lines = f"address,password,quota\ncarol@example.com,{WORDS['batch']},nonsense\n"
    site.run("user", "add", "--from", "-", stdin=lines)
    site.run("user", "add", "--from", "-", stdin=lines.replace("nonsense", "1M"))
    site.run("user", "modify", "carol@example.com", "--password-stdin", stdin=WORDS["refused"])
    with site.database.writer() as session:
        session.execute(text("UPDATE mailboxes SET flags = 65536 WHERE name = 'alice'"))


def by_clients(site: Site) -> None:
    heard: list[str] = []

    def say(on: Talk, *lines: str) -> None:
        heard.extend(on.ask(*lines))

    talk, other = (Talk(("127.0.0.1", site.port())) for _ in range(2))
    say(other, f"login alice@example.com {WORDS['wrong']}")
    say(other, f"login {WORDS['misplaced']} alice@example.com")
    say(other, f"logni alice@example.com {WORDS['garbled']}")
    say(talk, f"slogin alice@example.com {WORDS['alice']}")
    say(talk, f"add_user bob@example.com {WORDS['bob']}")
    say(talk, f"add_user bob@example.com {WORDS['refused']}")
    say(talk, f"add_user b/b@example.com {WORDS['refused']}")
    say(talk, f"add_user bob@nowhere.org {WORDS['refused']}")
    say(talk, f"add_domain example.com {WORDS['refused']}")
    say(talk, f"add_domain example.net {WORDS['refused']}")
    say(talk, f"ad_user bob@example.com {WORDS['garbled']}")
    say(talk, "mod_user bob@example.com")
    say(talk, f"clear_text_password {WORDS['changed']}", ".")
    say(talk, "mod_user bob@example.com")
    say(talk, f"clear_text_passwort {WORDS['garbled']}", f"encrypted_password {GIVEN_HASH}:", ".")
    say(talk, "mod_user bob@example.com")
    say(talk, f"encrypted_password {GIVEN_HASH}", ".")
    say(talk, "del_user carol@example.com")
    say(talk, "list_domains nonsense")
    site.heard["the daemon's answers"] = "\n".join(heard)
    talk.client.close()
    other.client.close()


def by_questions(site: Site) -> None:
    """Ask for everything that is told of a site."""
    site.run("audit", "list", "--format", "json")
    site.run("audit", "show", "2", "--format", "json")
    site.run("history", "bob@example.com", "--format", "csv")
    site.run("undo", "2")
    site.run("user", "list", "--format", "json")
    site.run("user", "show", "bob@example.com", "--format", "json")
    site.run("explain", "bob@example.com", "--format", "json")
    site.run("trash", "list", "--format", "json")
    site.run("verify", "--format", "json")
    site.run("metrics")
    site.run("config")
    site.run("config", "check")
    site.run("export", "plan", "--format", "json")
    site.run("report", "html", str(site.root / "report"))
    for name in REPORTS:
        site.run("report", name, "--format", "csv")
    backup = site.root.with_name("a.backup")
    site.run("backup", str(backup))
    site.run("backup", str(backup))
    site.run("restore", str(backup))
    site.run("passwords", "rotate-key")
    url = f"postgresql://who:{WORDS['database']}@127.0.0.1:1/none"
    site.run("user", "list", VPOPSQL_DATABASE_URL=url)
    site.run("config", VPOPSQL_DATABASE_URL=url)
    site.run("config", "check", VPOPSQL_DATABASE_URL=url)


def processes(site: Site) -> Iterator[tuple[str, str]]:
    """Return what anybody can see of the daemon."""
    for name in ("cmdline", "environ", "comm", "status"):
        path = Path(f"/proc/{site.daemon.pid}/{name}")
        yield str(path), path.read_bytes().decode(errors="replace")


def files(site: Site) -> Iterator[tuple[str, str]]:
    """Return all files that have no business with passwords."""
    for path in site.root.parent.rglob("*"):
        has_them = any(word in path.name for word in FILES_WITH_PASSWORDS)
        if path.is_file() and not path.is_symlink() and not has_them:
            yield str(path), path.read_bytes().decode(errors="replace")


def secrets_of(site: Site) -> list[str]:
    with site.database.reader() as session:
        hashes = session.scalars(select(Mailbox.password_hash)).all()
        sealed = session.scalars(text("SELECT clear_text FROM mailboxes")).all()
    key = (site.root.parent / "keys").read_text().strip()
    return [*WORDS.values(), GIVEN_HASH, *hashes, *filter(None, sealed), key]


def found_in(texts: dict[str, str], secrets: list[str]) -> list[tuple[str, str]]:
    return [(place, word) for place, said in texts.items() for word in secrets if word in said]


@pytest.fixture
def busy(site: Site) -> Site:
    """The same, when everything has been done."""
    by_commands(site)
    by_clients(site)
    by_questions(site)
    return site


def test_no_secret_is_told_logged_stored_or_shown(
    busy: Site, database_url: str, tmp_path: Path
) -> None:
    with busy.database.reader() as session:
        actions = set(session.scalars(select(AuditEntry.action)))
        rows = {
            table: "\n".join(
                str(value)  # the row's own text is cut short
                for row in session.execute(text(f"SELECT * FROM {table}"))
                for value in row
            )
            for table in ("mailboxes", "trash", "audit_log", "revisions", "site_settings")
        }
    log = str(tmp_path / "log")
    told = busy.heard | dict(processes(busy)) | dict(files(busy))
    told["audit"] = rows["audit_log"]
    stored = rows | {
        str(path): path.read_bytes().decode("latin-1")
        for path in tmp_path.glob("*.db*")
        if database_url.startswith("sqlite")
    }
    private = [
        path
        for path in tmp_path.rglob("*")
        if path.suffix == ".backup" or (path.name.startswith("vpasswd") and path.is_file())
    ]

    # That all of it happened, or there would be nothing to find.
    assert actions >= {"add_domain", "add_user", "mod_user", "del_user"}
    assert '"login failed"' in told[log]
    assert ("$sealed$1$" in rows["mailboxes"], "$sealed$1$" in rows["trash"]) == (True, True)
    assert len(private) >= 3
    assert found_in(told, secrets_of(busy)) == []
    assert found_in(stored, [*WORDS.values()]) == []
    assert [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o007] == []


@pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)
def test_a_crash_of_the_daemon_leaves_nothing(site: Site) -> None:
    site.port()
    limits = Path(f"/proc/{site.daemon.pid}/limits").read_text()
    (core,) = [line.split()[4:6] for line in limits.splitlines() if "core file" in line]
    before = present(site)

    site.daemon.send_signal(signal.SIGABRT)

    assert core == ["0", "0"]
    assert site.daemon.wait(20) == -signal.SIGABRT
    assert present(site) - before == set()


def present(site: Site) -> set[Path]:
    """Return the files of a site, but those that SQLite has while somebody is connected."""
    found = site.root.parent.rglob("*")
    return {path for path in found if not path.name.endswith(("-wal", "-shm"))}
