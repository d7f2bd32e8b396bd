"""Where a site is read from and how: enough to read the same site again in the same way."""

import enum
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from vpopsql.config import Config
from vpopsql.errors import ImportFailed
from vpopsql.importer.backend import Backend, Choices, Head, Prefer
from vpopsql.importer.cdb_build import CdbBuild
from vpopsql.importer.evidence import Evidence
from vpopsql.importer.scan import Progress, Scanned, Source, scan
from vpopsql.importer.tables.backend import TablesBackend
from vpopsql.importer.tables.source import Layout, stage

# Where a server is and how to talk to it; what else a driver may take can be a password.
_NO_SECRETS = {
    "host",
    "port",
    "unix_socket",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "ssl_verify_cert",
    "ssl_verify_identity",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
}


class Store(enum.StrEnum):
    """Where vpopmail has the accounts."""

    TREE = "tree"
    """In the domains' directories: the cdb build."""
    MYSQL = "mysql"
    PGSQL = "pgsql"


class Dialect(enum.StrEnum):
    """Whose flags the accounts have."""

    VPOPMAIL = "vpopmail"
    INDIMAIL = "indimail"


@dataclass(frozen=True, slots=True)
class Origin:
    """A site to import.

    ``tables`` is the URL of a database or the path of a dump, None for a tree; ``vpopmail`` is
    None if there is no tree.
    """

    store: Store
    qmail: Path
    vpopmail: Path | None = None
    tables: str | None = None
    layout: Layout = Layout.AUTO
    dialect: Dialect = Dialect.VPOPMAIL
    read_homes: bool = True
    prefer: Prefer = Prefer.VPASSWD

    @property
    def name(self) -> str:
        """What the site is remembered by: other settings are other readings of the same site."""
        place = self.vpopmail if self.store is Store.TREE else self._without_password()
        return f"{self.store} {place}"

    def _without_password(self) -> str:
        tables = self.tables or ""
        if "://" not in tables:
            return str(Path(tables).absolute())
        try:
            url = make_url(tables)
        except (ArgumentError, ValueError):
            return ""  # refused, with a reason, when it is opened
        query = {key: value for key, value in url.query.items() if key in _NO_SECRETS}
        return url.set(password=None, query=query).render_as_string()

    def remembered(self) -> str:
        """Return it as text without a secret, see `recall`."""
        values = asdict(self) | {"tables": self.tables and self._without_password()}
        return json.dumps(values, default=str, sort_keys=True)

    def source(self, config: Config) -> Source:
        """Return the directories, and how to read them."""
        return Source(
            vpopmail=self.vpopmail,
            qmail=self.qmail,
            vpopmail_dir=config.paths.vpopmail,
            qmail_dir=config.paths.qmail,
            root=config.paths.root,
            choices=Choices(
                store_clear_text=config.passwords.store_clear_text,
                read_homes=self.read_homes,
                is_indimail=self.dialect is Dialect.INDIMAIL,
                prefer=self.prefer,
                catchall=config.domains.catchall,
            ),
        )

    def read(self, config: Config, *, jobs: int = 1, progress: Progress | None = None) -> Scanned:
        """Read the whole site.

        :raises ImportFailed: something of it cannot be opened.
        """
        source, evidence = self.source(config), Evidence()

        def cdb_build(heads: Sequence[Head]) -> Backend:
            del heads
            return CdbBuild(source.choices.prefer)

        with ExitStack() as stack:
            if self.tables is None:
                return scan(source, cdb_build, jobs=jobs, progress=progress, evidence=evidence)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vpopsql-")))
            staged = stage(self.tables, self.store.value, scratch, evidence, self.layout)
            stack.callback(staged.close)

            def tables(heads: Sequence[Head]) -> Backend:
                return TablesBackend(staged, heads)

            return scan(source, tables, jobs=jobs, progress=progress, evidence=evidence)


def recall(text: str) -> Origin:
    """Return what `Origin.remembered` gave.

    :raises ImportFailed: it is of another version of this program.
    """
    try:
        values = json.loads(text)
        vpopmail = values["vpopmail"]
        return Origin(
            store=Store(values["store"]),
            qmail=Path(values["qmail"]),
            vpopmail=None if vpopmail is None else Path(vpopmail),
            tables=values["tables"],
            layout=Layout(values["layout"]),
            dialect=Dialect(values["dialect"]),
            read_homes=values["read_homes"],
            prefer=Prefer(values["prefer"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ImportFailed(
            "what the database remembers of its import is of another version: name the source"
        ) from error


def with_password(origin: Origin, password: str) -> Origin:
    """Return the origin with the password of its database.

    :raises ImportFailed: its tables are not in a running database.
    """
    if not origin.tables or "://" not in origin.tables:
        raise ImportFailed("a password is for a running database only")
    try:
        url = make_url(origin.tables).set(password=password)
    except (ArgumentError, ValueError):
        return origin  # refused, with a reason, when it is opened
    return replace(origin, tables=url.render_as_string(hide_password=False))
