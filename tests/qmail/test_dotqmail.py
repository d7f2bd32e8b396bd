import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpopsql.qmail import dotqmail
from vpopsql.qmail.dotqmail import CatchAll, CatchAllKind, DotQmail, Kind

HOME = "/home/vpopmail"
COMMAND = f"| {HOME}/bin/vdelivermail '' "


@given(st.binary())
def test_any_bytes_are_written_back(data: bytes) -> None:
    assert dotqmail.render(dotqmail.parse(data)) == data


@pytest.mark.parametrize(
    "data, file",
    [
        (b"", DotQmail(())),
        (b"\n", DotQmail(("",))),
        (b"a", DotQmail(("a",), final_newline=False)),
        (b"a\n\nb\n", DotQmail(("a", "", "b"))),
        (b"a\r\n", DotQmail(("a\r",))),
        (b"a\xff\0\n", DotQmail(("a\udcff\0",))),
    ],
)
def test_a_file_is_its_lines(data: bytes, file: DotQmail) -> None:
    assert dotqmail.parse(data) == file


def test_a_newline_in_a_line_is_not_written() -> None:
    with pytest.raises(ValueError, match="newline"):
        dotqmail.render(DotQmail(("a\nb",)))


@pytest.mark.parametrize(
    "line, kind",
    [
        ("", Kind.BLANK),
        (" \t", Kind.BLANK),
        ("#", Kind.COMMENT),
        ("# text", Kind.COMMENT),
        ("|/bin/cat >/dev/null", Kind.PROGRAM),
        ("| cat", Kind.PROGRAM),
        ("&a@b.example", Kind.FORWARD),
        ("a@b.example", Kind.FORWARD),
        ("1", Kind.FORWARD),
        ("./Maildir/", Kind.MAILDIR),
        ("./Maildir/ \t", Kind.MAILDIR),
        ("/a/b/", Kind.MAILDIR),
        ("/a/b", Kind.MBOX),
        ("./mbox", Kind.MBOX),
    ],
)
def test_a_line_does_what_its_first_character_says(line: str, kind: Kind) -> None:
    assert dotqmail.classify(line) is kind


@pytest.mark.parametrize(
    "line, address",
    [
        ("&a@b.example", "a@b.example"),
        ("plain@c.example ", "plain@c.example"),
        ("&", None),
        ("|cat", None),
        ("# a@b", None),
        ("./Maildir/", None),
        ("", None),
    ],
)
def test_only_a_forward_has_an_address(line: str, address: str | None) -> None:
    assert dotqmail.forward_address(line) == address


@pytest.mark.parametrize(
    "line, is_list, is_robot",
    [
        ("|/usr/bin/ezmlm/ezmlm-send '/home/vpopmail/domains/c/crew'", True, False),
        ("|/usr/bin/ezmlm/ezmlm-reject", True, False),
        ("|preline ezmlm-get /x", True, False),
        ("|/usr/bin/autorespond 10000 5 /x/message /x", False, True),
        ("| /usr/bin/autorespond 86400 3 /m /d", False, True),
        ("|'/usr/bin/qmail-autoresponder' /d", False, True),
        ("|/bin/tee /var/ezmlm-archive/x", False, False),
        ("|/usr/bin/my-autorespond x", False, False),
        ("|/usr/bin/autoresponders x", False, False),
        ("# |/usr/bin/autorespond and ezmlm-send", False, False),
        ("autorespond@example.com", False, False),
        ("/home/x/ezmlm-send", False, False),
    ],
)
def test_lists_and_robots_are_known_by_their_programs(
    line: str, is_list: bool, is_robot: bool
) -> None:
    assert dotqmail.is_list_line(line) is is_list
    assert dotqmail.is_autoresponder_line(line) is is_robot


@pytest.mark.parametrize(
    "line, arguments",
    [
        ("| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox", ["", "bounce-no-mailbox"]),
        ("|/opt/x/vdelivermail '' \"/srv/a b\"", ["", "/srv/a b"]),
        ("|preline /home/vpopmail/bin/vdelivermail '' delete ", ["", "delete"]),
        ("|vdelivermail", []),
        ("|vdelivermail 'open", []),
        ("|/home/vpopmail/bin/vdelivermail.old '' delete", None),
        ("|/home/vpopmail/bin/my-vdelivermail '' delete", None),
        ("# vdelivermail '' delete", None),
        ("vdelivermail@example.com", None),
    ],
)
def test_what_vdelivermail_is_given_is_known(line: str, arguments: list[str] | None) -> None:
    assert dotqmail.vdelivermail_arguments(line) == arguments


