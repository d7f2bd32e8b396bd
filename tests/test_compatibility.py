"""Every point of docs/compatibility.md has tests; which ones, is said here."""

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.daemon.conversations import ALICE, EXAMPLE, SYSTEM, make_site
from tests.daemon.deviations import DEVIATIONS
from vpopsql import config
from vpopsql.db import Database

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs/compatibility.md"

ACCOUNTS = "daemon/test_account_commands.py"
ALIASES = "daemon/test_alias_commands.py"
CONVERSATION = "daemon/test_conversation.py"
DOMAINS = "daemon/test_domain_commands.py"
DOTQMAILS = "services/test_dotqmail_changes.py"
FILES = "daemon/test_file_commands.py"
HOLES = "daemon/test_holes.py"
RIGHTS = "daemon/test_rights.py"
PATHS = "daemon/test_holes_in_paths.py"
CLIENTS = "daemon/test_clients.py"
NAMES = "test_names.py"
PROTOCOL = "test_protocol.py"
REPLAY = "daemon/test_replay.py"
SERVER = "daemon/test_server.py"

PROOFS: dict[int, tuple[str, ...]] = {
    1: (f"{RIGHTS}::test_only_the_system_administrator_sets_a_hash",),
    2: (
        f"{ACCOUNTS}::test_each_level_sets_its_own_flags",
        f"{ACCOUNTS}::test_a_user_changes_what_everybody_may_and_nothing_else",
    ),
    3: (
        f"{ACCOUNTS}::test_a_forbidden_password_change_changes_nothing",
        f"{ACCOUNTS}::test_a_domain_can_forbid_its_users_to_change_passwords",
        f"{ACCOUNTS}::test_writing_back_the_present_password_is_no_change",
    ),
    4: (f"{RIGHTS}::test_a_domain_administrator_cannot_become_the_system_administrator",),
    5: (
        f"{CONVERSATION}::test_users_and_administrators_read_what_the_documentation_grants_them",
        f"{CONVERSATION}::test_a_user_is_refused_the_rest",
    ),
    6: (f"{ACCOUNTS}::test_what_cannot_be_is_refused",),
    7: (
        f"{RIGHTS}::test_each_limit_holds_for_domain_administrators",
        f"{RIGHTS}::test_no_limit_holds_for_those_above_limits",
        f"{RIGHTS}::test_the_quotas_of_a_domain_share_what_it_has",
        f"{ACCOUNTS}::test_a_permission_that_is_denied_binds_all_but_postmaster",
    ),
    8: (f"{HOLES}::test_nobody_learns_from_a_failed_login_who_exists",),
    9: ("test_compatibility.py::test_without_leave_no_password_is_stored_and_its_line_is_empty",),
    10: (
        f"{PATHS}::test_a_path_that_only_begins_like_the_own_one_leads_nowhere",
        f"{PATHS}::test_no_file_command_follows_a_link",
        f"{PATHS}::test_no_file_command_follows_a_link_that_is_swapped_in_meanwhile",
    ),
    11: (f"{PATHS}::test_no_file_command_reaches_what_the_database_owns",),
    12: (
        f"{FILES}::test_a_dot_qmail_file_is_rows_and_file_at_once",
        f"{HOLES}::test_nobody_writes_a_line_that_runs_a_program_or_leaves_his_place",
        f"{HOLES}::test_no_alias_runs_a_program",
        f"{FILES}::test_a_system_administrator_writes_any_line",
    ),
    13: (
        f"{FILES}::test_a_new_file_is_the_owners_alone_and_an_old_one_keeps_its_mode",
        f"{FILES}::test_a_removed_directory_is_still_somewhere",
        f"{HOLES}::test_the_lines_of_a_refused_file_are_no_commands",
        "test_tree_writing.py::test_a_write_that_fails_leaves_the_old_content_and_nothing_else",
    ),
    14: (
        f"{PROTOCOL}::test_every_line_of_a_file_makes_the_round_trip",
        f"{PROTOCOL}::test_only_lines_of_dots_gain_one",
        f"{FILES}::test_a_file_has_the_bytes_that_were_sent",
    ),
    15: (
        f"{SERVER}::test_a_whole_session_in_one_piece_is_answered",
        f"{ACCOUNTS}::test_options_after_a_refusal_are_dropped_and_a_command_is_not",
        f"{HOLES}::test_the_options_of_a_refused_change_are_no_commands",
    ),
    16: (
        f"{PROTOCOL}::test_a_longer_line_is_dropped_whole_and_the_next_one_kept",
        f"{CONVERSATION}::test_a_nul_makes_a_command_invalid",
        f"{REPLAY}::test_a_recorded_conversation_goes_as_it_went",
    ),
    17: (
        f"{SERVER}::test_lines_that_have_arrived_are_carried_out_after_the_client_is_gone",
        f"{CLIENTS}::test_roundcubes_change_survives_that_nobody_reads_and_the_connection_is_reset",
        f"{ACCOUNTS}::test_the_end_of_input_inside_options_changes_nothing",
    ),
    18: (
        f"{ACCOUNTS}::test_a_bad_value_spoils_the_whole_change",
        f"{HOLES}::test_changes_of_many_sessions_are_all_there",
    ),
    19: (
        f"{DOMAINS}::test_an_ip_address_is_mapped_to_one_domain",
        f"{DOMAINS}::test_a_mapping_that_cannot_be_is_refused",
        f"{CONVERSATION}::test_the_ip_map_is_shown_by_address",
        f"{REPLAY}::test_a_recorded_conversation_goes_as_it_went",
    ),
    20: (
        f"{CONVERSATION}::test_an_address_without_aliases_gives_an_empty_list",
        f"{ALIASES}::test_an_alias_is_rows_and_file_at_once",
        f"{ALIASES}::test_what_is_wrong_with_an_alias_is_answered",
        f"{DOTQMAILS}::test_an_alias_grows_line_by_line_and_repeats_none",
    ),
    21: (
        f"{CONVERSATION}::test_lists_are_only_what_runs_ezmlm",
        f"{CONVERSATION}::test_an_empty_site_gives_empty_lists",
        f"{REPLAY}::test_a_recorded_conversation_goes_as_it_went",
    ),
    22: (
        f"{DOMAINS}::test_limits_are_set_shown_and_deleted",
        f"{DOMAINS}::test_a_limit_that_is_no_number_is_warned_of_and_kept",
    ),
    23: (
        f"{ALIASES}::test_without_ezmlm_there_are_no_list_commands",
        f"{ALIASES}::test_a_list_is_made_with_its_files",
        f"{ALIASES}::test_a_list_is_changed_and_its_files_come_and_go",
        f"{ALIASES}::test_a_deleted_list_leaves_its_archive_in_the_trash",
    ),
    24: (
        f"{NAMES}::test_a_new_user_may_not_have_an_unsafe_name",
        f"{NAMES}::test_a_new_domain_may_not_have_another_name",
        f"{DOMAINS}::test_an_international_name_is_stored_as_a_labels",
    ),
    25: (
        f"{DOMAINS}::test_a_new_domain_receives_mail_and_has_a_postmaster",
        "test_compatibility.py::test_new_domains_can_be_made_to_delete_mail_for_unknown_names",
    ),
    26: (f"{CONVERSATION}::test_help_shows_each_verb_once_and_only_what_may_be_run",),
    27: (f"{CONVERSATION}::test_a_browser_is_hung_up_on",),
    28: (f"{REPLAY}::test_all_that_a_real_daemon_says_of_a_larger_site_is_said_again",),
    29: (
        f"{CONVERSATION}::test_an_outage_is_one_temporary_error_and_the_conversation_lives_on",
        f"{CONVERSATION}::test_a_defect_is_one_generic_error_and_the_conversation_lives_on",
        f"{HOLES}::test_a_line_end_that_sql_stored_forges_no_line_of_a_file",
        f"{SERVER}::test_connections_beyond_the_limit_are_refused_clearly_and_the_others_go_on",
    ),
    30: ("test_compatibility.py::test_a_path_does_not_tell_a_user_which_mailboxes_there_are",),
    31: ("test_compatibility.py::test_what_another_session_has_deleted_is_gone_at_once",),
    32: (f"{FILES}::test_what_cannot_be_done_is_answered_at_once",),
    33: (f"{FILES}::test_the_directories_of_domains_and_mailboxes_stay",),
    34: (
        f"{ALIASES}::test_a_deleted_alias_leaves_neither_rows_nor_file",
        f"{FILES}::test_a_domains_limits_are_not_those_of_a_mailbox",
    ),
    35: (
        "daemon/test_strength.py::test_weak_passwords_are_refused_wherever_they_are_set",
        "daemon/test_rehash.py::test_a_login_by_a_weak_hash_gets_a_better_one_after_the_answer",
        "daemon/test_rehash.py::test_a_hash_is_good_on_its_last_day_and_not_on_the_next",
    ),
    36: (
        "daemon/test_guard.py::test_who_guesses_waits_longer_each_time",
        "daemon/test_guard.py::test_the_owner_is_never_locked_out",
    ),
    37: (
        "daemon/test_admission.py::test_no_login_is_taken_in_the_clear_from_other_hosts",
        "daemon/test_admission.py::test_logins_in_the_clear_are_taken_from_this_host",
        "daemon/test_encryption.py::test_help_tells_of_stls_only_where_it_is",
        f"{SERVER}::test_standard_input_is_a_conversation_too",
    ),
    38: (
        f"{SERVER}::test_many_lines_of_a_client_do_not_wait_for_all_their_answers",
        f"{SERVER}::test_a_client_that_reads_no_answer_is_asked_no_more",
    ),
}
"""Point -> the tests that fail when it is not so."""


