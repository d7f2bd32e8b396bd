"""Workloads that change a site, its files included, forced to the disk as always."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

from scripts.benchmarks.client import Client
from scripts.benchmarks.floors import floor_of_domains, floor_of_mailboxes
from scripts.benchmarks.load import Job, Step
from scripts.benchmarks.site import PASSWORD
from scripts.benchmarks.stage import DatabaseStage, Options, Run, Stage
from scripts.benchmarks.workload import Asking, Change, Unit, Workload, login

_MIDDLE = 1_000
_CROWD = 64
_NEW_DOMAIN = b"bench-new.example"

_WAYS = (
    ("", "", ""),
    ("database-", "database", ", its accounts in the database alone, as the C daemon on MySQL"),
)
"""How a site is served: prefix of the names, `VARIANTS`, and what there is to say."""


def _add_user(domain: str) -> Callable[[Client, int], object]:
    line = f"add_user bench-new@{domain} {PASSWORD}".encode()
    return lambda client, _number: client.ask(line)


def _del_user(domain: str) -> Callable[[Client, int], object]:
    line = f"del_user bench-new@{domain}".encode()
    return lambda client, _number: client.ask(line)


def _mod_user(domain: str) -> Callable[[Client, int], object]:
    line = f"mod_user postmaster@{domain}".encode()
    return lambda client, number: client.change(line, b"comment Change %d" % number)


def _nothing(_client: Client, _number: int) -> None:
    """Leave it as it is."""


def _of_users() -> Iterator[Workload]:
    places: tuple[tuple[str, str, Callable[[Options], int]], ...] = (
        ("empty.example", "-0", lambda _options: 0),
        ("middle.example", "-1000", lambda _options: _MIDDLE),
        ("large.example", "", lambda options: options.users),
    )
    for domain, suffix, size in places:
        of = {"-0": "nobody but a postmaster", "-1000": "1,000 users", "": "many users"}[suffix]
        for verb in ("add_user", "mod_user", "del_user"):
            if verb != "add_user" and suffix:
                continue
            for prefix, variant, how in _WAYS:
                yield Workload(
                    f"{prefix}{verb}{suffix}",
                    f"{verb} in a domain of {of}{how}",
                    Unit.SECONDS,
                    _change(verb, domain, variant).run,
                    size=size,
                    c_name=verb,
                )
                if variant and suffix:
                    continue  # without files, no size makes a difference
                yield Workload(
                    f"floor-{prefix}{verb}{suffix}",
                    f"what {prefix}{verb}{suffix} cannot do without, by itself",
                    Unit.SECONDS,
                    floor_of_mailboxes(verb, domain, has_files=not variant).run,
                    size=size,
                    c_name=verb,
                )


def _change(verb: str, domain: str, variant: str) -> Change:
    site = f"changes-{variant}" if variant else "changes"
    add, delete = _add_user(domain), _del_user(domain)
    make, undo = {
        "add_user": (add, delete),
        "mod_user": (_mod_user(domain), _nothing),
        "del_user": (delete, add),
    }[verb]
    return Change(site, make, undo, is_undone_first=verb == "del_user", variant=variant)


def _of_domains() -> Iterator[Workload]:
    sizes: tuple[tuple[str, Callable[[Options], int]], ...] = (
        ("-10", lambda options: min(10, options.domains)),
        ("-1000", lambda options: min(_MIDDLE, options.domains)),
        ("", lambda options: options.domains),
    )
    for suffix, size in sizes:
        for prefix, variant, how in _WAYS:
            yield Workload(
                f"{prefix}add_domain{suffix}",
                f"add_domain on a site of {suffix.lstrip('-') or 'many'} domains{how}",
                Unit.SECONDS,
                _add_domain(size, variant),
                size=size,
                c_name="add_domain",
            )
        yield Workload(
            f"floor-add_domain{suffix}",
            f"what add_domain{suffix} cannot do without, by itself",
            Unit.SECONDS,
            _floor_of_domains(size),
            size=size,
            c_name="add_domain",
        )


def _add_domain(
    size: Callable[[Options], int], variant: str
) -> Callable[[DatabaseStage], list[Run]]:
    def make(client: Client, _number: int) -> object:
        return client.ask(b"add_domain %s %s" % (_NEW_DOMAIN, PASSWORD.encode()))

    def undo(client: Client, _number: int) -> object:
        return client.ask(b"del_domain %s" % _NEW_DOMAIN)

    def run(stage: DatabaseStage) -> list[Run]:
        return Change(f"domains-{size(stage.options)}", make, undo, variant=variant).run(stage)

    return run


def _floor_of_domains(size: Callable[[Options], int]) -> Callable[[DatabaseStage], list[Run]]:
    return lambda stage: floor_of_domains(size(stage.options)).run(stage)


def _crowd(stage: Stage, port: int) -> Job:
    """Half of the workers add users to one domain, the others add domains."""
    main = stage.sites.get(_CROWD_SITE).main.name

    @contextlib.contextmanager
    def job(worker: int) -> Iterator[Step]:
        # Of this run alone: what it has added stays.
        names = (f"c{time.monotonic_ns()}-{worker}-{number}" for number in itertools.count())
        form = "add_domain {}.example {}" if worker % 2 else f"add_user {{}}@{main} {{}}"
        with Client(port) as client:
            login(client, stage, _CROWD_SITE)
            yield lambda: client.ask(form.format(next(names), PASSWORD).encode())

    return job


_CROWD_SITE = f"domains-{_CROWD}"

CHANGES: tuple[Workload, ...] = (
    *_of_users(),
    *_of_domains(),
    Workload(
        "crowd",
        f"{_CROWD} connections at once, half of them add_user, half add_domain",
        Unit.PER_SECOND,
        Asking(
            _CROWD_SITE,
            _crowd,
            _CROWD,
            prepare=lambda stage: (stage.imported(_CROWD_SITE), stage.write_files(_CROWD_SITE)),
        ).run,
        size=lambda _options: _CROWD,
    ),
)