@pytest.mark.parametrize(
    "alias, filename",
    [
        ("info", ".qmail-info"),
        ("dotted.name", ".qmail-dotted:name"),
        ("default", dotqmail.DEFAULT_FILE),
        ("list-return-default", ".qmail-list-return-default"),
    ],
)
def test_a_file_is_named_after_its_alias(alias: str, filename: str) -> None:
    assert dotqmail.filename_for(alias) == filename
    assert dotqmail.alias_of(filename) == alias


@pytest.mark.parametrize(
    "filename", [".qmail", ".qmail-", "qmail-info", ".qmail-a.b", ".qmailadmin-limits", ""]
)
def test_other_files_serve_no_alias(filename: str) -> None:
    assert dotqmail.alias_of(filename) is None


@pytest.mark.parametrize("alias", ["", "a/b", "../x", "a:b", "a\nb", "a\0b"])
def test_an_alias_that_no_file_can_serve_is_refused(alias: str) -> None:
    with pytest.raises(ValueError, match=r"no name|cannot be written"):
        dotqmail.filename_for(alias)


@given(st.text())
def test_a_file_name_leads_back_to_itself_or_nowhere(name: str) -> None:
    alias = dotqmail.alias_of(f".qmail-{name}")

    assert alias is None or alias.replace(".", ":") == name


CATCHALLS = [
    (CatchAll(CatchAllKind.DELETE), "delete"),
    (CatchAll(CatchAllKind.BOUNCE), "bounce-no-mailbox"),
    (CatchAll(CatchAllKind.ADDRESS, "all@catch.example"), "all@catch.example"),
    (CatchAll(CatchAllKind.DIRECTORY, "/home/v/domains/a/u"), "/home/v/domains/a/u"),
    (CatchAll(CatchAllKind.ADDRESS, "o'b;rm@a.org"), "'o'\"'\"'b;rm@a.org'"),
]


@pytest.mark.parametrize("catchall, word", CATCHALLS)
def test_a_catch_all_is_one_word_to_the_shell(catchall: CatchAll, word: str) -> None:
    assert dotqmail.render_catchall(catchall, HOME) == COMMAND + word
    assert dotqmail.parse_catchall(COMMAND + word, HOME) == catchall


@pytest.mark.parametrize(
    "text",
    [
        "",
        "delete",
        "| /elsewhere/bin/vdelivermail '' delete",
        COMMAND,
        COMMAND + " delete",
        COMMAND + "delete ",
        COMMAND + "delete\n",
        COMMAND + "nobody",
        COMMAND + "a@b c@d",
        COMMAND + "o'brien@a.org",
        COMMAND + "'quoted@a.org'",
        COMMAND + "$x@a.org",
        COMMAND + "a@b\0",
        "&a@b.example",
    ],
)
def test_a_line_in_another_form_is_no_catch_all(text: str) -> None:
    assert dotqmail.parse_catchall(text, HOME) is None


@given(st.text().map(lambda word: COMMAND + word))
def test_a_catch_all_that_is_understood_is_written_back(text: str) -> None:
    catchall = dotqmail.parse_catchall(text, HOME)

    assert catchall is None or dotqmail.render_catchall(catchall, HOME) == text


@pytest.mark.parametrize(
    "catchall",
    [
        CatchAll(CatchAllKind.DELETE, "x"),
        CatchAll(CatchAllKind.ADDRESS),
        CatchAll(CatchAllKind.ADDRESS, "nobody"),
        CatchAll(CatchAllKind.ADDRESS, "/a@b"),
        CatchAll(CatchAllKind.DIRECTORY, "relative"),
        CatchAll(CatchAllKind.DIRECTORY, "/a\nb"),
    ],
)
def test_a_catch_all_that_would_not_come_back_is_not_written(catchall: CatchAll) -> None:
    with pytest.raises(ValueError, match=r"catch-all|written"):
        dotqmail.render_catchall(catchall, HOME)


def test_a_site_s_catch_alls_are_understood(site: dict[str, bytes]) -> None:
    files = {p: dotqmail.parse(d) for p, d in site.items() if p.endswith("/.qmail-default")}

    unknown = [path for path, f in files.items() if not dotqmail.parse_catchall(f.lines[0], HOME)]
    assert len(files) >= 5
    assert unknown == []
