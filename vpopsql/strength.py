"""Whether a new password is strong enough, by the rules of ``etc/password_strength.conf``.

The rules are read each time, so that a change of theirs holds at once. No text shows a password.
"""

from vpopsql.config import Config
from vpopsql.errors import InvalidValue
from vpopsql.qmail import strength

_FILE = "etc/password_strength.conf"


def weakness(config: Config, password: str) -> str | None:
    """Return what is wrong with a new password, in words for its owner; None: nothing.

    :raises InvalidValue: the rules cannot be read, so no password can be set.
    """
    path = _path(config)
    if path is None:
        return None
    try:
        # Most sites have none, so it is a matter of opening; `Path` takes four times as long.
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            policy = strength.parse(file.read())
    except FileNotFoundError:
        if config.passwords.strength_file is None:
            # vpopmail's own place, where there need not be one.
            return None
        raise InvalidValue(f"no password can be set: {path} is missing") from None
    except OSError as error:
        raise InvalidValue(f"no password can be set: {path}: {error.strerror}") from None
    except strength.BadRule as error:
        raise InvalidValue(f"no password can be set: {path}: {error}") from None
    problem = policy.problem(password.encode("utf-8", "surrogateescape"))
    return f"password too weak: {problem}" if problem else None


def require_strength(config: Config, password: str) -> None:
    """Refuse a new password that is too weak. :raises InvalidValue: why it is."""
    problem = weakness(config, password)
    if problem:
        raise InvalidValue(problem)


def _path(config: Config) -> str | None:
    chosen = config.passwords.strength_file
    if chosen is None:
        return f"{config.paths.root}{config.paths.vpopmail}/{_FILE}"
    return chosen or None
