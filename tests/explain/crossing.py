"""A site with one of each: everything that can happen to a message, at an address of its own."""

from sqlalchemy.orm import Session

from tests import factories
from vpopsql.model import (
    CatchAll,
    DotQmailFile,
    DotQmailLine,
    Flag,
    ForeignLine,
    LineKind,
    Mailbox,
)
from vpopsql.qmail import dotqmail

ALIASES = {
    "info": ["&alice@example.com"],
    "team": ["&info@example.com", "bob@example.com", "&far@elsewhere.example"],
    "twice": ["&alice@example.com", "&info@example.com"],
    "shouting": ["&ALICE@Example.ORG"],
    "other-name": ["&alice@example.org"],
    "ping": ["&pong@example.com"],
    "pong": ["&ping@example.org"],
    "self": ["./Maildir/", "&self@example.com"],
    "lost": ["&nobody@example.com"],
    "swallowed": ["&nobody@delete.example"],
    "caught": ["&anybody@address.example"],
    "sales-default": ["&alice@example.com"],
    "first.last": ["&alice@example.com"],
    "blank": ["", "&alice@example.com"],
    "empty": [],
    "hole": ["# nothing to see"],
    "ticket": ["|/usr/local/bin/ticket --queue new"],
    "list": ["|/usr/bin/ezmlm/ezmlm-send '/home/vpopmail/domains/example.com/list'"],
    "robot": ["|/usr/bin/autorespond 10000 5 /home/x/message /home/x"],
    "box": ["/home/vpopmail/domains/example.com/bob/Maildir/"],
    "mbox": ["/var/mail/shared"],
    "shadowed": ["&alice@example.com"],
    "bare": ["&postmaster"],
    "again-default": ["| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox"],
}
MAILBOX_FILES = {
    "carol": ["&carol@elsewhere.example"],
    "dave": ["# on holiday"],
    "erin": ["/var/mail/erin"],
    "frank": [],
    "grace": ["./Maildir/", "&alice@example.com"],
    "heidi": ["./Maildir/ "],
    "ivan": ["| /usr/bin/autorespond 1 1 m d", "/home/vpopmail/domains/example.com/ivan/Maildir/"],
    "judy": ["/home/vpopmail/domains/example.com/alice/Maildir/"],
}
FOREIGN = [
    ("control/rcpthosts", "relay.example", "relay.example"),
    ("control/rcpthosts", ".suffix.example", "suffix.example."),
    ("control/rcpthosts", "Here.Example", "Here.Example"),
    ("control/morercpthosts", "lists.example", "lists.example"),
    ("control/locals", "Here.Example", "Here.Example"),
    ("control/virtualdomains", "lists.example:lists", "lists.example"),
    ("control/virtualdomains", "away@example.com:ezmlm", "away@example.com"),
    ("control/virtualdomains", "exempt@example.com:", "exempt@example.com"),
    ("control/virtualdomains", "address.example:joe", "address.example"),
    ("users/assign", "=example.com-special:joe:1001:1001:/home/joe:::", "example.com-special"),
    ("users/assign", "+example.com-tickets-:otrs:1002:1002:/home/otrs:-::", "example.com-tickets"),
    ("users/assign", "+lists-:lists:1003:1003:/home/lists:-::", "lists"),
]


