"""After whatever clients change, files and directories are what the database says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import Running, Talk
from vpopsql.exporter.apply import apply
from vpopsql.exporter.drift.survey import verify

SYSTEM = ("postmaster@test.com", "password")

CHANGES = [
    ("add_domain new.org two words",),
    ("add_alias_domain new.org other.org",),
    ("add_user carol@new.org secret words",),
    ("add_alias info@new.org carol@new.org",),
    ("add_alias info@new.org x@example.net",),
    ("add_alias old@new.org x@example.net",),
    ("remove_alias info@new.org x@example.net",),
    ("delete_alias old@new.org",),
    ("write_file new.org/.qmail-sales", "&carol@new.org", "."),
    ("write_file carol@new.org/.qmail", "&x@example.net", "./Maildir/", "."),
    ("rename_file new.org/.qmail-sales new.org/.qmail-shop",),
    ("mk_dir new.org/pictures",),
    ("add_ip_map 10.1.2.3 new.org",),
    ("add_user dave@new.org secret",),
    ("del_user dave@new.org",),
    ("del_domain example.com",),
]


@pytest.fixture
def daemon(serve: Callable[..., Running]) -> Running:
    running = serve("base")
    # The IP map of the sample belongs to root.
    apply(running.database, running.config)
    return running


def test_what_clients_change_is_verified(daemon: Running, talk_to: Callable[..., Talk]) -> None:
    system = talk_to(daemon, *SYSTEM)

    answers = [system.ask(*lines) for lines in CHANGES]
    quota = system.change("mod_user carol@new.org", "quota 10M", "comment Carol")
    limits = system.change("set_limits new.org", "max_aliases 5")
    report = verify(daemon.database, daemon.config)

    assert answers == [["+OK "]] * len(CHANGES)
    assert (quota, limits) == ("+OK ", "+OK ")
    assert [(str(each.code), each.path, each.reason) for each in report.findings] == []
    assert Path(f"{daemon.config.paths.root}/home/vpopmail/domains/new.org/carol").is_dir()
