"""Comparing a database with a source that was just read: values, then files."""

from collections.abc import Callable, Iterator

from sqlalchemy.orm import Session

from vpopsql import names
from vpopsql.config import Config, Paths
from vpopsql.exporter import render
from vpopsql.exporter.render import ASSIGN, DomainFiles
from vpopsql.exporter.snapshot import (
    Account,
    DomainState,
    DotQmail,
    Name,
    take,
)
from vpopsql.importer import site, stored
from vpopsql.importer.codes import Severity
from vpopsql.importer.differences import Action, Read, compare
from vpopsql.importer.differences import Kind as Thing
from vpopsql.importer.later import Later, read_later
from vpopsql.importer.origin import Origin
from vpopsql.importer.plan import how_read, in_batches
from vpopsql.importer.scan import Opened, Scanned
from vpopsql.proof.files import Content, FileComparison, SourceFiles
from vpopsql.proof.frame import (
    Excuses,
    compare_settings,
    expected,
    state_of_counter,
    state_of_limits,
)
from vpopsql.proof.result import CHANGED_SINCE, Proof, worst
from vpopsql.qmail import assign
from vpopsql.touched import Touched


def prove(
    session: Session,
    origin: Origin,
    config: Config,
    scanned: Scanned,
    *,
    name: str,
    progress: Callable[[int, int, int], None] | None = None,
) -> Proof:
    """Compare the database with a source that was read just now.

    :param session: in one transaction that sees one moment.
    :param origin: where the source is now.
    :param name: what it was remembered by when it was imported.
    """
    with Opened(origin.source(config)) as opened:
        return _Proving(session, origin, name, config.paths, scanned, opened).run(progress)


class _Proving:
    """One proof."""

    def __init__(
        self,
        session: Session,
        origin: Origin,
        name: str,
        paths: Paths,
        scanned: Scanned,
        opened: Opened,
    ) -> None:
        found = scanned.found
        self._session = session
        self._paths = paths
        self._scanned = scanned
        self._home = found.vpopmail_dir
        self._proof = Proof()
        self._later = read_later(session)
        self._excuses = Excuses(self._later, self._later.is_only(name), name)
        self._files = SourceFiles(
            opened, found.vpopmail_dir, found.qmail_dir, in_tree=origin.tables is None
        )
        self._compared = FileComparison(self._files, scanned.own_evidence, self._proof)
        self._names: list[Name] = []

    def run(self, progress: Callable[[int, int, int], None] | None) -> Proof:
        spool = self._scanned.spool
        mailboxes = 0
        for batch in in_batches(spool.entries.values()):
            exported = self._exported(batch)
            there = {each.name.name: each for each in stored.read_domains(self._session, batch)}
            for name in batch:
                ours = spool.get(name)
                self._domain(ours, there.get(name), exported.get(name, {}))
                mailboxes += len(ours.mailboxes)
            if progress:
                progress(self._proof.domains, len(spool), mailboxes)
        self._left_out()
        self._site()
        return self._proof

    def _exported(self, batch: list[str]) -> dict[str, DomainFiles]:
        """Return the files of each domain as the export would write them."""
        wanted = set(batch)
        touched = Touched(accounts=wanted, dotqmail=wanted, limits=wanted)
        snapshot = take(self._session, self._paths, touched)
        home = snapshot.paths.vpopmail
        return {state.name: render.domain_files(state, home) for state in snapshot.domains}

    def _domain(
        self, ours: site.Domain, theirs: site.Domain | None, exported: DomainFiles
    ) -> None:
        name = ours.name.name
        self._names += _names_of(ours, self._proof.domains)
        self._proof.domains += 1
        is_excused = _things(
            ours, theirs, self._later, self._proof, how_read(self._scanned, name), self._excuses
        )
        wanted = render.domain_files(_state(ours), self._home)
        self._compared.look_up(self._scanned.spool.evidence_of(name))
        in_source = self._files.of_domain(ours.directory)
        if self._scanned.with_homes:
            for mailbox in ours.mailboxes:
                in_source += self._files.of_home(mailbox.directory)
        for path in sorted({*wanted, *exported, *in_source}):
            self._file(path, wanted.get(path), exported.get(path), is_excused=is_excused)

    def _left_out(self) -> None:
        """Name the domains of the source that could not be imported."""
        spool = self._scanned.spool
        codes = {}
        for name in spool.left_out():
            rejects = spool.evidence_of(name).of(Severity.REJECT)
            codes[name] = str(rejects[0].code)
            self._proof.explain(name, 0, codes[name])
        content = self._files.read(f"{self._paths.qmail}/{ASSIGN}").content if codes else None
        lost = dict(codes)
        for line in assign.parse(content) if isinstance(content, bytes) else ():
            if isinstance(line, assign.Assignment) and names.lower(line.user) in codes:
                lost[names.lower(line.local.removesuffix("-"))] = codes[names.lower(line.user)]
        self._compared.lose(lost)

    def _site(self) -> None:
        """Compare what belongs to no domain."""
        found, excuses = self._scanned.found, self._excuses
        known = {name.name for name in self._names}
        snapshot = take(self._session, self._paths, Touched(site=True), known)
        for name in sorted({each.real for each in snapshot.names} - known):
            reason = excuses.domain_of_others(name, self._scanned)
            if reason:
                self._proof.explain(name, 0, reason)
            else:
                self._proof.accuse(name, 0, "the database has this domain, the source has not")
        compare_settings(stored.read_settings(self._session), found, excuses, self._proof)
        wanted = render.site_files(expected(found, self._names, snapshot, None))
        excused = render.site_files(expected(found, self._names, snapshot, excuses))
        exported = render.site_files(snapshot)
        for path in sorted({*wanted, *excused, *exported}):
            as_excused = excused.get(path) == exported.get(path)
            self._file(path, wanted.get(path), exported.get(path), is_excused=as_excused)

    def _file(self, path: str, wanted: Content, exported: Content, *, is_excused: bool) -> None:
        kinds = []
        read = self._compared.compare(path, wanted)
        if read is not None:
            kinds.append(read)
        if wanted != exported and is_excused:
            kinds.append(self._proof.explain(path, 0, CHANGED_SINCE))
        elif wanted != exported:
            reason = "the export would write something else than the source has"
            kinds.append(self._proof.accuse(path, 0, reason))
        if kinds:
            self._proof.files[worst(*kinds)] += 1