@cache
def functions_in(file: str) -> frozenset[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_the_points_are_numbered_without_gaps() -> None:
    numbers = [int(number) for number in re.findall(r"(?m)^(\d+)\. ", DOCUMENT.read_text())]

    assert numbers == list(range(1, len(numbers) + 1))
    assert set(PROOFS) == set(numbers)


def test_every_point_has_tests_that_exist() -> None:
    named = {test for tests in PROOFS.values() for test in tests}
    missing = {
        test for test in named if test.split("::")[1] not in functions_in(test.split("::")[0])
    }

    assert missing == set()
    assert all(PROOFS.values())


def test_a_recorded_conversation_deviates_in_points_of_the_document_only() -> None:
    points = {deviation.point for each in DEVIATIONS.values() for deviation in each}

    assert points <= PROOFS.keys()


# --- points that need a site of their own -------------------------------------------------------


def test_without_leave_no_password_is_stored_and_its_line_is_empty(
    database: Database, database_url: str, unpack: Callable[[str], Path]
) -> None:
    passwords = replace(config.load(None, {}).passwords, store_clear_text=False)
    site = make_site(database, database_url, unpack, passwords=passwords)
    talk = site.talk(SYSTEM)

    assert talk.ask("add_user joe@example.com secret1") == ["+OK "]
    said = talk.ask("mod_user bob@example.com", "clear_text_password secret2", ".")

    assert said == ["+OK ", "+OK "]
    assert "clear_text_password " in talk.ask("user_info joe@example.com")
    assert "clear_text_password " in talk.ask("user_info bob@example.com")
    assert b"secret" not in site.path(f"{EXAMPLE}/vpasswd").read_bytes()
    site.talk(("bob@example.com", "secret2"))


def test_new_domains_can_be_made_to_delete_mail_for_unknown_names(
    database: Database, database_url: str, unpack: Callable[[str], Path]
) -> None:
    domains = replace(config.load(None, {}).domains, catchall="delete")
    site = make_site(database, database_url, unpack, domains=domains)

    assert site.talk(SYSTEM).ask("add_domain new.example pw") == ["+OK "]

    file = site.path("/home/vpopmail/domains/new.example/.qmail-default")
    assert file.read_text() == "| /home/vpopmail/bin/vdelivermail '' delete\n"


def test_a_path_does_not_tell_a_user_which_mailboxes_there_are(
    database: Database, database_url: str, unpack: Callable[[str], Path]
) -> None:
    alice = make_site(database, database_url, unpack).talk(ALICE)

    answers = [alice.ask(f"list_dir {name}@example.com/") for name in ("bob", "nobody")]

    assert answers == [["-ERR 12.1508 User does not exist"]] * 2


def test_what_another_session_has_deleted_is_gone_at_once(
    database: Database, database_url: str, unpack: Callable[[str], Path]
) -> None:
    site = make_site(database, database_url, unpack)
    alice, system = site.talk(ALICE), site.talk(SYSTEM)

    assert system.ask("del_user alice@example.com") == ["+OK "]

    assert alice.ask("mod_user alice@example.com") == ["-ERR 12.505 User does not exist"]
    assert alice.ask("list_dir alice@example.com/")[0].startswith("-ERR ")
    assert alice.ask(f"read_file {EXAMPLE}/alice/note.txt") == [
        "-ERR 0.2102 No such file or directory"
    ]
    assert alice.write(f"{EXAMPLE}/alice/new", "x")[0].startswith("-ERR ")
