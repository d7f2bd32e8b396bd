"""What the lines of dot-qmail files do: qmail-local's in a domain, vdelivermail's in a mailbox.

The two differ. vdelivermail delivers to no mbox and takes a file with comments only for a
delivery. Of a mailbox's bits it looks at the account's own, and at the domain's limits apart, so
that ``V_OVERRIDE`` does not keep these off.
"""

import posixpath

from vpopsql import names
from vpopsql.explain import rows
from vpopsql.explain.claims import (
    Claim,
    Contains,
    DefaultDelivery,
    HasLine,
    IsDirectory,
    IsMaildir,
    Measures,
)
from vpopsql.explain.node import Node
from vpopsql.explain.result import DefectCode, DeliveryKind, Source, StepKind
from vpopsql.explain.rows import File, Mailbox, Name
from vpopsql.model import Flag
from vpopsql.qmail import dotqmail
from vpopsql.qmail.dotqmail import Kind
from vpopsql.quota import Quota

_BLANKS = " \t"


def file_name(name: str) -> str:
    """Return the name of a dot-qmail file, as it is on disk."""
    return f".qmail-{name.replace('.', ':')}" if name else ".qmail"


def path_in(directory: str, name: str) -> str | None:
    """Return the site path of a dot-qmail file; None: there can be no such file."""
    try:
        found = dotqmail.filename_for(name) if name else ".qmail"
    except ValueError:
        return None
    return f"{directory}/{found}"


def claim_file(node: Node, path: str, file: File | None) -> list[Claim]:
    """Return what must be in a file, or where its link leads; None: it must not be there."""
    if file is None:
        return [Contains(path, None)]
    if file.link_target is not None:
        return [Contains(path, file.link_target)]
    try:
        content = dotqmail.render(dotqmail.DotQmail(file.lines, file.final_newline))
    except ValueError:
        node.cannot_write(path, "a line has a newline in it")
        return []
    return [Contains(path, content)]


def find_nothing(node: Node, name: Name) -> None:
    """Explain a domain without any file for an address."""
    node.is_unknown = node.mailbox is None
    node.end(DeliveryKind.BOUNCE, str(node.address), "no mailbox here by that name")
    if node.mailbox is not None:
        what = f"there is a mailbox, but no .qmail-default of {name.real} runs vdelivermail for it"
        node.defect(
            DefectCode.NO_VDELIVERMAIL,
            what,
            f"write {name.directory}/.qmail-default with vpopmaild",
        )


def follow_file(node: Node, name: Name, file: File, directory: str) -> None:
    """Explain the lines of a domain's file.

    :param directory: with a slash at its end.
    """
    path = path_in(directory.rstrip("/"), file.name) or directory
    if not file.lines:
        result = "it is empty: qmail's default delivery, as qmail-start was told"
        node.step(StepKind.LINE, path, result)
        node.end(
            DeliveryKind.MBOX, directory, "qmail's default delivery in the domain's directory"
        )
        return
    ends = len(node.ends) + len(node.forwards)
    for number, line in enumerate(file.lines, 1):
        where = f"{file_name(file.name)}, line {number}"
        source = Source("dotqmail_lines", f"{file_name(file.name)} of {name.real}, line {number}")
        if file.name == "default" and name.catchall in rows.CALLS:
            source = Source("domains", name.real)
        kind = dotqmail.classify(line)
        if kind is Kind.BLANK and number == 1:
            node.step(StepKind.LINE, where, "the first line is blank: qmail defers", source)
            node.end(DeliveryKind.DEFER, path, "the first line of the dot-qmail file is blank")
            advice = f"remove the blank line of {path} with vpopmaild"
            node.defect(DefectCode.BAD_LINE, f"the first line of {path} is blank", advice)
            return
        result, then = _line(node, kind, line, where, directory)
        claims: list[Claim] = [HasLine(path, number, line)]
        if kind is Kind.MAILDIR:
            claims.append(IsMaildir(node.ends[-1].target.rstrip("/")))
        node.step(StepKind.LINE, f"{where}: {line}", result, source, claims)
        if then is not None:
            _run_vdelivermail(node, name, then, path)
    if len(node.ends) + len(node.forwards) == ends:
        node.end(DeliveryKind.DISCARD, path, "the file has comments only: nobody gets the mail")


