"""``vpopsql user``: mailboxes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vpopsql.cli.objects import nouns
from vpopsql.cli.objects.nouns import ADDRESS, DOMAIN, FLAG, QUOTA, Noun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from vpopsql.cli.objects.secret import Given
    from vpopsql.cli.objects.site import Effects, Site
    from vpopsql.model import Flag
    from vpopsql.quota import Quota
    from vpopsql.services.account_changes import Wishes
    from vpopsql.services.renames import Renamed

Names = tuple[str, str]
"""Name and domain of an address."""


@click.group(cls=Noun)
def user() -> None:
    """Add, list, show, modify, rename and delete users: people with a mailbox."""


# --- adding -------------------------------------------------------------------------------------


class _New(NamedTuple):
    address: Names
    password: "Given"
    comment: str | None
    quota: "Quota | None"
    flags: "Flag"


_ADD_COLUMNS = ("address", "password", "encrypted", "comment", "quota", "flags")


@user.command(
    examples=(
        "vpopsql user add alice@example.com --quota 500M",
        "vpopsql user add alice@example.com --password-stdin < secret",
        "vpopsql user add --from users.csv --batch 1000",
    )
)
@click.argument("address", type=ADDRESS, required=False)
@nouns.passwords
@click.option("--comment", help="The full name.  [default: the name in the address]")
@click.option("--quota", type=QUOTA, help="Such as 100M, 10M,1000C or none.")
@click.option("--flag", "flags", type=FLAG, multiple=True, help="Can be given several times.")
@nouns.in_bulk(*_ADD_COLUMNS)
@nouns.changing
@click.pass_context
def add(
    ctx: click.Context,
    /,
    address: Names | None,
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Add a user, with a directory; the password is asked for unless an option tells it.

    With --from, each line has a password or an encrypted one (a hash), unless --generate is given.
    """
    from vpopsql.cli.objects import secret
    from vpopsql.cli.objects.fields import union
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, address, "a user")
    dry_run, output = options["dry_run"], options["output"]
    with opened(ctx) as site:
        if address is None:
            _add_many(site, source or "", options)
            return
        given = secret.needed(options, f"Password of {'@'.join(address)}")
        comment, flags = _checked(options["comment"]), union(options["flags"])
        new = _New(address, given, comment, options["quota"], flags)
        outcome = site.change(_add_job(site, [new]), dry_run=dry_run)
    extra = {"password": given.generated} if given.generated and not dry_run else {}
    print_outcome(output, outcome, extra)


def _checked(comment: str | None) -> str | None:
    from vpopsql.services.account_changes import check_comment

    if comment is not None:
        check_comment(comment)
    return comment


def _add_job(site: "Site", new: Sequence[_New]) -> "Callable[[Session, Effects], None]":
    """Return what adds users; their passwords are hashed at once, without a transaction."""
    from vpopsql.cli.objects import secret
    from vpopsql.errors import NoSuchDomain, SeveralRefused, VpopsqlError
    from vpopsql.services.account_additions import NewAccount, add_accounts

    hashed = secret.stored(site.config, [each.password for each in new])
    by_domain: dict[str, list[int]] = {}
    for place, each in enumerate(new):
        by_domain.setdefault(each.address[1], []).append(place)

    def job(session: "Session", effects: "Effects") -> None:
        refused: dict[int, VpopsqlError] = {}
        for domain, places in by_domain.items():
            accounts = [
                NewAccount(
                    new[at].address[0], hashed[at], new[at].comment, new[at].quota, new[at].flags
                )
                for at in places
            ]
            try:
                homes = add_accounts(session, site.actor, domain, accounts)
            except NoSuchDomain as error:
                refused |= dict.fromkeys(places, error)
            except SeveralRefused as error:
                refused |= {places[at]: why for at, why in error.refused.items()}
            else:
                effects.homes += homes
                effects.touched.accounts.update(home.domain for home in homes)
        if refused:
            raise SeveralRefused(refused)

    return job


