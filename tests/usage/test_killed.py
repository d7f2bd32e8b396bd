"""A scan that is killed with SIGKILL: what it wrote down is whole, and the next one goes on."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from tests import factories
from tests.usage.conftest import maildir
from vpopsql.config import Config
from vpopsql.db import Database
from vpopsql.model import DomainUsage, LatestUsage, Mailbox, MailboxUsage
from vpopsql.usage import scan as scanning
from vpopsql.usage.scan import Wanted

NUMBER = 60
# What it found is written down at once, so that nobody has to wait for some.
RUN = """
from vpopsql.usage import scan
scan._STORE_S = 0.0
from vpopsql.cli import main
main()
"""


def kept(database: Database) -> Counter[int]:
    """How many snapshots each mailbox has."""
    with database.reader() as session:
        return Counter(session.scalars(select(MailboxUsage.mailbox_id)))


def wait_for(database: Database, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(kept(database)) < number and time.monotonic() < deadline:
        time.sleep(0.02)


def test_nothing_is_half_done_or_done_again(
    database: Database, settings: Config, database_url: str, root: Path
) -> None:
    with database.writer() as session:
        for name in ("a.example", "b.example"):
            domain = factories.domain(session, name)
            for number in range(NUMBER // 2):
                made = factories.mailbox(session, domain, f"user{number}")
                maildir(root, made.directory, 10, 20)
    running = subprocess.Popen(
        [sys.executable, "-c", RUN, "usage", "scan", "--rate", "30", "--jobs", "1"],
        env=os.environ | {"VPOPSQL_DATABASE_URL": database_url, "VPOPSQL_PATHS_ROOT": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(database, 5)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait(30)

    before = kept(database)
    summary = scanning.scan(database, settings, Wanted(max_age=timedelta(hours=1)))

    assert 5 <= len(before) < NUMBER
    assert (summary.skipped, summary.measured) == (len(before), NUMBER - len(before))
    assert set(kept(database).values()) == {1}
    with database.reader() as session:
        assert session.scalar(select(func.count()).select_from(LatestUsage)) == NUMBER
        assert session.scalar(select(func.count()).select_from(Mailbox)) == NUMBER
        sums = session.execute(
            select(DomainUsage.domain, DomainUsage.measured, DomainUsage.bytes).order_by(
                DomainUsage.domain, DomainUsage.id
            )
        ).all()
    assert [tuple(row) for row in sums] == [("a.example", 30, 900), ("b.example", 30, 900)]
