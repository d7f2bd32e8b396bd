"""The names of mailboxes and domains: their syntax, their order, and how an address is cut.

Two sets of rules live here. `is_user_name` and `is_domain_name` accept whatever vpopmail can have
stored, so that an old site is read whole; `new_user_name_problem` and `new_domain_name_problem`
are the stricter rules for names that are about to be created.
"""

import re
import string

USER_MAX = 64
"""Characters in a mailbox name (vpopmail's ``pw_name``)."""

DOMAIN_MAX = 96
"""Characters in a domain name (vpopmail's ``pw_domain``)."""

LABEL_MAX = 63
"""Characters in one label of a domain name (RFC 1035)."""

TOP_LABEL_MIN = 2
"""Characters in the last label of a domain name: what is shorter is part of an IP address."""

_USER = re.compile(rf"[!#$&'*+\-./0-9=?A-Z^_`a-z{{|}}~]{{1,{USER_MAX}}}")
_DOMAIN = re.compile(rf"[A-Za-z0-9.-]{{1,{DOMAIN_MAX}}}")
_LABEL = re.compile(r"[A-Za-z0-9-]+")
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# A mailbox's directory is named after it and lies beside the domain's own password file.
_PASSWORD_FILES = re.compile(r"vpasswd(\..*)?")


def lower(text: str) -> str:
    """Return ``text`` with A–Z lower-cased and every other character as it is.

    qmail compares names this way; `str.lower` would also fold letters that qmail tells apart.
    """
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def sort_key(name: str) -> str:
    """Return what vpopmail orders the names in its control files and in ``users/assign`` by.

    The last two labels come first, then the rest: ``b.a.example.com`` -> ``example.com.b.a``.
    A name of up to two labels is its own key.
    """
    labels = name.split(".")
    return ".".join(labels[-2:] + labels[:-2])


def is_user_name(text: str) -> bool:
    """Say whether vpopmail may have stored a mailbox of this name.

    Source: the byte table of vpopmail's user names. It has ``/``, ``'`` and ``|``, so a name that
    passes is no safe file name.
    """
    return _USER.fullmatch(text) is not None


def is_domain_name(text: str) -> bool:
    """Say whether vpopmail may have stored a domain of this name; see `is_user_name`."""
    return _DOMAIN.fullmatch(text) is not None


def new_user_name_problem(name: str) -> str | None:
    """Return why no mailbox or alias of this name may be created, None if it may.

    differs: vpopmail also allows ``/`` and a leading ``.`` or ``-``, which make a name unfit for a
    directory or an option; it refuses one-letter names, which are fine here.
    """
    if not name:
        return "the name is empty"
    if len(name) > USER_MAX:
        return f"the name is longer than {USER_MAX} characters"
    if name[0] in ".-":
        return f"the name starts with {name[0]!r}"
    if "/" in name or not is_user_name(name):
        return "the name has a character that is not allowed"
    if _PASSWORD_FILES.fullmatch(lower(name)):
        return "the name is that of vpopmail's password file"
    return None


def new_domain_name_problem(name: str) -> str | None:
    """Return why no domain of this name may be created, None if it may.

    An internationalised name is judged by its A-labels, the form that would be stored.
    """
    try:
        name = to_a_label(name)
    except ValueError:
        return "the name is no valid domain name"
    if len(name) > DOMAIN_MAX:
        return f"the name is longer than {DOMAIN_MAX} characters"
    labels = name.split(".")
    if "" in labels:
        return "the name has an empty label"
    if len(labels) == 1 or len(labels[-1]) < TOP_LABEL_MIN:
        return f"the name has no top-level label of at least {TOP_LABEL_MIN} characters"
    if max(map(len, labels)) > LABEL_MAX:
        return f"a label is longer than {LABEL_MAX} characters"
    if not all(map(_LABEL.fullmatch, labels)):
        return "the name has a character that is not allowed"
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return "a label starts or ends with a hyphen"
    return None


def to_a_label(name: str) -> str:
    """Return a domain name as it is stored: lower case, international labels as ``xn--…``.

    :raises ValueError: a label beyond ASCII has no such form.
    """
    return lower(name if name.isascii() else name.encode("idna").decode("ascii"))


def split_address(text: str) -> tuple[str, str]:
    """Return user and domain of an address, both lower-cased; no domain is the empty string.

    Source: vpopmail ``parse_email``: the first ``@`` divides, without one the first ``%``, without
    one the first ``/``.
    """
    separator = next((character for character in "@%/" if character in text), "@")
    user, _, domain = lower(text).partition(separator)
    return user, domain


_USER_CHARACTERS = re.compile(r"[!#$&'*+\-./0-9=?A-Z^_`a-z{|}~]*")
_DOMAIN_CHARACTERS = re.compile(r"[A-Za-z0-9.-]*")


def is_address(user: str, domain: str) -> bool:
    """Say whether an address is made of characters that names can have, whatever its length.

    Source: vpopmaild, which calls an address with others invalid, and one without user or domain
    merely unknown.
    """
    return bool(_USER_CHARACTERS.fullmatch(user) and _DOMAIN_CHARACTERS.fullmatch(domain))
