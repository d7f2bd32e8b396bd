"""Every way to spoil a site: what is done, and what a verification has to say to it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.exporter.verifying import (
    ALICE,
    BOB,
    CONTROL,
    DOMAINS,
    ETC,
    EXAMPLE,
    USERS,
    Spoil,
    age,
    all_of,
    append,
    chmod,
    chown,
    copy,
    cut,
    dir_for_file,
    leave_half_written,
    link,
    make_dir,
    remove,
    unlink,
    write,
)


class Spoilt(NamedTuple):
    """One thing that is spoilt."""

    code: str
    """What is found."""
    spoil: Spoil
    """What is done."""
    path: str
    """Where it is found."""
    said: str
    """What is said about it."""


SPOILT = [
    Spoilt("rcpthosts-missing", unlink(f"{CONTROL}/rcpthosts"), f"{CONTROL}/rcpthosts", ""),
    Spoilt("control-missing", unlink(f"{CONTROL}/locals"), f"{CONTROL}/locals", ""),
    Spoilt(
        "control-differs",
        write(f"{CONTROL}/rcpthosts", "alias.org\nevil.example\ntest.com\n"),
        f"{CONTROL}/rcpthosts",
        "lacks example.com; has evil.example besides",
    ),
    Spoilt(
        "control-differs",
        append(f"{CONTROL}/locals", "test.com\n"),
        f"{CONTROL}/locals",
        "has test.com besides",
    ),
    Spoilt(
        "control-differs",
        write(
            f"{CONTROL}/virtualdomains",
            "alias.org:alias.org\nexample.com:other\nmany.net:many.net\nno colon\n",
        ),
        f"{CONTROL}/virtualdomains",
        "lacks test.com; example.com differs; line 4: it has no colon",
    ),
    Spoilt(
        "reload-pending",
        write(f"{CONTROL}/.vpopsql-reload", ""),
        f"{CONTROL}/.vpopsql-reload",
        "",
    ),
    Spoilt("cdb-missing", unlink(f"{USERS}/cdb"), f"{USERS}/cdb", ""),
    Spoilt("cdb-missing", unlink(f"{EXAMPLE}/vpasswd.cdb"), f"{EXAMPLE}/vpasswd.cdb", ""),
    Spoilt("cdb-damaged", cut(f"{USERS}/cdb", 0), f"{USERS}/cdb", "it is empty"),
    Spoilt(
        "cdb-damaged",
        cut(f"{EXAMPLE}/vpasswd.cdb", 2050),
        f"{EXAMPLE}/vpasswd.cdb",
        "cdb damaged at offset 0: the table is outside",
    ),
    Spoilt(
        "cdb-differs",
        copy(f"{DOMAINS}/test.com/vpasswd.cdb", f"{EXAMPLE}/vpasswd.cdb"),
        f"{EXAMPLE}/vpasswd.cdb",
        "lacks alice; lacks bob",
    ),
    Spoilt(
        "cdb-differs",
        copy(f"{DOMAINS}/test.com/vpasswd.cdb", f"{CONTROL}/morercpthosts.cdb"),
        f"{CONTROL}/morercpthosts.cdb",
        "lacks many.net",
    ),
    Spoilt("text-missing", unlink(f"{USERS}/assign"), f"{USERS}/assign", ""),
    Spoilt("text-missing", unlink(f"{EXAMPLE}/vpasswd"), f"{EXAMPLE}/vpasswd", ""),
    Spoilt(
        "text-differs",
        append(f"{CONTROL}/morercpthosts", "more.net\n"),
        f"{CONTROL}/morercpthosts",
        "has more.net besides",
    ),
    Spoilt(
        "text-differs",
        write(f"{USERS}/assign", f"+test.com-:test.com:0:0:/{DOMAINS}/test.com:-::\n"),
        f"{USERS}/assign",
        "lacks alias.org-*; lacks example.com-*; lacks many.net-*; test.com-* differs; "
        "line 2: the final '.' is missing",
    ),
    Spoilt(
        "text-differs",
        append(f"{EXAMPLE}/vpasswd", "mallory:x:1:0:M:/tmp:NOQUOTA\nhalf:a:line\n"),
        f"{EXAMPLE}/vpasswd",
        "has half besides; has mallory besides; line 4: it has fewer than 7 fields",
    ),
    Spoilt(
        "dotqmail-missing",
        unlink(f"{EXAMPLE}/.qmail-default"),
        f"{EXAMPLE}/.qmail-default",
        "",
    ),
    Spoilt("dotqmail-missing", unlink(f"{ALICE}/.qmail"), f"{ALICE}/.qmail", ""),
    Spoilt("dotqmail-missing", unlink(f"{EXAMPLE}/.qmail-link"), f"{EXAMPLE}/.qmail-link", ""),
    Spoilt(
        "dotqmail-differs",
        write(f"{EXAMPLE}/.qmail-info", "&alice@example.com\n&spy@evil.example\n|x\n"),
        f"{EXAMPLE}/.qmail-info",
        "line 2 differs; has 3 lines, not 2",
    ),
    Spoilt(
        "dotqmail-differs",
        cut(f"{EXAMPLE}/.qmail-info", 1 << 40),
        f"{EXAMPLE}/.qmail-info",
        "is far too large",
    ),
    Spoilt(
        "dotqmail-differs",
        link(f"{EXAMPLE}/.qmail-link", "elsewhere"),
        f"{EXAMPLE}/.qmail-link",
        "leads somewhere else",
    ),
    Spoilt(
        "dotqmail-extra",
        write(f"{EXAMPLE}/.qmail-old", "&spy@evil.example\n"),
        f"{EXAMPLE}/.qmail-old",
        "should not be there",
    ),
    Spoilt(
        "dotqmail-extra",
        write(f"{BOB}/.qmail", "&spy@evil.example\n"),
        f"{BOB}/.qmail",
        "should not be there",
    ),
    Spoilt(
        "settings-missing",
        unlink(f"{EXAMPLE}/.qmailadmin-limits"),
        f"{EXAMPLE}/.qmailadmin-limits",
        "",
    ),
    Spoilt("settings-missing", unlink(f"{ETC}/ip_alias_map"), f"{ETC}/ip_alias_map", ""),
    Spoilt(
        "settings-differ",
        write(f"{EXAMPLE}/.qmailadmin-limits", "maxpopaccounts 99\ndisable_pop\n"),
        f"{EXAMPLE}/.qmailadmin-limits",
        "disable_pop differs; max_popaccounts differs",
    ),
    Spoilt(
        "settings-differ",
        write(f"{ETC}/ip_alias_map", "10.0.0.1 test.com\n10.0.0.2 test.com\n"),
        f"{ETC}/ip_alias_map",
        "has 10.0.0.2 besides; 10.0.0.1 differs",
    ),
    Spoilt(
        "settings-differ",
        write(f"{EXAMPLE}/.dir-control", "not a counter\n"),
        f"{EXAMPLE}/.dir-control",
        "is no directory counter",
    ),
    Spoilt(
        "settings-differ",
        write(
            f"{EXAMPLE}/.dir-control",
            "5\n0\n3\n0 0 0 \n0 0 0 \n0 0 0 \n0 0 0 \n\n",
        ),
        f"{EXAMPLE}/.dir-control",
        "cur_users differs",
    ),
    Spoilt(
        "settings-differ",
        write(f"{EXAMPLE}/.dir_control_free", "1\n"),
        f"{EXAMPLE}/.dir_control_free",
        "names other buckets, or in another order",
    ),
    Spoilt(
        "settings-extra",
        write(f"{DOMAINS}/test.com/.qmailadmin-limits", "maxpopaccounts 0\n"),
        f"{DOMAINS}/test.com/.qmailadmin-limits",
        "should not be there",
    ),
    Spoilt(
        "settings-extra",
        write(f"{DOMAINS}/.dir_control_free", "1\n"),
        f"{DOMAINS}/.dir_control_free",
        "should not be there",
    ),
    Spoilt(
        "respelled",
        write(f"{CONTROL}/rcpthosts", "# ours\nTEST.com  \nalias.org\nexample.com\ntest.com\n"),
        f"{CONTROL}/rcpthosts",
        "",
    ),
    Spoilt(
        "respelled",
        write(f"{ETC}/vlimits.default", "# by hand\nmaxaliases 7\n"),
        f"{ETC}/vlimits.default",
        "",
    ),
    Spoilt(
        "respelled",
        write(f"{EXAMPLE}/.dir_control_free", "# free\n0\n"),
        f"{EXAMPLE}/.dir_control_free",
        "",
    ),
    Spoilt(
        "link-for-file",
        link(f"{EXAMPLE}/.qmail-info", "../../etc/passwd"),
        f"{EXAMPLE}/.qmail-info",
        "a symbolic link",
    ),
    Spoilt("not-a-file", dir_for_file(f"{USERS}/cdb"), f"{USERS}/cdb", ""),
    Spoilt(
        "not-a-file",
        link(f"{CONTROL}/rcpthosts", "/etc/hosts"),
        f"{CONTROL}/rcpthosts",
        "a symbolic link",
    ),
    Spoilt(
        "file-owner",
        all_of(chown(f"{EXAMPLE}/.qmail-info", 0, 0), chmod(f"{EXAMPLE}/.qmail-info", 0o644)),
        f"{EXAMPLE}/.qmail-info",
        "it belongs to 0:0, not to 89:89",
    ),
    Spoilt(
        "file-unreadable",
        chown(f"{EXAMPLE}/vpasswd.cdb", 0, 0),
        f"{EXAMPLE}/vpasswd.cdb",
        "it belongs to 0:0, not to 89:89, mode 0600",
    ),
    Spoilt(
        "file-writable",
        chmod(f"{EXAMPLE}/.qmail-info", 0o620),
        f"{EXAMPLE}/.qmail-info",
        "its mode is 0620",
    ),
    Spoilt(
        "file-writable",
        chmod(f"{CONTROL}/rcpthosts", 0o666),
        f"{CONTROL}/rcpthosts",
        "its mode is 0666",
    ),
    Spoilt(
        "dotqmail-executable",
        chmod(f"{EXAMPLE}/.qmail-robot", 0o700),
        f"{EXAMPLE}/.qmail-robot",
        "its mode is 0700",
    ),
    Spoilt(
        "half-written",
        leave_half_written(f"{EXAMPLE}/.vpopsql-tmp-0"),
        f"{EXAMPLE}/.vpopsql-tmp-0",
        "",
    ),
    Spoilt(
        "half-written",
        leave_half_written(f"{CONTROL}/.vpopsql-tmp-0"),
        f"{CONTROL}/.vpopsql-tmp-0",
        "",
    ),
    Spoilt("dir-missing", remove(f"{DOMAINS}/test.com"), f"{DOMAINS}/test.com", ""),
    Spoilt("home-missing", remove(BOB), BOB, ""),
    Spoilt("maildir-missing", remove(f"{BOB}/Maildir"), BOB, ""),
    Spoilt(
        "not-a-directory",
        link(BOB, "elsewhere"),
        BOB,
        "it, or a directory above it, is a symbolic link",
    ),
    Spoilt(
        "not-a-directory",
        all_of(remove(BOB), write(BOB, "")),
        BOB,
        "it, or what is above it, is a file",
    ),
    Spoilt("dir-owner", chown(BOB, 0, 89), BOB, "it belongs to 0:89, not to 89:89"),
    Spoilt("dir-mode", chmod(BOB, 0o500), BOB, "its mode is 0500"),
    Spoilt("dir-sticky", chmod(EXAMPLE, 0o1700), EXAMPLE, "its mode is 1700"),
    Spoilt("dir-writable", chmod(BOB, 0o770), BOB, "its mode is 0770"),
    Spoilt("dir-writable", chmod(CONTROL, 0o777), CONTROL, "its mode is 0777"),
    Spoilt(
        "orphan-domain",
        all_of(
            make_dir(f"{DOMAINS}/0"),
            make_dir(f"{DOMAINS}/0/old.org"),
            write(f"{DOMAINS}/0/old.org/vpasswd", ""),
            lambda root: age(root / f"{DOMAINS}/0/old.org"),
            lambda root: age(root / f"{DOMAINS}/0"),
        ),
        f"{DOMAINS}/0/old.org",
        "has a vpasswd",
    ),
    Spoilt(
        "orphan-home",
        make_dir(f"{EXAMPLE}/carol", "Maildir"),
        f"{EXAMPLE}/carol",
        "has a Maildir",
    ),
    Spoilt(
        "orphan-home",
        make_dir(f"{EXAMPLE}/0/carol", "Maildir"),
        f"{EXAMPLE}/0/carol",
        "has a Maildir",
    ),
    Spoilt("unknown-directory", make_dir(f"{EXAMPLE}/stats"), f"{EXAMPLE}/stats", ""),
    Spoilt("unknown-directory", make_dir(f"{DOMAINS}/backup"), f"{DOMAINS}/backup", ""),
]

_AS_ROOT = {"dir-mode", "dir-owner", "file-owner", "file-unreadable"}
"""Root alone can give files away, or read what nobody may."""

CANNOT = {"not-a-file", "not-a-directory"}
"""What no program can put right."""


def cases(*, without: Collection[str] = (), only: Collection[str] | None = None) -> list[Any]:
    """Return what is spoilt as parameters."""
    needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    return [
        pytest.param(
            each,
            id=f"{number} {each.code} {Path(each.path).name}",
            marks=[needs_root] if each.code in _AS_ROOT else [],
        )
        for number, each in enumerate(SPOILT)
        if each.code not in without and (only is None or each.code in only)
    ]
