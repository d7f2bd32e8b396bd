"""The bits of ``pw_gid``: what an account may and may not do."""

import enum


class Flag(enum.IntFlag):
    """The bits of ``pw_gid``.

    Source: vpopmail's flag word, 16 documented bits and three later ones.
    """

    NO_PASSWD_CHNG = 0x1
    NO_POP = 0x2
    NO_WEBMAIL = 0x4
    NO_IMAP = 0x8
    BOUNCE_MAIL = 0x10
    NO_RELAY = 0x20
    NO_DIALUP = 0x40
    V_USER0 = 0x80
    V_USER1 = 0x100
    V_USER2 = 0x200
    V_USER3 = 0x400
    NO_SMTP = 0x800
    QA_ADMIN = 0x1000
    V_OVERRIDE = 0x2000
    NO_SPAMASSASSIN = 0x4000
    DELETE_SPAM = 0x8000
    SA_ADMIN = 0x10000
    SA_EXPERT = 0x20000
    NO_MAILDROP = 0x40000


OPTIONS = {
    "no_password_change": Flag.NO_PASSWD_CHNG,
    "no_pop": Flag.NO_POP,
    "no_webmail": Flag.NO_WEBMAIL,
    "no_imap": Flag.NO_IMAP,
    "bounce_mail": Flag.BOUNCE_MAIL,
    "no_relay": Flag.NO_RELAY,
    "no_dialup": Flag.NO_DIALUP,
    "user_flag_0": Flag.V_USER0,
    "user_flag_1": Flag.V_USER1,
    "user_flag_2": Flag.V_USER2,
    "user_flag_3": Flag.V_USER3,
    "no_smtp": Flag.NO_SMTP,
    "domain_admin_privileges": Flag.QA_ADMIN,
    "override_domain_limits": Flag.V_OVERRIDE,
    "no_spamassassin": Flag.NO_SPAMASSASSIN,
    "delete_spam": Flag.DELETE_SPAM,
    "no_maildrop": Flag.NO_MAILDROP,
    "system_admin_privileges": Flag.SA_ADMIN,
    "system_expert_privileges": Flag.SA_EXPERT,
}
"""The protocol's name of each flag, in the order in which vpopmaild shows them."""
