"""What a person is told of a refusal, with a guess at what was meant."""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import click
from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from vpopsql import errors
from vpopsql.db import Database
from vpopsql.errors import VpopsqlError
from vpopsql.model import DomainName, DotQmailFile, Mailbox
from vpopsql.names import lower, split_address
from vpopsql.shown import printable

REFUSED = 1
"""The exit code."""

_COULD_NOT_RUN = (
    errors.ConfigError,
    errors.SchemaError,
    errors.DatabaseUnavailable,
    errors.DatabaseRefused,
    errors.ExportFailed,
    errors.ProcessKilled,
)
_PHRASES: Mapping[type[VpopsqlError], str] = {
    errors.NoSuchDomain: "no such domain: {}",
    errors.NoSuchUser: "no such user: {}",
    errors.NoSuchAlias: "no such alias: {}",
    errors.NoSuchMapping: "no domain is mapped to {}",
    errors.UserExists: "there is a user already: {}",
    errors.UserNameTooLong: "no user's name may be so long: {}",
    errors.IllegalUserName: "no user may be called so: {}",
    errors.DomainExists: "there is a domain or alias domain already: {}",
    errors.InvalidDomainName: "no domain may be called so: {}",
    errors.DomainNameTooLong: "no domain's name may be so long: {}",
    errors.DirectoryExists: "something is in the place of the new directory: {}",
    errors.PostmasterNeeded: "a domain's postmaster stays: {}",
    errors.CatchAllNeeded: "it gets the mail for unknown names: see `vpopsql catchall`: {}",
    errors.InvalidIp: "no IP address: {}",
    errors.InvalidAlias: "no alias: {}",
    errors.InvalidAddress: "no address: {}",
}
_FEW = 3000
"""Names that are looked at for a guess."""
_LENGTH = 2
"""By how much a guess may be longer or shorter than what was said."""


class Refused(click.ClickException):
    """Something that cannot be done as the site is."""

    exit_code = REFUSED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it, in a form that a terminal does not obey."""
        del file
        click.echo("\n".join(map(printable, f"vpopsql: {self.message}".split("\n"))), err=True)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Say of a file that a command was given, and that cannot be read, which and why.

    Its path is one of this host, not one of the site.
    """
    try:
        yield
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from error


def as_refusal(error: VpopsqlError, database: Database) -> Exception:
    """Return what a command ends with: `Refused`, or ``error`` if it could not run at all."""
    if isinstance(error, _COULD_NOT_RUN):
        return error
    if isinstance(error, errors.SeveralRefused):
        # One thing was asked for; of several the caller tells the places.
        error = next(iter(error.refused.values()))
    return Refused(described(error) + _guess(error, database))


def described(error: VpopsqlError) -> str:
    """Return a refusal in words."""
    phrase = _PHRASES.get(type(error), "{}")
    return phrase.format(str(error) or type(error).__name__)


def _close(said: str, possible: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(said, list(possible), n=3, cutoff=0.7)


def _question(close: Iterable[str]) -> str:
    """Return what is to be put behind a message; empty if nothing is close."""
    names = " or ".join(close)
    return f"; did you mean {names}?" if names else ""


def _guess(error: VpopsqlError, database: Database) -> str:
    guesses: dict[type[VpopsqlError], Callable[[Session, str], str]] = {
        errors.NoSuchDomain: _guess_domain,
        errors.NoSuchUser: _guess_user,
        errors.NoSuchAlias: _guess_alias,
    }
    guess = guesses.get(type(error))
    if guess is None or not error.args:
        return ""
    try:
        with database.reader() as session:
            return guess(session, lower(str(error)))
    except VpopsqlError:
        return ""


def _guess_domain(session: Session, said: str) -> str:
    found = _alike(session, select(DomainName.name), DomainName.name, said)
    return _question(_close(said, found))


def _guess_user(session: Session, said: str) -> str:
    name, domain = split_address(said)
    of = select(DomainName.domain_id).where(DomainName.name == domain)
    domain_id = session.scalar(of)
    if domain_id is None:
        return _guess_domain(session, domain)
    query = select(Mailbox.name).where(Mailbox.domain_id == domain_id)
    close = _close(name, _alike(session, query, Mailbox.name, name))
    return _question(f"{each}@{domain}" for each in close)


def _guess_alias(session: Session, said: str) -> str:
    name, domain = split_address(said)
    of = select(DomainName.domain_id).where(DomainName.name == domain)
    query = select(DotQmailFile.name).where(
        DotQmailFile.domain_id == of.scalar_subquery(), DotQmailFile.mailbox_id.is_(None)
    )
    close = _close(name, _alike(session, query, DotQmailFile.name, name))
    return _question(f"{each}@{domain}" for each in close)


def _alike(
    session: Session,
    query: Select[str],
    column: InstrumentedAttribute[str],
    said: str,
) -> list[str]:
    """Return names that may have been meant: all if there are few, else of about that length."""
    found = session.scalars(query.limit(_FEW + 1)).all()
    if len(found) <= _FEW:
        return list(found)
    begin = said[:1]
    near = query.where(
        func.length(column).between(len(said) - _LENGTH, len(said) + _LENGTH),
        column >= begin,
        column < f"{begin}\U0010ffff",
    )
    return list(session.scalars(near.order_by(column).limit(_FEW)))