def populate(session: Session) -> None:
    """Make the site."""
    home = "/home/vpopmail/domains"
    main = factories.domain(session, "example.com", "example.org", "www.example.com")
    for name in ("alice", "first-last", "postmaster", "shadowed", "first"):
        factories.mailbox(session, main, name)
    factories.mailbox(session, main, "bob", Flag.BOUNCE_MAIL)
    factories.mailbox(
        session, main, "full", quota_bytes=1000, quota_messages=10, quota_text="1000S,10C"
    )
    for name, lines in MAILBOX_FILES.items():
        own_file(session, factories.mailbox(session, main, name), *lines)
    own_file(session, factories.mailbox(session, main, "ext"), "&e@elsewhere.example", name="x")
    for name, lines in ALIASES.items():
        factories.alias(session, main, name, *lines)
    link = DotQmailFile(domain_id=main.id, name="link", link_target="/nowhere")
    session.add(link)
    factories.domain(session, "delete.example", catchall=CatchAll.DELETE)
    to_alice = {"catchall": CatchAll.ADDRESS, "catchall_target": "alice@example.com"}
    factories.domain(session, "address.example", **to_alice)
    circle = {"catchall": CatchAll.ADDRESS, "catchall_target": "nobody@circle.example"}
    factories.domain(session, "circle.example", **circle)
    target = f"{home}/directory.example/all"
    directory = factories.domain(
        session, "directory.example", catchall=CatchAll.DIRECTORY, catchall_target=target
    )
    factories.mailbox(session, directory, "all", Flag.BOUNCE_MAIL)
    nowhere = {"catchall": CatchAll.DIRECTORY, "catchall_target": "/srv/spool"}
    factories.domain(session, "spool.example", **nowhere)
    none = factories.domain(session, "none.example", catchall=CatchAll.NONE)
    factories.mailbox(session, none, "alice")
    for number, line in enumerate(
        (
            "|/usr/bin/maildrop",
            "|/opt/vpopmail/bin/vdelivermail '' delete",
            "| /home/vpopmail/bin/vdelivermail bounce-no-mailbox",
        ),
        1,
    ):
        odd = factories.domain(session, f"odd{number}.example", catchall=CatchAll.DOTQMAIL)
        factories.mailbox(session, odd, "alice")
        factories.alias(session, odd, "default", line)
    # No catch-all of a call has lines of its own; an export writes the call.
    both = factories.domain(session, "both.example", catchall=CatchAll.DELETE)
    factories.alias(session, both, "default", "&alice@example.com")
    _limited(session)
    shorter = factories.domain(session, "short", catchall=CatchAll.DELETE)
    factories.mailbox(session, shorter, "er.example-joe")
    factories.domain(session, "short-er.example")
    for position, (file, line, key) in enumerate(FOREIGN, 1):
        session.add(ForeignLine(file=file, position=position, line=line, sort_key=key))
    factories.ip_mapping(session, "192.0.2.1", main)
    factories.setting(session, "default_domain", "example.com")


def _limited(session: Session) -> None:
    limited = factories.domain(session, "limited.example")
    factories.limits(
        session,
        limited,
        disable_pop=True,
        disable_webmail=True,
        disable_spamassassin=True,
        delete_spam=True,
        disable_maildrop=True,
        max_popaccounts=5,
    )
    factories.mailbox(session, limited, "alice", Flag.NO_IMAP)
    factories.mailbox(session, limited, "boss", Flag.V_OVERRIDE | Flag.QA_ADMIN)
    factories.mailbox(session, limited, "root", Flag.SA_ADMIN | Flag.QA_ADMIN | Flag(0x100000))
    factories.mailbox(session, limited, "postmaster")
    factories.mailbox(session, limited, "clear", clear_text="right horse", apop_uid=2)
    factories.mailbox(session, limited, "locked", password_hash="*", clear_text="right horse")
    factories.mailbox(session, limited, "learning", password_hash="", clear_text="")
    factories.mailbox(session, limited, "odd", password_hash="{SSHA}c2VjcmV0", apop_uid=7)


def own_file(session: Session, of: Mailbox, *lines: str, name: str = "") -> None:
    """Make a dot-qmail file of a mailbox."""
    file = DotQmailFile(domain_id=of.domain_id, mailbox_id=of.id, name=name)
    session.add(file)
    session.flush()
    session.add_all(
        DotQmailLine(
            file_id=file.id,
            position=position,
            line=line,
            kind=LineKind(dotqmail.classify(line).value),
        )
        for position, line in enumerate(lines, 1)
    )