def _line(
    node: Node, kind: Kind, line: str, where: str, directory: str
) -> tuple[str, list[str] | None]:
    """Note what a line does; return it in words, and vdelivermail's arguments if it runs that."""
    text = line.rstrip(_BLANKS)
    match kind:
        case Kind.BLANK | Kind.COMMENT:
            return "nothing", None
        case Kind.FORWARD:
            target = node.forward(dotqmail.forward_address(line) or "", where)
            return f"forwarded to {target}", None
        case Kind.PROGRAM:
            arguments = dotqmail.vdelivermail_arguments(line)
            if arguments is not None:
                return "vdelivermail delivers it", arguments
            what = _program(line)
            node.end(DeliveryKind.PROGRAM, text.removeprefix("|").strip(), what)
            return what, None
        case Kind.MAILDIR:
            path = posixpath.normpath(posixpath.join(directory, text))
            node.end(DeliveryKind.MAILDIR, f"{path}/", "delivered without asking for a mailbox")
            owner = _owner_of(node, path)
            whose = f" of the mailbox {owner.name}, whatever its quota and flags" if owner else ""
            return f"delivered into the Maildir {path}/{whose}", None
        case _:
            path = posixpath.normpath(posixpath.join(directory, text))
            node.end(DeliveryKind.MBOX, path, "appended to a file")
            return f"appended to the mbox {path}", None


def _program(line: str) -> str:
    if dotqmail.is_list_line(line):
        return "given to a program of ezmlm, the mailing list manager"
    if dotqmail.is_autoresponder_line(line):
        return "given to an autoresponder"
    return "given to a program, whose exit code decides"


def _owner_of(node: Node, maildir: str) -> Mailbox | None:
    home = maildir.removesuffix("/Maildir")
    return _mailbox_in(node, home) if home != maildir else None


def _mailbox_in(node: Node, home: str) -> Mailbox | None:
    if node.name is None:
        return None
    found = node.facts.mailboxes.get((node.name.id, home.rpartition("/")[2]))
    return found if found is not None and found.home == home else None


def _run_vdelivermail(node: Node, name: Name, arguments: list[str], path: str) -> None:
    if len(arguments) != 2:  # noqa: PLR2004 - an empty one and the catch-all
        node.step(StepKind.CATCHALL, "vdelivermail wants two arguments", "it defers")
        node.end(DeliveryKind.DEFER, path, "vdelivermail is called without two arguments")
        node.defect(
            DefectCode.BAD_LINE,
            f"{path} calls vdelivermail without two arguments",
            "give it '' and what becomes of mail for unknown names",
        )
        return
    user = node.address.user
    if user and not names.is_user_name(user):
        what = f"vdelivermail looks at the name {user}"
        node.step(StepKind.MAILBOX, what, "no mailbox may be called so: bounced")
        node.is_unknown = True
        node.end(DeliveryKind.BOUNCE, str(node.address), "vdelivermail refuses the name")
        return
    base = rows.split_ext(user)[0]
    mailbox = node.mailbox
    if mailbox is None and node.site.build.qmail_ext:
        mailbox = node.facts.mailboxes.get((name.id, base))
    if mailbox is not None:
        if not node.site.build.has_accounts:
            node.defect(
                DefectCode.NO_VPASSWD,
                f"vdelivermail finds no mailbox of {name.real}: its accounts are in no vpasswd",
                "set export.accounts to vpasswd, or let something deliver that asks the database",
            )
            _catch(node, name, arguments[1])
            return
        _to_mailbox(node, name, mailbox)
        return
    result = f"{name.real} has none"
    if not node.site.build.qmail_ext and (name.id, base) in node.facts.mailboxes and base != user:
        result += f"; built with --enable-qmail-ext, vpopmail would give it to {base}"
    if user:
        node.step(
            StepKind.MAILBOX,
            f"vdelivermail looks for a mailbox {user}",
            result,
            Source("mailboxes", f"{user}@{name.real}"),
        )
    _catch(node, name, arguments[1])


