"""Names and addresses, all of them in domains that are reserved for examples."""

import random
from collections.abc import Iterator

from scripts.sites.chance import Shares

_GIVEN = (
    *("anna", "ben", "carla", "david", "elena", "farid", "greta", "hugo", "ines", "jan"),
    *("karin", "luis", "maria", "nina", "oscar", "petra", "quinn", "rosa", "sven", "tara"),
    *("udo", "vera", "walter", "xenia", "yusuf", "zoe", "aylin", "boris", "chloe", "dmitri"),
)
_FAMILY = (
    *("adler", "bauer", "costa", "dubois", "engel", "fischer", "garcia", "huber", "ivanov"),
    *("jensen", "keller", "lopez", "martin", "novak", "olsen", "peters", "quist", "rossi"),
    *("schmidt", "tanaka", "unger", "vogel", "weber", "young", "zimmer", "nguyen", "kowalski"),
)
_WORDS = (
    *("acme", "alpha", "basic", "blue", "bright", "city", "clear", "delta", "east", "fine"),
    *("global", "green", "harbor", "hill", "home", "inter", "lake", "metro", "micro", "north"),
    *("open", "park", "prime", "quick", "river", "smart", "south", "star", "sun", "west"),
)
_TRADES = (
    *("bakery", "books", "clinic", "consulting", "dental", "design", "farm", "foods", "garage"),
    *("hotel", "labs", "law", "media", "music", "print", "school", "shop", "soft", "sport"),
)
_TOPS = ("example", "test", "example.com", "example.net", "example.org")
_ROLES = (
    *("abuse", "billing", "contact", "hello", "hostmaster", "info", "jobs", "mail", "office"),
    *("orders", "press", "sales", "service", "support", "team", "webmaster"),
)
_COMMENTS = Shares({"name": 70, "user": 26, "beyond ASCII": 4})
_FULL_NAMES = ("Jürgen Größe", "Renée Lévêque", "Иван Петров", "山田太郎", "Zoë Ångström")


def domain_name(draw: random.Random, number: int) -> str:
    """Return the name of a domain, unique by its number."""
    dash = draw.choice(("", "-"))
    name = f"{draw.choice(_WORDS)}{dash}{draw.choice(_TRADES)}{number:x}"
    return f"{name}.{draw.choice(_TOPS)}"


def alias_domain(name: str, at: int) -> str:
    """Return the name of one of the alias domains of ``name``."""
    first, _, rest = name.partition(".")
    return f"www.{name}" if at == 0 else f"{first}-{at}.{rest}"


def user_names(draw: random.Random, number: int) -> Iterator[str]:
    """Give different names of users, none of them postmaster."""
    seen = set()
    for at in range(number):
        given, family = draw.choice(_GIVEN), draw.choice(_FAMILY)
        name = draw.choice(
            (f"{given}.{family}", f"{given[0]}{family}", given, f"{family}-{given}", family)
        )
        if name in seen:
            name = f"{name}{at}"
        seen.add(name)
        yield name


def alias_name(draw: random.Random, number: int) -> str:
    """Return the name of an alias; more than a few have a number in it."""
    if number < len(_ROLES):
        return _ROLES[number]
    first = draw.choice(_ROLES + _GIVEN)
    return f"{first}{draw.choice('.-+')}{number}"


def full_name(draw: random.Random, user: str) -> str:
    """Return what stands in an account's comment: a name, or anything."""
    match _COMMENTS.pick(draw):
        case "beyond ASCII":
            return draw.choice(_FULL_NAMES)
        case "user":
            return user
    return f"{draw.choice(_GIVEN).title()} {draw.choice(_FAMILY).title()}"


def address_elsewhere(draw: random.Random) -> str:
    """Return an address at some other site."""
    family = draw.choice(_FAMILY)
    return f"{draw.choice(_GIVEN)}.{family}{draw.randrange(1000)}@{draw.choice(_WORDS)}.invalid"
