"""The pages of a whole site, from the database to the directory."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests import factories
from tests.conftest import SHARED
from tests.databases import PostgreSQL, SQLite
from tests.reports.conftest import NOW, ago
from tests.reports.site.conftest import EVIL, EVIL_DOMAIN, Write, all_pages, fill
from vpopsql.config import Config, load
from vpopsql.db import Database
from vpopsql.errors import NoSuchDomain
from vpopsql.model import Domain, DomainName
from vpopsql.reports import query
from vpopsql.reports.query import Question
from vpopsql.reports.registry import REPORTS
from vpopsql.reports.report import Source
from vpopsql.reports.site.gather import DomainRows, Gathering
from vpopsql.reports.site.overview import Urgency, concerns
from vpopsql.reports.site.paths import domain_path, report_path
from vpopsql.reports.site.streams import Found
from vpopsql.reports.site.write import Wanted, write_site

OF_VIEWS = [each for each in REPORTS.values() if each.source is Source.VIEW]
SECRETS = ("secret horse", 11 * "h", "$1$", "$6$")
on_sqlite = pytest.mark.parametrize("_backend", ["sqlite"], indirect=True)


class Parsed(HTMLParser):
    """A page as it is nested, with what it refers to."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.scripts = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src"} and value and not value.startswith("data:"):
                self.targets.append(value)
            if name == "id" and value:
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def gather(database: Database, rows: int) -> tuple[Gathering, dict[str, DomainRows]]:
    with database.snapshots(2) as sessions:
        gathering = Gathering(sessions, NOW, rows)
        gathering.ask(lambda *_: None)
        return gathering, {each.name: each for each in gathering.domains()}


@pytest.mark.parametrize("rows", [1, 1000])
def test_each_report_has_its_first_rows_and_their_number(sample: Database, rows: int) -> None:
    gathering, _ = gather(sample, rows)
    with sample.snapshot() as session:
        every = {each.name: list(query.rows(session, each, Question())) for each in OF_VIEWS}

    assert gathering.found == {
        name: Found(found[:rows], len(found)) for name, found in every.items()
    }


def test_each_domain_has_its_own_rows(sample: Database) -> None:
    _, domains = gather(sample, 2)
    one, two = domains["example.com"], domains[EVIL_DOMAIN]

    assert list(domains) == [EVIL_DOMAIN, "empty.net", "example.com"]
    assert one.mailboxes.total == 4
    assert [row[0] for row in one.mailboxes.rows] == [EVIL, "alice"]
    assert {name: found.total for name, found in one.sections} == {
        "domain-limits": 1,
        "dangling-aliases": 1,
        "alias-loops": 1,
        "shadowed": 1,
        "external-forwards": 2,
        "clear-text": 1,
        "admins": 2,
        "flags": 6,
        "alias-domains": 1,
        "ip-map": 1,
    }
    assert [(each.mailboxes, each.bytes) for each in one.growth] == [(2, 100), (3, 550), (4, 1000)]
    assert [(each.mailboxes, each.bytes) for each in two.growth] == [(1, None)]
    assert two.catchall == (EVIL_DOMAIN, "address", "who@example.com", False, None)
    assert domains["empty.net"].sections == []


def test_how_full_a_mailbox_is_may_be_unknown_or_need_no_answer(sample: Database) -> None:
    _, domains = gather(sample, 10)

    assert {row[0]: row[3] for row in domains["example.com"].mailboxes.rows} == {
        EVIL: None,
        "alice": 100.0,
        "carol": 50.0,
        "postmaster": None,
    }


def test_the_past_of_domains_that_are_gone_is_in_the_growth_of_the_site(sample: Database) -> None:
    gathering, _ = gather(sample, 10)

    points = [(each.on, each.mailboxes, each.bytes) for each in gathering.timeline.points(99)]
    assert points == [
        (ago(70).date(), 7, 5100),
        (ago(69).date(), 2, 100),
        (ago(41).date(), 4, 550),
        (ago(1).date(), 5, 1000),
    ]


def test_what_needs_attention_is_counted(sample: Database) -> None:
    gathering, _ = gather(sample, 1)

    found = [(each.urgency, each.count, each.report) for each in concerns(gathering)]
    assert found[:8] == [
        (Urgency.MAIL, 1, "over-quota"),
        (Urgency.MAIL, 2, "dangling-aliases"),
        (Urgency.MAIL, 1, "alias-loops"),
        (Urgency.MAIL, 1, "shadowed"),
        (Urgency.MAIL, 1, "catchall"),
        (Urgency.SECURITY, 1, "clear-text"),
        (Urgency.SECURITY, 2, "password-schemes"),
        (Urgency.SECURITY, 2, "external-forwards"),
    ]
    assert (Urgency.SOON, 1, "domain-limits") in found


def test_an_empty_site_has_pages_too(database: Database, config: Config, tmp_path: Path) -> None:
    written = write_site(database, config, Wanted(tmp_path / "site"), NOW, lambda *_: None)

    pages = dict(all_pages(tmp_path / "site"))
    assert written.domains == 0
    assert set(pages) == {
        "index.html",
        "domains/index.html",
        *(report_path(each.name) for each in OF_VIEWS),
    }
    assert "Nothing that the reports know of." in pages["index.html"]
    assert "There is no domain yet." in pages["domains/index.html"]
    assert "There is nothing to report." in pages[report_path("admins")]


