"""Reports on what happened."""

from vpopsql.reports.report import DOMAIN, Parts, Report, date, number, size, text, time

REPORTS = (
    Report(
        "growth",
        "How do accounts and bytes grow?",
        (
            date("date", "a day on which something was measured, made or deleted"),
            DOMAIN,
            number("mailboxes", "at the day's last measurement", "not measured"),
            number("added", "accounts made or restored, by the audit log"),
            number("removed", "accounts deleted one by one, by the audit log"),
            number("aliases", "at the day's last measurement", "not measured"),
            size("used_bytes", "at the day's last measurement", "not measured"),
            size(
                "delta_bytes",
                "more than at the last measurement of an earlier day",
                "no two measurements",
            ),
        ),
        ("-date", "domain"),
        as_of="date",
        known=("date", "domain"),
        parts=Parts.GROWTH_DAYS,
        notes="Imports and accounts that went with their domain are not in the audit log one by"
        " one.",
    ),
    Report(
        "changes",
        "Who changed what?",
        (
            number("id", "of the entry in the audit log; one row for each field"),
            time("at", "when"),
            text("actor", "who: an address, or a program"),
            text("actor_ip", "from where", "not by network"),
            text("channel", "daemon, cli, import, login or sql"),
            text("object_type", "user, domain, dotqmail, list, ip, ..."),
            text("object", "its address, name or path"),
            DOMAIN,
            text("action", "what was done, such as mod_user"),
            text("field", "which was changed", "none"),
            text("old", "what it was; secrets are masked", "none"),
            text("new", "what it is since then; secrets are masked", "none"),
        ),
        ("-id", "field"),
        as_of="at",
        known=("id",),
        parts=Parts.ENTRIES,
        notes="Changes of dot-qmail files have a path and no domain.",
    ),
    Report(
        "auth-activity",
        "Who logged in, or failed to, when and from where?",
        (
            date("date", "the day"),
            DOMAIN,
            text("service", "imap, pop3, smtp, ..."),
            text("ip", "from where"),
            number(
                "distinct_users",
                "accounts logged in to, or tried; without counts, those whose last login it was",
            ),
            number("ok", "logins that were counted"),
            number("failed", "failed logins"),
            time("last_at", "the last of these"),
        ),
        ("-date", "domain", "service", "ip"),
        known=("date",),
        parts=Parts.LOGIN_DAYS,
        notes="The daemon counts logins and failures, its own (service vpopmaild) and those that"
        " checkpassword programs ask it for, for daemon.login_history_days. Rows without counts"
        " are of mail servers, which leave the last login of each account and service only:"
        " earlier ones and failures are in their logs.",
    ),
)
