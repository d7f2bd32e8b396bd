"""What `exports` measures, each in a process of its own that imports nothing else."""

import gc
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from vpopsql.config import Config, Export, Paths
from vpopsql.db import Database
from vpopsql.exporter.apply import follow
from vpopsql.model import CatchAll, Domain, DomainName, Flag, Mailbox
from vpopsql.names import sort_key
from vpopsql.qmail import assign
from vpopsql.touched import Touched

_CHANGED = "vpopsql-bench"


def main(step: str, url: str, place: str) -> None:
    """Do a step with a database and the files of a qmail."""
    qmail = Path(place)
    if step == "our writer":
        (qmail / "users/cdb").write_bytes(
            assign.compile_text((qmail / "users/assign").read_bytes())
        )
        return
    database = Database(url)
    try:
        _export(step, database, qmail)
    finally:
        database.close()
        gc.freeze()  # as the command line does


def _export(step: str, database: Database, qmail: Path) -> None:
    export = Export(delivery="exact")
    if step == "export with qmail-newu":
        export = replace(export, newu_command=(str(qmail / "bin/qmail-newu"),))
    touched = Touched(site=True)
    if step == "one mailbox":
        touched = _close_one(database)
    elif step == "one domain":
        touched = _add_one(database)
    config = Config(paths=Paths(vpopmail=str(qmail / _CHANGED), qmail=str(qmail)), export=export)
    follow(database, config, touched)


def _close_one(database: Database) -> Touched:
    """Let a mailbox bounce its mail, or have it again."""
    with database.writer() as session:
        box = session.scalars(select(Mailbox).order_by(Mailbox.id.desc()).limit(1)).one()
        box.flags ^= Flag.BOUNCE_MAIL
        query = select(DomainName.name).where(DomainName.domain_id == box.domain_id)
        return Touched(accounts=set(session.scalars(query)))


def _add_one(database: Database) -> Touched:
    name = f"new{time.time_ns()}.example"
    with database.writer() as session:
        domain = Domain(
            directory=f"/home/vpopmail/domains/{name}", uid=89, gid=89, catchall=CatchAll.BOUNCE
        )
        session.add(domain)
        session.flush()
        row = DomainName(name=name, domain_id=domain.id, is_alias=False, sort_key=sort_key(name))
        row.in_morercpthosts = True
        session.add(row)
    return Touched(names={name})