def _catch(node: Node, name: Name, what: str) -> None:
    """Explain what becomes of mail for a name that the domain does not have."""
    address = str(node.address)
    says = f"what .qmail-default says about names that {name.real} does not have"
    source = Source("domains", name.real)
    node.is_unknown = what in {"delete", "bounce-no-mailbox"}
    if what == "delete":
        node.step(StepKind.CATCHALL, says, "discarded: nobody gets it, nobody is told", source)
        node.end(DeliveryKind.DISCARD, address, "the domain deletes mail for names it has not")
    elif what == "bounce-no-mailbox":
        node.step(StepKind.CATCHALL, says, "bounced", source)
        node.end(DeliveryKind.BOUNCE, address, "no mailbox here by that name")
    elif what.startswith("/"):
        home = what.rstrip("/")
        owner = _mailbox_in(node, home)
        whose = f", the home of {owner.name}" if owner else ""
        node.step(StepKind.CATCHALL, says, f"delivered in {home}{whose}", source)
        # Quirk: BOUNCE_MAIL of the mailbox is not looked at here.
        _to_home(node, name, home, owner)
    else:
        target = node.forward(what, "the catch-all")
        node.step(StepKind.CATCHALL, says, f"forwarded to {target}", source)


def _to_mailbox(node: Node, name: Name, mailbox: Mailbox) -> None:
    address = f"{mailbox.name}@{name.real}"
    flags = Flag(mailbox.flags)
    what = f"vdelivermail looks for a mailbox {node.address.user}"
    if mailbox.name != node.address.user:
        what += f", then for {mailbox.name}"
    source = Source("mailboxes", address)
    if Flag.BOUNCE_MAIL in flags:
        result = f"{address} has bounce_mail: bounced"
        node.step(StepKind.MAILBOX, what, result, source)
        node.end(DeliveryKind.BOUNCE, address, "the account has bounce_mail")
        return
    node.step(StepKind.MAILBOX, what, f"{address}, in {mailbox.directory}", source)
    _to_home(node, name, mailbox.home, mailbox)


def _to_home(node: Node, name: Name, home: str, mailbox: Mailbox | None) -> None:
    candidates = rows.own_dotqmail_names(node.address.user, qmail_ext=node.site.build.qmail_ext)
    claims: list[Claim] = [IsDirectory(home or "/", name.uid, name.gid)]
    file = None
    for candidate in candidates:
        own = node.facts.own_files.get((mailbox.id, candidate)) if mailbox else None
        path = path_in(home, candidate)
        if path is not None and mailbox is not None:
            claims += claim_file(node, path, own)
        if own is not None and own.link_target is None:
            file = own
            break
    shown = ", ".join(map(file_name, candidates))
    what = f"vdelivermail looks for {shown} in {home}"
    if file is None or not file.lines:
        claims.append(DefaultDelivery(f"{node.site.qmail_dir}/control/defaultdelivery"))
        found = "none is there" if file is None else "it is empty, as if it was not there"
        node.step(StepKind.DOTQMAIL, what, found, None, claims)
        _to_maildir(node, name, home, mailbox)
        return
    source = Source("dotqmail_files", f"{file_name(file.name)} in {home}")
    node.step(StepKind.DOTQMAIL, what, f"{file_name(file.name)} is found", source, claims)
    _follow_own_file(node, name, file, home, mailbox)


