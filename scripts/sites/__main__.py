"""``scripts/make_site``: parse, make, say what was made."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.sites.dump import Dump, MySQLDump, PostgreSQLDump
from scripts.sites.shape import Domain
from scripts.sites.synthesis import Size, Synthesis
from scripts.sites.tree import Build, Homes, Tree

_EVERY_S = 2.0


def main() -> int:
    """Make the site."""
    arguments = _parser().parse_args()
    if arguments.mailboxes < arguments.domains:
        print("make_site: every domain has a postmaster: more mailboxes, or fewer domains")
        return 2
    size = Size(
        domains=arguments.domains,
        mailboxes=arguments.mailboxes,
        seed=arguments.seed,
        aliases=arguments.aliases,
        clear_text=arguments.clear_text,
    )
    try:
        made = _make(size, arguments)
    except FileExistsError as error:
        print(f"make_site: {error.filename} is there already", file=sys.stderr)
        return 1
    print(f"make_site: {made} mailboxes in {size.domains} domains: {arguments.directory}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/make_site",
        description="Make a vpopmail site up. The same numbers give the same bytes.",
    )
    parser.add_argument(
        "directory", type=Path, help="is made; gets vpopmail/ and qmail/ with all the files"
    )
    parser.add_argument("--domains", type=_positive, default=50, help="default: 50")
    parser.add_argument("--mailboxes", type=_positive, default=10_000, help="default: 10000")
    parser.add_argument("--seed", type=int, default=1, help="another one, another site")
    parser.add_argument(
        "--aliases",
        type=float,
        default=1.5,
        help="lines of aliases and forwards for each mailbox (default: 1.5)",
    )
    parser.add_argument(
        "--clear-text", action="store_true", help="give accounts a readable password, too"
    )
    parser.add_argument(
        "--homes",
        type=Homes,
        choices=list(Homes),
        default=Homes.FULL,
        help="full: with Maildir (6 inodes a mailbox); light: with lastauth and .qmail alone;"
        " none: no directories (default: full)",
    )
    parser.add_argument(
        "--build",
        type=Build,
        choices=list(Build),
        default=Build.CDB,
        help="sql: the tree lacks what a SQL build has in its tables (default: cdb)",
    )
    for name in ("mysql", "pgsql"):
        parser.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"write a {name} dump of its tables, too"
        )
    parser.add_argument(
        "--layout",
        choices=["one", "per-domain"],
        default="one",
        help="whether the dumps have one table of accounts or one for each domain",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _make(size: Size, arguments: argparse.Namespace) -> int:
    """Write a site down in all the wanted forms at once; return the number of mailboxes."""
    site = Synthesis(size)
    with contextlib.ExitStack() as stack:
        tree = Tree(arguments.directory, arguments.homes, arguments.build)
        writers: list[Tree | Dump] = [tree]
        dumps: list[Dump] = []
        for path, kind in ((arguments.mysql, MySQLDump), (arguments.pgsql, PostgreSQLDump)):
            if path is not None:
                file = stack.enter_context(path.open("xb"))
                by_domain = arguments.layout == "per-domain"
                dumps.append(kind(file, by_domain=by_domain, clear_text=size.clear_text))
        writers += dumps
        for writer in writers:
            writer.frame(site.frame)
        made = 0
        show = _progress(size.mailboxes)
        for domain in site.domains():
            _write(domain, writers)
            made += len(domain.mailboxes)
            show(made)
        for dump in dumps:
            dump.finish()
    return made


def _write(domain: Domain, writers: list[Tree | Dump]) -> None:
    for writer in writers:
        writer.domain(domain)


def _progress(total: int) -> Callable[[int], None]:
    """Return what tells a terminal, now and then, how far it is."""
    begin = shown = time.monotonic()

    def show(made: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if sys.stderr.isatty() and now - shown > _EVERY_S:
            shown = now
            rate = made / (now - begin)
            print(f"make_site: {made:,} of {total:,}, {rate:,.0f}/s", file=sys.stderr)

    return show


if __name__ == "__main__":
    sys.exit(main())