@on_sqlite
def test_every_page_is_well_formed_and_every_link_leads_to_one(
    write: Write, tmp_path: Path
) -> None:
    written = write(rows=2)

    parsed = {path: Parsed(page) for path, page in all_pages(tmp_path / "site")}
    reached = set()
    for path, page in parsed.items():
        assert (page.open, page.scripts) == ([], 1)
        assert len(page.ids) == len(set(page.ids))
        assert page.headings[0] == 1
        assert page.headings.count(1) == 1
        assert all(
            after <= before + 1
            for before, after in zip(page.headings, page.headings[1:], strict=False)
        )
        for target in page.targets:
            name, fragment = urldefrag(target)
            place = (tmp_path / "site" / path).parent / unquote(name) if name else None
            there = place.resolve() if place else tmp_path / "site" / path
            assert there.is_file()
            reached.add(str(there.relative_to(tmp_path / "site")))
            assert (
                not fragment or fragment in parsed[str(there.relative_to(tmp_path / "site"))].ids
            )
    assert reached - {"assets/style.css", "assets/sort.js"} == set(parsed)
    assert written.pages == len(parsed)


@on_sqlite
def test_no_secret_is_on_any_page_and_no_name_is_markup(write: Write, tmp_path: Path) -> None:
    write()

    text = "".join(page for _, page in all_pages(tmp_path / "site"))
    assert [secret for secret in SECRETS if secret in text] == []
    assert "<script>pwned" not in text
    assert "&lt;script&gt;pwned=1" in text
    assert "\u202e" not in text


@on_sqlite
def test_what_is_not_shown_is_said(write: Write, tmp_path: Path) -> None:
    write(rows=1)

    report = (tmp_path / "site" / report_path("admins")).read_text()
    page = (tmp_path / "site" / domain_path("example.com")).read_text()
    of_all = "vpopsql report admins --format csv"
    of_one = "vpopsql report inactive-mailboxes --days 0 --postmaster --domain example.com"
    assert f"The first 1 of 2 rows: <code>{of_all}</code> has all" in report
    assert f"The first 1 of 4 rows: <code>{of_one} --format csv</code> has all" in page


@on_sqlite
def test_the_list_of_domains_has_several_pages(write: Write, tmp_path: Path) -> None:
    write(rows=1)

    third = (tmp_path / "site/domains/3.html").read_text()
    assert "3 to 3 of 3 domains" in third
    assert "aria-current=page>3 <span>example.com</span>" in third


@on_sqlite
def test_one_domain_may_have_a_site_of_its_own(write: Write, tmp_path: Path) -> None:
    written = write(domain="alias.org")

    pages = dict(all_pages(tmp_path / "site"))
    assert written.domains == 1
    assert domain_path("example.com") in pages
    assert domain_path(EVIL_DOMAIN) not in pages
    assert "zoe@" not in "".join(pages.values())


@on_sqlite
def test_a_domain_that_is_not_there_leaves_the_old_site(write: Write, tmp_path: Path) -> None:
    write()
    before = dict(all_pages(tmp_path / "site"))

    with pytest.raises(NoSuchDomain):
        write(domain="nowhere.net")

    assert dict(all_pages(tmp_path / "site")) == before


@on_sqlite
def test_the_page_of_a_domain_that_was_removed_goes(
    sample: Database, write: Write, tmp_path: Path
) -> None:
    write()
    with sample.writer() as session:
        gone = session.get_one(DomainName, "empty.net")
        session.delete(session.get_one(Domain, gone.domain_id))
    write()

    assert (tmp_path / "site" / domain_path("example.com")).exists()
    assert not (tmp_path / "site" / domain_path("empty.net")).exists()


@on_sqlite
def test_a_run_that_fails_half_way_leaves_the_old_site(
    sample: Database, config: Config, tmp_path: Path
) -> None:
    wanted = Wanted(tmp_path / "site")
    write_site(sample, config, wanted, NOW, lambda *_: None)
    before = dict(all_pages(tmp_path / "site"))

    def interrupt(what: str, done: int, *_: object) -> None:
        if what == "writing" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_site(sample, config, replace(wanted, title="New"), NOW, interrupt)

    assert dict(all_pages(tmp_path / "site")) == before


@on_sqlite
def test_several_processes_make_the_same_pages(
    sample: Database, write: Write, tmp_path: Path
) -> None:
    with sample.writer() as session:
        for number in range(70):
            factories.domain(session, f"{number}.example")
    write()
    alone = dict(all_pages(tmp_path / "site"))
    write(jobs=2)

    assert len(alone) > 70
    assert dict(all_pages(tmp_path / "site")) == alone


@on_sqlite
def test_the_files_are_asked_on_demand(write: Write, tmp_path: Path, config: Config) -> None:
    write()

    index = (tmp_path / "site/index.html").read_text()
    assert index.count("not asked: --files does") == 3
    assert not (tmp_path / "site" / report_path("drift")).exists()


def test_both_databases_give_the_same_pages(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shared = request.config.stash[SHARED]
    postgresql = PostgreSQL(shared, request.getfixturevalue("_postgresql_url"))
    found: list[dict[str, str]] = []
    for backend in (SQLite(shared, tmp_path), postgresql):
        database = Database(backend.create(migrated=True))
        with database.writer() as session:
            fill(session)
        where = tmp_path / str(len(found))
        write_site(database, load(None), Wanted(where), NOW, lambda *_: None)
        database.close()
        found.append(dict(all_pages(where)))
    postgresql.drop_all()

    assert found[0].keys() == found[1].keys()
    assert [path for path in found[0] if found[0][path] != found[1][path]] == []
