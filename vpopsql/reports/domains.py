"""Reports with a row, or some, for a domain."""

from vpopsql.reports.report import (
    DOMAIN,
    LAST_AUTH_AT,
    Column,
    Kind,
    Option,
    Parts,
    Report,
    Threshold,
    number,
    percent,
    size,
    text,
    time,
    truth,
)

_USED = size("used_bytes", "what its measured mailboxes held at the last measurement")
_POOL = size("pool_bytes", "the domain's disk_quota, its own or the site's", "no limit")

REPORTS = (
    Report(
        "domain-limits",
        "Which domains are near their limits, or over them?",
        (
            DOMAIN,
            text("limit_name", "as `get_limits` calls it"),
            number("limit_value", "the limit: objects, messages, or bytes for disk_quota"),
            number("used", "how many there are; of disk_quota what was last measured"),
            percent("pct", "of the limit that is in use", "unknown, or a limit of 0"),
            text("source", "domain: its own limits; default: the site's"),
            truth("over", "whether it is beyond the limit"),
        ),
        ("-pct", "domain", "limit_name"),
        Threshold(Option.PERCENT, "pct", 80, or_if="over"),
        notes="What has no limit is not listed. Lists, robots, forwards and aliases are told apart"
        " by the programs and addresses in their files.",
    ),
    Report(
        "domain-overview",
        "What is there, one line for a domain?",
        (
            DOMAIN,
            number("alias_domains", "other names of it"),
            number("mailboxes", "accounts"),
            number("aliases", "dot-qmail files that keep to this site's addresses"),
            number("forwards", "dot-qmail files with an address elsewhere"),
            number("robots", "dot-qmail files that run an autoresponder"),
            number("lists", "mailing lists of ezmlm"),
            text("catchall", "what happens to mail for unknown names; see `catchall`"),
            _USED,
            number("unmeasured", "mailboxes that were left out of used_bytes"),
            _POOL,
            size("allocated_bytes", "the sum of the mailboxes' quotas"),
            number("admins", "mailboxes that may administer"),
            time("created_at", "when it was made; imported ones do not tell"),
            LAST_AUTH_AT,
        ),
        ("domain",),
        parts=Parts.DOMAINS,
    ),
    Report(
        "quota-overcommit",
        "Is more promised than there is?",
        (
            DOMAIN,
            _POOL,
            size("sum_user_quota", "the sum of the mailboxes' quotas"),
            number("unlimited_users", "mailboxes without a quota in bytes"),
            _USED,
            Column(
                "overcommit_ratio", Kind.RATIO, "promised / there, above 1: too much", "no limit"
            ),
        ),
        ("-overcommit_ratio", "domain"),
    ),
    Report(
        "catchall",
        "What happens to mail for names that a domain does not have?",
        (
            DOMAIN,
            text("mode", "none and bounce: refused; delete, address, directory, dotqmail"),
            text("target", "the address or the directory", "none"),
            truth(
                "target_exists",
                "whether there is such a mailbox or alias here",
                "none, or elsewhere",
            ),
            truth("target_over_quota", "whether that mailbox is full", "none, or unknown"),
        ),
        ("domain",),
    ),
    Report(
        "ip-map",
        "Which address a client connects to means which domain?",
        (text("ip", "the address"), DOMAIN, number("family", "4 or 6")),
        ("ip",),
        notes="Two domains cannot have the same address.",
    ),
    Report(
        "alias-domains",
        "Which names are other names of which domain?",
        (text("alias", "the other name"), DOMAIN),
        ("domain", "alias"),
        notes="Whether users/assign has them, `drift` says.",
    ),
    Report(
        "name-clashes",
        "Which names cannot be told apart by vpopmail or qmail?",
        (
            text(
                "kind",
                "table: of domains, as vpopmail names a table for each; dotqmail: of"
                " `.qmail` files, where a dot is a colon",
            ),
            DOMAIN,
            text("name", "one of the two"),
            text("other", "the other"),
        ),
        ("kind", "domain", "name", "other"),
        notes="Names that differ only by case cannot be: all are stored in small letters.",
    ),
)
