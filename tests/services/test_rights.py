"""Who may do what."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.errors import NotAuthorized
from vpopsql.model import Flag
from vpopsql.services import rights
from vpopsql.services.rights import Actor, Level

NO_FLAGS = Flag(0)
NAMES = ["alice", "postmaster"]
DOMAINS = ["example.com", "example.company"]


def actor(name: str = "alice", flags: Flag = NO_FLAGS, domain: str = "example.com") -> Actor:
    home = f"/home/vpopmail/domains/{domain}"
    return Actor(
        mailbox_id=1,
        name=name,
        domain_id=1,
        domain=domain,
        domain_directory=home,
        directory=f"{home}/{name}",
        flags=flags,
        site_directory="/home/vpopmail",
    )


@pytest.mark.parametrize(
    "name, flags, level",
    [
        ("alice", Flag(0), Level.USER),
        ("alice", Flag.V_OVERRIDE, Level.USER),
        ("alice", Flag.QA_ADMIN, Level.DOMAIN),
        ("postmaster", Flag(0), Level.DOMAIN),
        ("alice", Flag.SA_ADMIN, Level.SYSTEM),
        ("alice", Flag.SA_ADMIN | Flag.QA_ADMIN, Level.SYSTEM),
        ("alice", Flag.SA_EXPERT, Level.USER),
    ],
)
def test_the_level_follows_from_name_and_flags(name: str, flags: Flag, level: Level) -> None:
    assert rights.level_of(name, flags) is level


def allowed(who: Actor, name: str, domain: str, flags: int) -> set[str]:
    """Return the names of the questions that are answered with yes."""
    answers = {
        "administers": rights.administers(who, domain),
        "may_see_limits": rights.may_see_limits(who, domain),
        "may_see_secrets": rights.may_see_secrets(who, flags),
        "require_account": not refused(rights.require_account, who, name, domain),
        "require_domain": not refused(rights.require_domain, who, domain),
    }
    return {question for question, answer in answers.items() if answer}


def refused(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except NotAuthorized:
        return True
    return False


@given(st.sampled_from(NAMES), st.sampled_from(DOMAINS), st.sampled_from([0, int(Flag.SA_ADMIN)]))
def test_who_has_a_higher_level_may_do_all_that_a_lower_one_may(
    name: str, domain: str, flags: int
) -> None:
    user, administrator, system = (
        allowed(actor(flags=own), name, domain, flags)
        for own in (Flag(0), Flag.QA_ADMIN, Flag.QA_ADMIN | Flag.SA_ADMIN)
    )

    assert user <= administrator <= system


def test_a_domain_whose_name_begins_the_same_is_another_domain() -> None:
    who = actor(flags=Flag.QA_ADMIN, domain="example.com")

    assert not rights.administers(who, "example.company")


def test_a_domain_administrator_does_not_see_a_system_administrators_secrets() -> None:
    assert not rights.may_see_secrets(actor(flags=Flag.QA_ADMIN), Flag.SA_ADMIN)
    assert rights.may_see_secrets(actor(flags=Flag.SA_ADMIN), Flag.SA_ADMIN)