def _add_many(site: "Site", source: str, options: dict[str, Any]) -> None:
    from vpopsql.cli.objects import batch
    from vpopsql.cli.objects.fields import address_of, flags_of, password_of, quota_of

    asked = batch.Asked.of(source, options)
    generate = options["generate"]

    def understand(fields: dict[str, Any]) -> _New:
        password = password_of(fields, generate=generate)
        comment = fields.get("comment")
        return _New(
            address_of(fields),
            password,
            _checked(None if comment is None else str(comment)),
            quota_of(fields),
            flags_of(fields),
        )

    def extra(done: Sequence[_New]) -> dict[str, object]:
        if not generate:
            return {}
        if asked.output == "json":
            made = [
                {"address": "@".join(each.address), "password": each.password.generated}
                for each in done
            ]
            return {"generated": made}
        return {"password": [f"{'@'.join(e.address)} {e.password.generated}" for e in done]}

    lines = batch.read(asked.source, _ADD_COLUMNS, ("address",), understand)
    batch.carry_out(site, asked, lines, lambda new: _add_job(site, new), "users added", extra)


# --- looking ------------------------------------------------------------------------------------


@user.command(name="list")
@click.argument("domain", type=DOMAIN, required=False)
@click.option("--match", metavar="TEXT", help="Only those whose name has it.")
@nouns.listing
@click.pass_context
def list_(ctx: click.Context, domain: str | None, match: str | None, output: str) -> None:
    """List the users of DOMAIN, or of all domains."""
    from vpopsql.cli.objects.output import flag_names, print_rows
    from vpopsql.cli.objects.site import opened
    from vpopsql.reports.report import number, size, text, time
    from vpopsql.services import domains, listing

    columns = (
        text("address", "under the real domain"),
        text("comment", "the full name"),
        size("quota_bytes", "how much it may hold", "no limit"),
        number("quota_messages", "how many messages it may hold", "no limit"),
        text("flags", "by their names"),
        time("last_auth_at", "the last login", "never"),
        time("created_at", "when it was made", "unknown"),
    )
    with opened(ctx) as site, site.database.snapshot() as session:
        of = domains.get_domain(session, domain).id if domain else None
        rows = (
            (
                f"{each.name}@{each.domain}",
                each.comment,
                each.quota_bytes,
                each.quota_messages,
                ",".join(flag_names(each.flags)),
                each.last_auth_at,
                each.created_at,
            )
            for each in listing.list_mailboxes(session, of, pattern=match)
        )
        print_rows(output, "users", columns, rows)


@user.command()
@click.argument("address", type=ADDRESS)
@nouns.showing
@click.pass_context
def show(ctx: click.Context, address: Names, output: str) -> None:
    """Show all that is known of a user, except for the password."""
    from vpopsql import passwords
    from vpopsql.cli.objects.output import flag_names, print_thing
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import accounts, listing
    from vpopsql.services.domains import get_domain

    with opened(ctx) as site, site.database.snapshot() as session:
        domain = get_domain(session, address[1])
        found = accounts.get_account(session, *address)
        row = next(listing.list_mailboxes(session, domain.id, name=found.name))
        logins = {
            each.service: f"{each.at:%Y-%m-%dT%H:%M:%SZ} from {each.remote_ip}"
            for each in listing.list_logins(session, domain.id, found.name)
            if each.at is not None
        }
        forwards = [
            each.line for each in listing.list_forward_lines(session, domain.id, found.name)
        ]
    thing = {
        "address": f"{found.name}@{found.domain}",
        "comment": found.comment,
        "quota": found.quota_text,
        "flags": flag_names(found.flags),
        "directory": found.directory,
        "password": passwords.scheme_of(found.password_hash),
        "clear_text_stored": bool(found.clear_text),
        "created_at": row.created_at,
        "last_logins": logins,
        "dotqmail": forwards,
    }
    print_thing(output, thing)


# --- changing -----------------------------------------------------------------------------------


