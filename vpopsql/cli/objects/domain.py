"""``vpopsql domain``: mail domains."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import DOMAIN, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.secret import Given
    from vpopsql.cli.objects.site import Effects, Site
    from vpopsql.services.renames import Renamed


@click.group(cls=Noun)
def domain() -> None:
    """Add, list, show, modify, rename and delete domains."""


# --- adding -------------------------------------------------------------------------------------


class _New(NamedTuple):
    name: str
    password: "Given"
    """Of its postmaster."""
    aliases: Sequence[str]


_COLUMNS = ("domain", "password", "encrypted", "aliases")


@domain.command(
    examples=(
        "vpopsql domain add example.com --alias example.org",
        "vpopsql domain add --from domains.csv --generate",
    )
)
@click.argument("name", type=DOMAIN, required=False)
@click.option("--alias", "aliases", type=DOMAIN, multiple=True, help="An alias domain of it, too.")
@nouns.passwords
@nouns.in_bulk(*_COLUMNS)
@nouns.changing
@click.pass_context
def add(
    ctx: click.Context,
    /,
    name: str | None,
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Add a domain with its postmaster, whose password is asked for unless an option tells it."""
    from vpopsql.cli.objects import secret
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, name, "a domain")
    with opened(ctx) as site:
        if name is None:
            _add_many(site, source or "", options)
            return
        given = secret.needed(options, f"Password of postmaster@{name}")
        new = _New(name, given, options["aliases"])
        outcome = site.change(_add_job(site, [new]), dry_run=options["dry_run"])
    made = given.generated if not options["dry_run"] else None
    print_outcome(options["output"], outcome, {"password": made} if made else {})


def _add_job(site: "Site", new: Sequence[_New]) -> "Callable[[Session, Effects], object]":
    from vpopsql.cli.objects import secret
    from vpopsql.cli.objects.batch import one_by_one
    from vpopsql.model import CatchAll
    from vpopsql.services import domain_changes
    from vpopsql.services.domain_changes import NewDomains

    hashed = secret.stored(site.config, [each.password for each in new])
    secrets = dict(zip(map(id, new), hashed, strict=True))
    export = site.config.export
    like = NewDomains((export.uid, export.gid), CatchAll(site.config.domains.catchall))

    def job(session: "Session", effects: "Effects", each: _New) -> None:
        made, home = domain_changes.add_domain(
            session, site.actor, each.name, secrets[id(each)], like
        )
        effects.domains.append((made.directory, made.uid, made.gid))
        effects.homes.append(home)
        effects.touched.accounts.add(made.name)
        effects.touched.dotqmail.add(made.name)
        effects.touched.names.add(made.name)
        for alias in each.aliases:
            domain_changes.add_alias_domain(session, site.actor, made.name, alias)
            effects.touched.names.add(alias)

    return one_by_one(job)(new)


def _add_many(site: "Site", source: str, options: dict[str, Any]) -> None:
    from vpopsql.cli.objects import batch
    from vpopsql.cli.objects.fields import domain_of, domains_of, password_of

    def understand(fields: dict[str, Any]) -> _New:
        password = password_of(fields, generate=options["generate"])
        return _New(domain_of(fields), password, domains_of(fields, "aliases"))

    def extra(done: Sequence[_New]) -> dict[str, object]:
        if not options["generate"]:
            return {}
        return {"password": [f"postmaster@{e.name} {e.password.generated}" for e in done]}

    lines = batch.read(source, _COLUMNS, ("domain",), understand)
    asked = batch.Asked.of(source, options)
    batch.carry_out(site, asked, lines, lambda new: _add_job(site, new), "domains added", extra)


# --- looking ------------------------------------------------------------------------------------


