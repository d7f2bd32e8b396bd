"""Words of the wire and of files, which inputs are made of."""

from vpopsql.daemon.commands import COMMANDS, QUIT_VERBS
from vpopsql.flags import OPTIONS
from vpopsql.qmail.limits import SETTINGS

_OTHERS = (
    *(
        "alice@example.com",
        "postmaster@example.com",
        "bob",
        "@example.com",
        "example.com",
        "x.org",
    ),
    *("/home/vpopmail/domains/example.com/", "/home/vpopmail/domains/example.com/out/secret"),
    *("alice@example.com/note", "example.com/.qmail-x", "/../", "//", "/.", "%", ".qmail-default"),
    *("NOQUOTA", "10M", "10485760S,1000C", "0", "-1", "9" * 20, "65535", "1 10", "127.0.0.1"),
    *("::1", "fe80::1%eth0", ":", ".", "..", "+", "=", "&", "|", "#", "!", "*", "$1$", "\\", "'"),
    *(
        '"',
        "&x@y.z",
        "| /bin/sh",
        "./Maildir/",
        "delete",
        "bounce-no-mailbox",
        "ezmlm-send",
        "xn--",
    ),
    *("| /home/vpopmail/bin/vdelivermail '' delete", "Length >= 8", "Policy = x", "Numeric < .5"),
    *("\u00e9", "\u0130", "\u212a", "\U0010f8ff", "\u2028", "\x85", "\x1c"),
)

_PROXY = (
    b"PROXY ",
    b"TCP4 192.0.2.1 198.51.100.2 50000 89\r\n",
    b"TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n",
    b"UNKNOWN",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
)

WORDS: tuple[bytes, ...] = (
    *_PROXY,
    *(b"\n", b"\r\n", b"\n\r", b"\n.\n", b"\r", b"\0", b" ", b"\t", b"\xff", b"\xed\xb2\x80"),
    *(f"{verb} ".encode() for verb in COMMANDS),
    *(verb.encode() for verb in (*QUIT_VERBS, "help", "login", "GET / HTTP/1.0")),
    *(word.encode() for word in OPTIONS),
    *(str(setting).encode() for setting in SETTINGS),
    *(word.encode() for word in _OTHERS),
)
