"""Where the daemon answers differently from the recordings, on purpose.

Each entry names the point of docs/compatibility.md and the reply as it is now. What is not here is
equal byte for byte, but for salted hashes and the order of directories.
"""

from tests.transcripts import Deviation


def instead(point: int, command: str, *ours: str, nth: int = 0, then: bytes = b"") -> Deviation:
    """Return a deviation whose whole reply is another."""
    return Deviation(point, None, ours, command, nth, then=then)


def without(point: int, command: str, *theirs: str) -> Deviation:
    """Return a deviation that leaves lines out."""
    return Deviation(point, theirs, (), command)


MAXIMA = ("popaccounts", "aliases", "forwards", "autoresponders", "mailinglists")
COUNTS = ("disk_quota", "max_msgcount", "default_quota", "default_maxmsgcount")
DISABLED = (
    *("pop", "imap", "dialup", "password_changing"),
    *("webmail", "external_relay", "smtp", "spamassassin"),
)
PERMISSIONS = (
    *("account", "alias", "forward", "autoresponder"),
    *("maillist", "quota", "defaultquota"),
)
NO_LIMITS = (
    *(f"max_{what} -1" for what in MAXIMA),
    *(f"{what} 0" for what in COUNTS),
    *(f"disable_{what} 0" for what in DISABLED),
    "delete_spam 0",
    "disable_maildrop 0",
    *(f"perm_{what} 0" for what in PERMISSIONS),
    "perm_defaultquota 0",
)
SAME_TEXT = Deviation(8, ("-ERR 8.206 Invalid Login",), ("-ERR 8.207 Invalid Login",))
ONLY_LISTS = Deviation(21, (".qmail-zero",), (), "list_lists")
INVALID = "-ERR 4.107 Invalid Command"

NO_USERNAME = "-ERR 0.305 Illegal username"
NO_DOMAIN_NAME = "-ERR 0.804 Invalid domain name"
NO_ALIAS_NAME = "-ERR 0.1204 Invalid domain name"
NO_DOMAIN = "-ERR 0.1404 Domain does not exist"
NO_USER = "-ERR 12.605 User does not exist"
NOT_DELETED = "-ERR 0.405 User does not exist"
NO_LOGIN = "-ERR 8.207 Invalid Login"
NOT_YET = "-ERR 4.104 Invalid Command"
OK = "+OK "
FOREIGN = "-ERR 26.1511 Unauthorized Directory."
OUTSIDE = "-ERR 26.1512 Unauthorized Directory."
STRAY = "invalid domain, not in qmail assign file"
GET_LIMITS = Deviation(
    26, ("", "User"), ("", "Domain", "get_limits domain<crlf>", "", "User"), "help"
)
NO_FLAGS = (
    *("no_password_change 0", "no_pop 0", "no_webmail 0", "no_imap 0", "bounce_mail 0"),
    *("no_relay 0", "no_dialup 0", "user_flag_0 0", "user_flag_1 0", "user_flag_2 0"),
    *("user_flag_3 0", "no_smtp 0", "domain_admin_privileges 0", "override_domain_limits 0"),
    *("no_spamassassin 0", "delete_spam 0", "no_maildrop 0", "system_admin_privileges 0"),
)
ALICE = (
    *("vpopmail_dir /home/vpopmail", "domain_dir /home/vpopmail/domains/example.com"),
    *("uid 89", "gid 89", "name alice", "comment Alice Example", "quota NOQUOTA"),
    *("user_dir /home/vpopmail/domains/example.com/alice", "encrypted_password $6$x"),
    "clear_text_password alicepw",
    *NO_FLAGS,
)


def user(domain: str, name: str, comment: str, password: str) -> tuple[str, ...]:
    """Return how a user is shown in a compact list."""
    return (
        *(f"name {name}", f"comment {comment}", "quota NOQUOTA"),
        f"user_dir /home/vpopmail/domains/{domain}/{name}",
        *("encrypted_password $6$x", f"clear_text_password {password}", "gidflags 0", ""),
    )