def _follow_own_file(
    node: Node, name: Name, file: File, home: str, mailbox: Mailbox | None
) -> None:
    path = path_in(home, file.name) or home
    ends = len(node.ends) + len(node.forwards)
    for number, line in enumerate(file.lines, 1):
        where = f"{path}, line {number}"
        source = Source("dotqmail_lines", f"{file_name(file.name)} in {home}, line {number}")
        claims: list[Claim] = [HasLine(path, number, line)]
        # Blanks at a line's end count here, so a Maildir with one behind it is none.
        kind = dotqmail.classify(line)
        if kind in {Kind.MAILDIR, Kind.MBOX} and not line.endswith("/"):
            node.step(
                StepKind.LINE, f"{where}: {line}", "an mbox: vdelivermail defers", source, claims
            )
            node.end(DeliveryKind.DEFER, line, "vdelivermail delivers to no mbox")
            advice = "end the line with a slash for a Maildir, or remove it"
            node.defect(DefectCode.BAD_LINE, f"{where}: {line} is no Maildir", advice)
            return
        if kind is Kind.MAILDIR:
            box = posixpath.normpath(posixpath.join(home, line))
            claims.append(IsMaildir(box))
            node.step(StepKind.LINE, f"{where}: {line}", f"delivered into {box}/", source, claims)
            if box == f"{home}/Maildir":
                _to_maildir(node, name, home, mailbox)
            else:
                node.end(DeliveryKind.MAILDIR, f"{box}/", "a line of the mailbox's dot-qmail file")
            continue
        result, again = _line(node, kind, line, where, f"{home}/")
        if again is not None:
            node.end(DeliveryKind.PROGRAM, line, "vdelivermail once more, by its own rules")
        node.step(StepKind.LINE, f"{where}: {line}", result, source, claims)
    if len(node.ends) + len(node.forwards) == ends:
        node.end(DeliveryKind.DISCARD, path, "the file has comments only: nobody gets the mail")


def _to_maildir(node: Node, name: Name, home: str, mailbox: Mailbox | None) -> None:
    box = f"{home}/Maildir"
    if mailbox is None:
        reason = "a directory that is no mailbox's"
        node.step(
            StepKind.QUOTA, "there is no mailbox with a quota", "no limit", None, [IsMaildir(box)]
        )
        node.end(DeliveryKind.MAILDIR, f"{box}/", reason)
        return
    quota = Quota(mailbox.quota_bytes, mailbox.quota_messages)
    source = Source("mailboxes", f"{mailbox.name}@{name.real}")
    node.step(
        StepKind.QUOTA,
        "vdelivermail bounces what goes over the quota; it believes maildirsize, if that is there",
        show_quota(quota),
        source,
        [IsMaildir(box), Measures(f"{box}/maildirsize", quota)],
    )
    _filters(node, name, mailbox)
    node.end(DeliveryKind.MAILDIR, f"{box}/", f"the mailbox {mailbox.name}@{name.real}")


def show_quota(quota: Quota) -> str:
    """Return a quota in words."""
    parts = []
    if quota.bytes:
        parts.append(f"{quota.bytes} bytes")
    if quota.messages:
        parts.append(f"{quota.messages} messages")
    return f"at most {' and '.join(parts)}" if parts else "no limit"


def _filters(node: Node, name: Name, mailbox: Mailbox) -> None:
    limits = node.facts.limits[name.id]

    def who_says(flag: Flag, limit: str) -> str | None:
        if mailbox.flags & flag:
            return flag.name.lower() if flag.name else None
        return f"{limit} of {limits.table}" if limits.settings[limit] else None

    no_spamassassin = who_says(Flag.NO_SPAMASSASSIN, "disable_spamassassin")
    delete_spam = who_says(Flag.DELETE_SPAM, "delete_spam")
    no_maildrop = who_says(Flag.NO_MAILDROP, "disable_maildrop")
    if no_spamassassin:
        spam = f"SpamAssassin is not asked ({no_spamassassin})"
    else:
        spam = "SpamAssassin is asked"
    spam += f", spam is deleted ({delete_spam})" if delete_spam else ", spam is delivered"
    maildrop = f"maildrop is not run ({no_maildrop})" if no_maildrop else "maildrop delivers it"
    node.step(
        StepKind.FILTER,
        "if vpopmail was built with SpamAssassin or maildrop",
        f"{spam}; {maildrop}",
        Source("mailboxes", f"{mailbox.name}@{name.real}"),
    )
