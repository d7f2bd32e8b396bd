"""Finding and running a command, and what becomes of what it cannot do."""

import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vpopsql import __version__
from vpopsql.compat.options import WrongUsage, exact, parse
from vpopsql.compat.program import (
    COULD_NOT_RUN,
    DONE,
    REFUSED,
    WRONG_USAGE,
    Program,
    say,
    warn,
)

if TYPE_CHECKING:
    from vpopsql.compat.options import Given
    from vpopsql.errors import VpopsqlError

PROGRAMS: Mapping[str, str] = {
    "vadddomain": "domains",
    "vaddaliasdomain": "domains",
    "vdeldomain": "domains",
    "vadduser": "accounts",
    "vdeluser": "accounts",
    "vpasswd": "accounts",
    "vmoduser": "modifying",
    "vsetuserquota": "modifying",
    "vmoddomlimits": "limits",
    "vuserinfo": "showing",
    "vdominfo": "showing",
    "valias": "aliases",
    "vipmap": "aliases",
    "vdeloldusers": "old",
    "vmkpasswd": "rebuilding",
    "vconvert": "rebuilding",
}
"""Command -> the module that declares it, as an attribute of the same name."""


def find_program(name: str) -> Program:
    """Return a command of `PROGRAMS`."""
    module = importlib.import_module(f"vpopsql.compat.{PROGRAMS[name]}")
    program: Program = getattr(module, name)
    return program


def main(name: str, args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    :param name: one of `PROGRAMS`.
    :param args: its words; None: the process's own.
    """
    try:
        status = _run(find_program(name), exact(sys.argv[1:]) if args is None else args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has seen enough. Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        return 130
    return status


def _run(program: Program, args: Sequence[str]) -> int:
    if "--help" in args[:1]:
        args = ["-h"]
    try:
        given = parse(program.options, args)
        if "v" in given:
            say(f"version: {__version__} (vpopsql)")
            return DONE
        if "h" in given:
            say(program.usage().rstrip("\n"))
            return DONE
        program.require_usage(given)
    except WrongUsage as error:
        return _wrong_usage(program, error)
    return _carry_out(program, given)


def _wrong_usage(program: Program, error: WrongUsage) -> int:
    warn(program.name, str(error))
    sys.stderr.write(program.usage())
    return WRONG_USAGE


def _carry_out(program: Program, given: "Given") -> int:
    from vpopsql.compat.site import opened
    from vpopsql.errors import VpopsqlError
    from vpopsql.tree import UnsafePath

    try:
        with opened(program.name) as site:
            return program.run(site, given) or DONE
    except WrongUsage as error:
        return _wrong_usage(program, error)
    except BrokenPipeError:
        raise
    except VpopsqlError as error:
        return _refused(program, error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        warn(program.name, f"{where}{error.strerror or error}")
    except UnsafePath as error:
        warn(program.name, str(error))
    except Exception:  # noqa: BLE001 - its exit code must not be one that means something
        traceback.print_exc()
        warn(program.name, "this is a defect: please report what stands above")
    return COULD_NOT_RUN


def _refused(program: Program, error: "VpopsqlError") -> int:
    from vpopsql import errors

    outages = (
        errors.ConfigError,
        errors.SchemaError,
        errors.ExportFailed,
        errors.DatabaseUnavailable,
        errors.DatabaseRefused,
    )
    if isinstance(error, outages):
        warn(program.name, str(error))
        return COULD_NOT_RUN
    from vpopsql.daemon.commands import RULES

    texts: Mapping[type[Exception], str] = {
        **RULES,
        errors.InvalidAddress: f"Invalid Email Address: {error}",
        errors.InvalidIp: f"Invalid IP address: {error}",
    }
    say(f"Error: {texts.get(type(error), str(error))}")
    return REFUSED