ODD_NAMES = (
    *("1", "22", "a!b", "a#b", "a$b", "a&b", "a*b", "a..b", "a=b", "a`b", "a|b", "dot."),
    *("ex-ext", "o'brien", "postmaster", "u_s", "user+tag", "x" * 64, "{x}", "~root"),
)
EMPTY_ORG = tuple(
    line
    for name in ODD_NAMES
    for line in (
        user("empty.org", name, "Postmaster", "emptypass")
        if name == "postmaster"
        else user("empty.org", name, name, "pw")
    )
)
IP_MAP = ("5.6.7.8 example.com", "127.0.0.9 example.com")
LONG = [letter * count + ".org" for letter, count in zip("bcdef", range(66, 91, 5), strict=True)]
CCC = "c" * 400 + ""
NOTHING_OF_CCC = ("domain " + CCC, "size 0", "count 0")
TOO_LONG = "d" * 92 + ".org"

DEVIATIONS: dict[str, list[Deviation]] = {
    "020-line-endings": [GET_LIMITS],
    "033-help-sa": [without(26, "help", "list_users domain<crlf>")],
    "035-help-user": [GET_LIMITS],
    "036-add-user": [
        instead(24, "add_user x@", OK),
        Deviation(24, ("count 11",), ("count 12",), "user_count"),
    ],
    "038-add-user-names": [
        *(
            instead(24, f"add_user {name}@", NO_USERNAME)
            for name in (".dot", "-dash", "a/b", "../evil", "..", "vpasswd")
        ),
        instead(24, "add_user 1@", OK),
        instead(24, "list_users empty.org", "+OK+", *EMPTY_ORG, "."),
        Deviation(24, ("-dash dir",), ("1 dir",), "list_dir"),
        without(24, "list_dir", ".dot dir"),
    ],
    "041-del-user": [
        instead(6, "del_user postmaster@", "-ERR 0.405 can't delete postmaster"),
        Deviation(19, ("-ERR 0,405 User does not exist",), (NOT_DELETED,)),
        Deviation(
            19, ("-ERR 0,405 Domain does not exist",), ("-ERR 0.405 Domain does not exist",)
        ),
        Deviation(6, ("count 0",), ("count 1",), "user_count"),
        instead(
            6,
            "list_users",
            "+OK+",
            *user("empty.org", "postmaster", "Postmaster", "emptypass"),
            ".",
        ),
    ],
    "043-del-user-catchall": [
        instead(19, "del_user bob", "-ERR 0.405 can't delete catchall account")
    ],
    "050-mod-user-all-da": [
        Deviation(
            2,
            ("user_flag_2 1", "user_flag_3 1", "no_smtp 0", "domain_admin_privileges 1"),
            ("user_flag_2 0", "user_flag_3 0", "no_smtp 0", "domain_admin_privileges 0"),
            "user_info",
        )
    ],
    "051-mod-user-all-oa": [
        Deviation(2, ("override_domain_limits 0",), ("override_domain_limits 1",), "user_info")
    ],
    "053-mod-user-all-user": [
        Deviation(
            2, ("user_flag_2 1", "user_flag_3 1"), ("user_flag_2 0", "user_flag_3 0"), "login"
        )
    ],
    "057-mod-user-encrypted-by-user": [
        Deviation(
            1,
            ("encrypted_password $1$abcdefgh$G//4keteveJp0qb8z2DxG/",),
            ("encrypted_password $6$x",),
            "user_info alice",
        ),
        Deviation(
            1,
            ("encrypted_password HASHBYLOCKED",),
            ("encrypted_password $6$x",),
            "user_info locked",
        ),
        instead(3, ".", "-ERR 9.506 Not Authorized", nth=2),
    ],
    "058-mod-user-inject-fields": [
        instead(1, "login alice@example.com password", NO_LOGIN),
        instead(1, "list_domains", NOT_YET),
        instead(1, "login alice@example.com alicepw", "+OK+", *ALICE, "."),
    ],
    "061-mod-user-da-on-sysadmin": [
        instead(4, "mod_user root@", "-ERR 9.503 Not Authorized"),
        instead(15, "."),
        instead(
            4,
            "user_info",
            *("+OK+", "name root", "comment root", "quota NOQUOTA"),
            "user_dir /home/vpopmail/domains/example.com/root",
            *("encrypted_password ", "clear_text_password ", "gidflags 65536", "."),
        ),
        instead(4, "login root@example.com stolen", NO_LOGIN),
        instead(4, "domain_count", NOT_YET),
    ],
    "062-mod-user-errors": [
        instead(15, "mod_user bob", "-ERR 12.505 User does not exist", then=b".\r\n"),
        instead(15, "mod_user b(b@", "-ERR 10.502 Invalid Email Address", then=b".\r\n"),
        instead(15, "mod_user nobody@", "-ERR 12.505 User does not exist"),
        instead(15, "."),
    ],
    "065-mod-user-eof": [
        instead(17, "comment Half Way", "-ERR 3.106 Read Timeout"),
        Deviation(17, ("comment Half Way",), ("comment bob",), "user_info"),
    ],
    "070-add-domain": [
        SAME_TEXT,
        *(instead(24, f"add_domain {name} ", NO_DOMAIN_NAME) for name in ("dash-.org", ".org")),
        *(instead(24, f"add_domain {name} ", NO_DOMAIN_NAME) for name in (".lead.org", TOO_LONG)),
        instead(24, "add_domain spaced.org two words", OK),
        instead(24, "add_domain bücher.example", OK),
        instead(
            24,
            "list_domains",
            "+OK+",
            "empty.org empty.org",
            "example.com example-alias.org",
            *(
                f"{name} {name}"
                for name in (
                    *("example.com", "example.company", "limited.net", "new-dom.org"),
                    *("spaced.org", "test.com", "upper.org", "xn--bcher-kva.example"),
                )
            ),
            ".",
        ),
        instead(24, "slogin postmaster@spaced.org", OK),
    ],
    "072-add-alias-domain": [
        *(
            instead(24, f"add_alias_domain example.com {name}\r", NO_ALIAS_NAME)
            for name in ("nodot", "x", ".lead.net", "-dash.net")
        ),
        Deviation(
            24,
            ("+OK+", "example.com -dash.net", "example.com alias-of-alias.net"),
            ("+OK+", "example.com alias-of-alias.net"),
            "list_domains",
        ),
        without(24, "list_domains", "example.com .lead.net"),
        Deviation(24, ("count 11",), ("count 9",), "domain_count"),
    ],
    "074-del-domain-own": [
        Deviation(
            21,
            ("-ERR 31.2502 Could not open assign file",),
            ("+OK+", "count 0", "."),
            "domain_count",
        ),
        Deviation(21, ("-ERR 31.2302 Could not open assign file",), ("+OK+", "."), "list_domains"),
    ],
    "085-alias-add": [
        instead(20, "list_alias nosuch@", "+OK+", "."),
        Deviation(
            20,
            ("new@example.com bob@example.com", "new@example.com bob@example.com"),
            ("new@example.com bob@example.com",),
            "list_alias",
        ),
        without(20, "", STRAY),
    ],
    "086-alias-add-lines": [
        instead(20, "add_alias l7@", "-ERR 17.907 Alias Insertion Failed"),
        instead(20, "add_alias l8@", "-ERR 17.907 Alias Insertion Failed"),
        Deviation(
            20, ("l3@example.com |",), ("l3@example.com | /bin/true with args",), "list_alias"
        ),
        without(
            20,
            "list_alias",
            *("l7@example.com not-an-address", "l8@example.com alice@example.com"),
        ),
    ],
    "088-alias-da": [
        instead(12, "add_alias da@example.com |/tmp", "-ERR 17.907 Alias Insertion Failed"),
        without(12, "list_alias example.com", "da@example.com |/tmp/anything"),
        instead(20, "list_alias da@", "+OK+", "da@example.com alice@example.com", "."),
    ],
    "090-path-refusals": [
        instead(
            10,
            "list_dir /home/vpopmail/domainsX",
            "-ERR 26.1510 Unauthorized Directory.",
        ),
        instead(13, "write_file", "-ERR 30.2001 Filename Required", then=b".\r\n"),
        instead(32, "list_dir /home/vpopmail/domains/xxx", "-ERR 0.1802 File name too long"),
    ],
    "092-path-prefix-da": [
        *(
            instead(10, command, FOREIGN)
            for command in ("list_dir", "read_file", "mk_dir", "rm_dir", "write_file")
        ),
        instead(13, "."),
    ],
    "094-path-symlink": [
        *(
            instead(10, command, OUTSIDE)
            for command in (
                "read_file",
                "list_dir alice@example.com/link",
                "stat_file",
                "write_file",
            )
        ),
        instead(13, "."),
    ],
    "096-file-write-read": [
        Deviation(13, ("uid: 0",), ("uid: 89",), "stat_file alice@example.com/a.txt"),
        Deviation(
            13,
            ("-ERR 0.2002 No such file or directory",),
            ("-ERR 0.2002 No such file or directory",),
            "write_file",
            then=b".\r\n",
        ),
        Deviation(
            13,
            ("-ERR 0.2002 Is a directory",),
            ("-ERR 0.2002 Is a directory",),
            "write_file",
            then=b".\r\n",
        ),
    ],
    "097-file-write-lf": [Deviation(13, ("uid: 0",), ("uid: 89",), "stat_file")],
    "103-file-write-qmail-user": [
        instead(12, ".", "-ERR 0.2002 Operation not permitted"),
        instead(12, "read_file", "-ERR 0.2102 No such file or directory"),
    ],
    "104-file-da-vpasswd": [
        *(instead(11, command, FOREIGN) for command in ("read_file", "write_file", "rm_file")),
        instead(13, "."),
        instead(11, "login dadmin@example.com password", NO_LOGIN),
        instead(11, "domain_count", NOT_YET),
    ],
    "107-ip-map": [
        instead(19, "get_ip_map 1.2.3.4", "+OK+", "1.2.3.4 test.com", ".", nth=2),
        instead(19, "add_ip_map not-an-ip", "-ERR 0.3105 Invalid IP address"),
        *(
            instead(19, "show_ip_map", "+OK+", *before, *IP_MAP, ".", nth=nth)
            for nth, before in (
                (2, ["1.2.3.4 test.com"]),
                (3, ["1.2.3.4 test.com"]),
                (4, []),
                (5, []),
            )
        ),
    ],
    "109-ip-map-oob-del": [instead(19, "del_ip_map", "-ERR 37.3202 IP Required")],
    "110-ip-map-oob-add": [instead(19, "add_ip_map", "-ERR 38.3104 Invalid Domain")],
    "116-limits-errors": [
        instead(15, "."),
        instead(20, "del_limits nosuch", "-ERR 0.3603 No such file or directory."),
    ],
    "118-limits-login-effect": [instead(3, ".", "-ERR 9.506 Not Authorized", nth=2)],
    "120-two-sessions": [
        instead(15, "mod_user", "-ERR 12.505 User does not exist"),
    ],
    "121-stale-assign-cache": [instead(31, "add_user", "-ERR 0.305 Domain does not exist")],
    "125-ip-map-each": [
        instead(19, "add_ip_map not-an-ip", "-ERR 0.3105 Invalid IP address"),
        instead(19, "get_ip_map not-an-ip", "-ERR 0.3003 error"),
        instead(19, "get_ip_map 1.2.3.4", "+OK+", "1.2.3.4 test.com", ".", nth=3),
        instead(19, "show_ip_map", "+OK+", *IP_MAP, ".", nth=2),
    ],
    "128-user-slash-names": [
        instead(24, "add_user", NO_USERNAME),
        instead(24, "user_info", NO_USER),
        instead(24, "del_user", NOT_DELETED),
    ],
    "133-mod-user-inject-comment": [
        instead(18, ".", "-ERR 0.507 comment has a character that is not allowed"),
        instead(18, "login", "+OK+", *ALICE, "."),
        instead(10, "read_file", OUTSIDE),
        instead(10, "list_dir", OUTSIDE),
    ],
    "134-mod-user-inject-dir": [
        instead(1, "login", NO_LOGIN),
        instead(1, "read_file", NOT_YET),
        instead(1, "write_file", NOT_YET),
        instead(1, ".", NOT_YET, nth=2),
    ],
    "135-add-domain-too-long": [
        instead(24, f"add_domain {TOO_LONG}", NO_DOMAIN_NAME),
        instead(24, "add_domain next", OK),
    ],
    "136-add-domain-lengths": [
        *(instead(24, f"add_domain {name}", NO_DOMAIN_NAME) for name in LONG),
        *(instead(24, f"dom_info {name}", NO_DOMAIN) for name in LONG),
    ],
    "138-path-overlong": [
        instead(20, "del_limits", "-ERR 0.3603 No such file or directory."),
        instead(19, "add_ip_map", "-ERR 0.3105 Invalid IP address"),
        instead(32, "get_domain_size", "+OK+", *NOTHING_OF_CCC, "."),
    ],
    "139-long-names-each": [
        instead(20, "del_limits", "-ERR 0.3603 No such file or directory."),
        instead(19, "add_ip_map", "-ERR 0.3105 Invalid IP address"),
        without(19, "show_ip_map", f"{'1' * 45} example.com"),
        instead(32, "get_domain_size", "+OK+", *NOTHING_OF_CCC, "."),
    ],
    "008-login-errors": [SAME_TEXT],
    "023-long-line": [
        Deviation(16, (INVALID, INVALID, "+OK+"), ("+OK+",), "domain_count"),
        Deviation(16, (INVALID, "+OK+"), ("+OK+",), "domain_count"),
    ],
    "024-long-line-login": [
        SAME_TEXT,
        Deviation(
            16, ("-ERR 7.204 Password Required",), ("-ERR 8.207 Invalid Login",), "slogin a"
        ),
    ],
    "067-get-lastauth": [
        Deviation(
            5,
            ("-ERR 9.3701 Not Authorized",),
            ("+OK+", "time 1795333453", "ip 0.0.0.0", "."),
            "get_lastauth alice@example.com",
        )
    ],
    "068-get-user-size": [
        Deviation(21, ("size 0", "count 0"), ("size 102", "count 3"), "get_user_size carol"),
        Deviation(
            5,
            ("-ERR 3801 not authorized",),
            ("+OK+", "size 0", "count 0", "."),
            "get_user_size alice",
        ),
    ],
    "076-dom-info": [
        Deviation(
            5, ("-ERR 9.3401 Not Authorized",), ("+OK+", *NO_LIMITS, "."), "get_limits example.com"
        ),
        Deviation(
            5,
            ("-ERR 9.3001 Not Authorized",),
            ("+OK+", "127.0.0.9 example.com", "."),
            "get_ip_map",
        ),
    ],
    "082-list-users-pages": [
        Deviation(21, ("+OK+", *skipped), ("+OK+",), f"list_users example.com {page} 3")
        for page, skipped in ((2, [""] * 3), (3, [""] * 6), (4, [""] * 8))
    ],
    "084-list-lists": [
        Deviation(
            21,
            (".qmail-aaa", ".qmail-mylist"),
            (".qmail-mylist", ".qmail-mylist-default"),
            "list_lists example.com 1 2",
        ),
        Deviation(
            21,
            (".qmail-mylist-default", ".qmail-mylist-owner"),
            (".qmail-mylist-owner", ".qmail-mylist-return-default"),
            "list_lists example.com 2 2",
        ),
        ONLY_LISTS,
    ],
    "106-file-sa-outside": [
        Deviation(
            10,
            ("+OK+", *content, "."),
            ("-ERR 26.1510 Unauthorized Directory.",),
            command,
        )
        for command, content in (("list_dir", ["s file"]), ("read_file", ["secret"]))
    ],
    "108-ip-map-oob-get": [Deviation(19, ("-ERR 37.3002 (null)",), ("-ERR 37.3002 IP Required",))],
}