class _Changed(NamedTuple):
    address: Names
    password: "Given | None"
    comment: str | None
    quota: "Quota | None"
    set_flags: "Flag"
    clear_flags: "Flag"


_MODIFY_COLUMNS = ("address", "password", "encrypted", "comment", "quota", "set", "clear")


@user.command(
    examples=(
        "vpopsql user modify alice@example.com --password",
        "vpopsql user modify alice@example.com --quota none --set no_pop",
    )
)
@click.argument("address", type=ADDRESS, required=False)
@click.option("--password", "ask", is_flag=True, help="Ask for a new password.")
@nouns.passwords
@click.option("--comment", help="The full name.")
@click.option("--quota", type=QUOTA, help="Such as 100M, 10M,1000C or none.")
@click.option("--set", "to_set", type=FLAG, multiple=True, help="A flag; several times, too.")
@click.option("--clear", "to_clear", type=FLAG, multiple=True, help="A flag; several times, too.")
@nouns.in_bulk(*_MODIFY_COLUMNS)
@nouns.changing
@click.pass_context
def modify(
    ctx: click.Context,
    /,
    address: Names | None,
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Change a user; what no option names stays as it is."""
    from vpopsql.cli.objects import secret
    from vpopsql.cli.objects.fields import union
    from vpopsql.cli.objects.output import print_outcome
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, address, "a user")
    dry_run, output = options["dry_run"], options["output"]
    with opened(ctx) as site:
        if address is None:
            _modify_many(site, source or "", options)
            return
        prompt = f"New password of {'@'.join(address)}" if options["ask"] else None
        given = secret.given(options, prompt=prompt)
        wanted = _Changed(
            address,
            given,
            _checked(options["comment"]),
            options["quota"],
            union(options["to_set"]),
            union(options["to_clear"]),
        )
        if all(each is None or each == 0 for each in wanted[1:]):
            raise click.UsageError("say what is to change: see --help")
        outcome = site.change(_modify_job(site, [wanted]), dry_run=dry_run)
    made = given.generated if given and not dry_run else None
    print_outcome(output, outcome, {"password": made} if made else {})


def _modify_many(site: "Site", source: str, options: dict[str, Any]) -> None:
    from vpopsql.cli.objects import batch, secret
    from vpopsql.cli.objects.fields import address_of, flags_of, quota_of

    def understand(fields: dict[str, Any]) -> _Changed:
        clear, encrypted, comment = map(fields.get, ("password", "encrypted", "comment"))
        given = None
        if clear is not None and encrypted is not None:
            raise batch.LineRefused("it has a password and an encrypted one")
        if clear is not None:
            given = secret.Given(clear=secret.checked(str(clear)))
        if encrypted is not None:
            given = secret.Given(encrypted=secret.checked_hash(str(encrypted)))
        return _Changed(
            address_of(fields),
            given,
            _checked(None if comment is None else str(comment)),
            quota_of(fields),
            flags_of(fields, "set"),
            flags_of(fields, "clear"),
        )

    asked = batch.Asked.of(source, options)
    lines = batch.read(source, _MODIFY_COLUMNS, ("address",), understand)
    batch.carry_out(site, asked, lines, lambda all_: _modify_job(site, all_), "users modified")


def _modify_job(
    site: "Site", wanted: Sequence[_Changed]
) -> "Callable[[Session, Effects], object]":
    from vpopsql.cli.objects import secret
    from vpopsql.cli.objects.batch import one_by_one
    from vpopsql.errors import SeveralRefused

    given = {place: each.password for place, each in enumerate(wanted) if each.password}
    try:
        hashed = secret.stored(site.config, [*given.values()])
    except SeveralRefused as error:
        places = [*given]
        raise SeveralRefused({places[at]: why for at, why in error.refused.items()}) from error
    secrets = dict(zip((id(wanted[place]) for place in given), hashed, strict=True))

    def wishes_of(each: _Changed) -> "Wishes":
        from vpopsql.services.account_changes import Wishes

        given = each.password
        return Wishes(
            comment=each.comment,
            quota=each.quota,
            set_flags=each.set_flags,
            clear_flags=each.clear_flags,
            password=given.clear if given else None,
            hashed=secrets[id(each)] if given and given.clear is not None else None,
            encrypted=given.encrypted if given else None,
        )

    def job(session: "Session", effects: "Effects", each: _Changed) -> None:
        modify_user(session, effects, site, each.address, wishes_of(each))

    return one_by_one(job)(wanted)


def modify_user(
    session: "Session", effects: "Effects", site: "Site", address: Names, wishes: "Wishes"
) -> None:
    """Change a user."""
    from vpopsql.services.account_changes import modify_account

    changed = modify_account(session, site.actor, *address, wishes)
    effects.touched.accounts.add(changed.domain)
    if changed.home:
        effects.quotas.append(changed.home)


@user.command(examples=("vpopsql user rename alice@example.com alice.smith --leave-forward",))
@click.argument("address", type=ADDRESS)
@click.argument("new", metavar="NEW-NAME")
@click.option(
    "--leave-forward", is_flag=True, help="Mail for the old name still comes, by an alias."
)
@nouns.rewriting
@nouns.changing
@click.pass_context
def rename(
    ctx: click.Context,
    /,
    address: Names,
    new: str,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Give a user another name in its domain; mail, quota, flags and logins stay.

    The directory is renamed as well. The audit log has both names.
    """
    from vpopsql.cli.objects.renaming import move, rename_with
    from vpopsql.cli.objects.site import opened
    from vpopsql.services import renames

    name = _new_name(address, new)
    with opened(ctx) as site:
        rules = site.rules

        def job(session: "Session", effects: "Effects", how: renames.How) -> "Renamed":
            done = renames.rename_account(session, site.actor, rules, address, name, how)
            effects.touched.accounts.add(done.domain.name)
            effects.touched.dotqmail |= done.rewritten
            move(effects, done)
            return done

        rename_with(site, job, options)


def _new_name(address: Names, new: str) -> str:
    """Return the name of NEW, which may be a whole address of the same domain."""
    from vpopsql.names import lower

    name, at, domain = new.rpartition("@")
    if not at:
        return lower(new)
    if lower(domain) != address[1]:
        raise click.UsageError("a user stays in the domain: give the new name alone")
    return lower(name)


# --- deleting -----------------------------------------------------------------------------------


@user.command()
@click.argument("addresses", metavar="ADDRESS...", type=ADDRESS, nargs=-1)
@nouns.in_bulk("address")
@nouns.changing
@click.pass_context
def delete(
    ctx: click.Context,
    /,
    addresses: Sequence[Names],
    source: str | None,
    **options: Any,  # noqa: ANN401 - as click gives them
) -> None:
    """Delete users; their mail goes to the trash, see `vpopsql trash`."""
    from vpopsql.cli.objects.fields import address_of
    from vpopsql.cli.objects.site import opened

    nouns.one_or_many(ctx, addresses, "users")
    with opened(ctx) as site:

        def job(session: "Session", effects: "Effects", address: Names) -> None:
            _delete(session, effects, site, address)

        if source:
            from vpopsql.cli.objects import batch

            lines = batch.read(source, ("address",), ("address",), address_of)
            asked = batch.Asked.of(source, options)
            batch.carry_out(site, asked, lines, batch.one_by_one(job), "users deleted")
        else:
            site.print_each(job, addresses, options)


def _delete(session: "Session", effects: "Effects", site: "Site", address: Names) -> None:
    from vpopsql import trash
    from vpopsql.services.domains import get_domain

    # Said by an alias domain's name, the user is meant all the same.
    domain = get_domain(session, address[1]).name
    home, kept = trash.delete_user(session, site.tree, site.actor, address[0], domain)
    effects.touched.accounts.add(home.domain)
    effects.trashed.append(kept)
