"""Renames, killed before each step that they take: mail always finds its way, nothing is left."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.conftest import DOMAIN, Site, on_sqlite

pytestmark = on_sqlite

# Forks, since a start of Python takes as long as ten renames. Each child is killed before the step
# whose number it is given; the next child has one step more, until one comes to its end. A step is
# whatever changes a file or commits.
KILLER = """
import json, os, signal, sys, traceback
import click
from sqlalchemy.orm import Session
from vpopsql.cli import cli
from vpopsql.cli.objects import user, domain
from vpopsql.config import load
from vpopsql.db import Database
from vpopsql.exporter import apply as _, moving, projector
from vpopsql.exporter.drift import repair as _2
from vpopsql.tree import Tree

STEPS = ("write", "write_many", "rename", "symlink", "remove", "make_dir", "commit")

def kill_before(number):
    left = [number]
    def count(owner, name):
        plain = getattr(owner, name)
        def step(*args, **options):
            if not left[0]:
                os.write(2, f"{name}\\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return plain(*args, **options)
        setattr(owner, name, step)
    for name in STEPS[:-1]:
        count(Tree, name)
    import sqlalchemy.orm.session as of_session
    count(of_session.SessionTransaction, "commit")

def run(arguments, number):
    pid = os.fork()
    if not pid:
        try:
            if number is not None:
                kill_before(number)
            cli(arguments, standalone_mode=False)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(pid, 0)[1]

def look(root, database):
    of = {}
    for line in open(f"{root}/var/qmail/users/assign"):
        if line.startswith("+"):
            name, _, _, _, directory = line[1:].split(":")[:5]
            of[name[:-1]] = directory
    found = []
    for name, directory in sorted(of.items()):
        if not os.path.exists(f"{root}{directory}"):
            return []
        for line in open(f"{root}{directory}/vpasswd"):
            fields = line.rstrip("\\n").split(":")
            if fields[3] == "5":
                there = os.path.exists(f"{root}{fields[5]}/Maildir/new/1.host")
                found.append([name, fields[0], there])
    return found

root, kind = sys.argv[1:]
config = load()
number = 0
while True:
    old, new = f"n{number}", f"n{number + 1}"
    with Database(config.database.url).reader() as session:
        from sqlalchemy import select
        from vpopsql.model import DomainName, Mailbox
        query = select(Mailbox.name) if kind == "user" else select(DomainName.name)
        if kind == "user":
            query = query.where(Mailbox.flags == 5)
            present = session.scalars(query).one()
            arguments = ["user", "rename", f"{present}@example.com", new]
        else:
            present = session.scalars(query).one()
            arguments = ["domain", "rename", present, f"{new}.example"]
    status = run(arguments, number)
    mail = look(root, config)
    finished = run(["trash", "finish"], None)
    verified = run(["verify", "--jobs", "1"], None)
    print("@" + json.dumps([status, mail, finished, verified, look(root, config)]))
    if status != signal.SIGKILL:
        break
    number += 1
"""


def killed(site: Site, kind: str) -> tuple[list[list[object]], list[str]]:
    """Return what came of each child, and the names of the steps before which it was killed."""
    site.database.close()
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(site.root), kind],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("@")]
    return [json.loads(line[1:]) for line in lines], done.stderr.split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["user", "domain"])
def test_a_rename_can_be_killed_before_each_step(site: Site, kind: str) -> None:
    site.ok("alias-domain", "delete", "alias.org")
    site.ok("user", "modify", "alice@example.com", "--set", "no_password_change")
    site.ok("user", "modify", "alice@example.com", "--set", "no_webmail")
    (site.root / DOMAIN / "alice/Maildir/new/1.host").write_text("mail")

    rounds, steps = killed(site, kind)

    statuses = [each[0] for each in rounds]
    assert statuses == [9] * len(steps) + [0]
    assert {"rename", "symlink", "commit", "remove", "write"} <= set(steps)
    # In one moment of a user's rename, a delivery is deferred: see `moves`.
    without = [name for name, each in zip(steps, rounds, strict=False) if not _has_mail(each[1])]
    assert set(without) <= {"symlink"}
    assert [each[2:4] for each in rounds] == [[0, 0]] * len(rounds)
    assert all(_has_mail(each[4]) for each in rounds)


def _has_mail(found: object) -> bool:
    """Tell whether each line of a vpasswd leads to where the message is."""
    assert isinstance(found, list)
    return bool(found) and all(there for _, _, there in found)