@domain.command(name="list")
@click.option("--match", metavar="TEXT", help="Only those whose name has it.")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, match: str | None, output: str) -> None:
    """List the domains, without alias domains: see `vpopsql alias-domain list`."""
    from vpopsql.cli.objects.output import print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import number, text, time
    from vpopsql.services import listing

    columns = (
        text("domain", "its name"),
        number("users", "with a mailbox"),
        number("alias_domains", "other names of it"),
        text("catchall", "what happens to mail for other names"),
        text("directory", "where it is"),
        time("created_at", "when it was made", "unknown"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        rows = (
            (
                each.name,
                each.mailboxes,
                each.aliases,
                each.catchall_target or each.catchall.value,
                each.directory,
                each.created_at,
            )
            for each in listing.list_domains(session, match)
        )
        print_rows(output, "domains", columns, rows)


@domain.command()
@click.argument("name", type=DOMAIN)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, name: str, output: str) -> None:
    """Show what is known of a domain; of an alias domain, what it stands for."""
    from vpopsql.cli.objects.output import print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import accounts, domains, forwards, listing

    with opened(ctx) as site, site.database.snapshot() as session:
        found = domains.get_domain(session, name)
        row = next(
            each for each in listing.list_domains(session, found.name) if each.name == found.name
        )
        thing = {
            "domain": found.name,
            "alias_domains": domains.alias_domains(session, found.id),
            "users": accounts.count_accounts(session, found.name),
            "aliases": len({name for name, _ in forwards.list_aliases(session, found.id)}),
            "catchall": row.catchall_target or row.catchall.value,
            "directory": found.directory,
            "uid": found.uid,
            "gid": found.gid,
            "created_at": row.created_at,
        }
    print_thing(output, thing)


# --- changing -----------------------------------------------------------------------------------


@domain.command(examples=("vpopsql domain modify example.com --catchall postmaster@example.com",))
@click.argument("name", type=DOMAIN)
@click.option("--catchall", metavar="WHAT", required=True, help="As `vpopsql catchall modify`.")
@nouns.changing
@click.pass_context
def modify(ctx: click.Context, name: str, *, catchall: str, dry_run: bool, output: str) -> None:
    """Change a domain; its limits are changed by `vpopsql limits modify`."""
    from vpopsql.cli.objects.dotqmail import set_catchall
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    with opened(ctx) as site:
        job = set_catchall(site, name, catchall)
        print_outcome(output, site.change(job, dry_run=dry_run))


@domain.command(
    examples=("vpopsql domain rename example.com example.net --leave-alias --rewrite-forwards",)
)
@click.argument("name", type=DOMAIN)
@click.argument("new", metavar="NEW-NAME", type=DOMAIN)
@click.option(
    "--leave-alias",
    "--leave-forward",
    "leave_forward",
    is_flag=True,
    help="The old name becomes an alias domain: mail for it still comes.",
)
@nouns.rewriting
@nouns.changing
@click.pass_context
def rename(
    ctx: click.Context,
    /,
    name: str,
    new: str,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Give a domain another name; users, mail, aliases, limits and logins stay.

    The directory is renamed as well. An alias domain of it can become its name. The audit log has
    both names.
    """
    from vpopsql import trash
    from vpopsql.cli.objects.renaming import move, rename_with
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import renames

    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", how: renames.How) -> "Renamed":
            done = renames.rename_domain(session, site.actor, name, new, how)
            trash.follow_rename(session, (done.old, done.new), done.directory)
            of_it = done.domain.name
            effects.touched.accounts.add(of_it)
            effects.touched.limits.add(of_it)
            effects.touched.dotqmail |= done.rewritten
            effects.touched.names |= done.names
            move(effects, done)
            return done

        rename_with(site, job, options)


@domain.command()
@click.argument("names", metavar="NAME...", type=DOMAIN, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    names: Sequence[str],
    *,
    yes: bool,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Delete domains with all in them; the mail goes to the trash, see `vpopsql trash`."""
    from vpopsql import trash
    from vpopsql.cli.objects.site import opened
    from vpopsql.errors import NoSuchDomain
    from vpopsql.services import accounts, domain_changes, domains

    with opened(ctx) as site:
        with site.database.reader() as session:
            for name in names:
                found = domains.get_domain(session, name)
                if found.name != name:
                    raise NoSuchDomain(
                        f"{name} is an alias of {found.name}: see `vpopsql alias-domain delete`"
                    )
            number = sum(accounts.count_accounts(session, name) for name in names)
        if not (yes or options["dry_run"]):
            click.confirm(f"Delete {', '.join(names)} with {number} users?", abort=True, err=True)

        def job(session: "Session", effects: "Effects", name: str) -> None:
            kept = trash.prepare_domain(session, site.tree, site.actor, name)
            deleted = domain_changes.delete_domain(session, site.actor, name)
            effects.touched.names |= deleted.names
            if kept:
                effects.trashed.append(kept)

        site.print_each(job, names, options)
