"""Reports that follow aliases and forwards."""

from vpopsql.reports.report import DOMAIN, Parts, Report, number, text, time, truth

_KIND = text("kind", "alias, mailbox (its `.qmail`) or catchall")

REPORTS = (
    Report(
        "dangling-aliases",
        "Which aliases and forwards lead to nobody here?",
        (
            text("alias", "who forwards; `*` is a catch-all"),
            DOMAIN,
            _KIND,
            number("line_no", "the line of its dot-qmail file, from 1"),
            text("destination", "as it stands there"),
            text(
                "reason",
                "no-user; deleted: there was one; disabled: it has bounce_mail; discarded: the"
                " catch-all deletes it; no-domain: the domain was deleted here",
            ),
            time("deleted_at", "when it was deleted, by the audit log", "never, or unknown"),
        ),
        ("domain", "alias", "kind", "line_no"),
        parts=Parts.DOMAINS,
    ),
    Report(
        "alias-loops",
        "Which addresses forward to each other in circles?",
        (
            number("cycle_id", "counts the circles of this answer"),
            DOMAIN,
            text("path", "the addresses, from the first one back to it"),
            number("length", "how many addresses are in it"),
            truth("contains_mailbox", "whether one of them is a mailbox, too"),
            number("entry_points", "addresses outside that forward right into it"),
        ),
        ("domain", "path"),
        parts=Parts.DOMAINS,
        counter="cycle_id",
        notes="Circles of up to 32 addresses are found. In the view `cycle_id` counts those of a"
        " domain.",
    ),
    Report(
        "alias-depth",
        "How far is mail forwarded on this site?",
        (
            text("address", "who forwards"),
            DOMAIN,
            number("depth", "how often, at most: 2 for a forward to who forwards"),
            truth("is_cut_off", "whether it goes on: nobody looks beyond 32; see `alias-loops`"),
        ),
        ("domain", "-depth", "address"),
        parts=Parts.DOMAINS,
        notes="`--sort depth:desc` begins with those that go furthest, once all are known.",
    ),
    Report(
        "external-forwards",
        "Which mail leaves the site?",
        (
            text("source", "who forwards; `*` is a catch-all"),
            DOMAIN,
            _KIND,
            text("destination", "as it stands there"),
            text("destination_domain", "its domain"),
            truth("keeps_copy", "whether a line of the same file delivers here as well"),
            time("first_seen", "when the audit log first has the file; imported ones not"),
            text("changed_by", "who changed the file last, by the audit log"),
            truth("owner_is_admin", "whether a mailbox of that name administers"),
        ),
        ("domain", "source", "kind", "destination"),
        parts=Parts.DOMAINS,
    ),
    Report(
        "duplicate-forwards",
        "Who gets the same message more than once?",
        (
            text("alias", "who forwards"),
            DOMAIN,
            text("destination", "who gets it"),
            number("times", "how often"),
            text("via", "the ways there"),
        ),
        ("domain", "alias", "destination"),
        parts=Parts.DOMAINS,
        notes="Ways of up to 16 forwards are found. What a line delivers into a directory is not"
        " counted.",
    ),
    Report(
        "shadowed",
        "Which mailboxes are hidden by an alias?",
        (
            text("address", "the mailbox"),
            DOMAIN,
            text("winner", "the dot-qmail file that gets its mail instead"),
            number("alias_lines", "lines of it"),
            truth("keeps_copy", "whether a line of it delivers here"),
        ),
        ("domain", "address"),
        parts=Parts.DOMAINS,
        notes='`vpopsql explain ADDRESS` shows each step. With `export.delivery = "exact"` the'
        " same mailboxes are hidden.",
    ),
)