def _things(
    ours: site.Domain,
    theirs: site.Domain | None,
    later: Later,
    proof: Proof,
    read: Read,
    excuses: Excuses,
) -> bool:
    """Compare a domain value by value; say whether the database was changed on purpose."""
    name = ours.name.name
    if theirs is None:
        if not later.is_deleted(name):
            proof.accuse(name, 0, "the database has no such domain")
            return False
        excuses.domains.add(name)
        proof.explain(name, 0, "deleted in the database since")
        return True
    is_excused = False
    for change in compare(ours, theirs, later, read):
        place = f"{name}: {change.name}"
        if change.action is not Action.KEEP:
            proof.accuse(place, 0, f"not as in the source: {change}")
            continue
        is_excused = True
        proof.explain(place, 0, f"{CHANGED_SINCE}: {change.kind}")
        if change.kind in {Thing.DOMAIN, Thing.ALIAS}:
            excuses.domains.add(name)
    return is_excused


def _state(domain: site.Domain) -> DomainState:
    """Return a domain of the source as the exporter has domains."""
    dotqmails = [_dotqmail(None, file) for file in domain.files]
    for mailbox in domain.mailboxes:
        dotqmails += [_dotqmail(mailbox.directory, file) for file in mailbox.files]
    return DomainState(
        name=domain.name.name,
        directory=domain.directory,
        uid=domain.uid,
        gid=domain.gid,
        catchall=domain.catchall,
        catchall_target=domain.catchall_target,
        accounts=[_account(mailbox) for mailbox in domain.mailboxes],
        dotqmails=dotqmails,
        limits=state_of_limits(domain.limits),
        counter=state_of_counter(domain.counter),
    )


def _account(mailbox: site.Mailbox) -> Account:
    return Account(**{name: getattr(mailbox, name) for name in Account._fields})


def _dotqmail(home: str | None, file: site.DotQmailFile) -> DotQmail:
    lines = tuple(line.text for line in file.lines)
    return DotQmail(home, file.name, lines, file.final_newline, file.link_target)


def _names_of(domain: site.Domain, age: int) -> Iterator[Name]:
    for name in domain.names:
        yield Name(
            name=name.name,
            real=domain.name.name,
            sort_key=names.sort_key(name.name),
            uid=domain.uid,
            gid=domain.gid,
            directory=domain.directory,
            in_morercpthosts=name.in_morercpthosts,
            age=age,
            is_imported=True,
        )
