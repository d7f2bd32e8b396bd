import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpopsql import passwords
from vpopsql.passwords import (
    ROUNDS,
    UnusablePassword,
    burn,
    can_hash,
    hash_ahead,
    hash_password,
    needs_rehash,
    scheme_of,
    verify,
)

# Made by vpopmail's tools and by crypt(3), for the mailboxes of tests/trees/small.tar.gz.
NORTH = (
    "$6$DtXb6pZA$crELugOtU7Ey4h2kLvcOS3iepyIzvymL7MZ8PHcJehfUdRTuRLZdBNFQfqxJIx6NkBB4kajPR2VCJC"
    "EU2hqRd/"
)
JUERGEN = (
    "$6$Nd9a6tPv$T8/JYaFpWGPNDJa11YJEIZRYqJ99fP35xF8BrB/zP/v8sVqIDtnysARqUfpM8/Q0pmaIkc4kBapOqcC"
    "31/iFW1"
)
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$89kyo++phWY$+9yZIO1GVMvnoVUfcR7CZA"
KNOWN = {
    "des": ("des-pw", "Nq9GZJJ2PnyQc"),
    "md5-crypt": ("md5-pw", "$1$Sa1tSa1t$kfgVPCN5WUX4iGzAfdTKU1"),
    "sha256-crypt": (
        "Hello world!",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
    ),
    "sha512-crypt": ("North!Pass 1", NORTH),
    "argon2": ("Hello world!", ARGON2),
}
KNOWN_TO_LIBCRYPT_ONLY = {
    "bcrypt": ("Hello world!", "$2y$04$saltstringsaltstringsefRPmv1g7My/GcfVAo7r2InIZEtJMGju"),
    "yescrypt": (
        "Hello world!",
        "$y$j75$/3IE/3IE/3IE/3IE/3IE//$drvC9RWauwtnjVgwzbpgQsjJHWSEeaPy95zxVsA.hP6",
    ),
}


@pytest.fixture
def no_libcrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose C library knows no hashes."""
    monkeypatch.setattr(passwords, "_libcrypt_knows", lambda _scheme: False)


@pytest.fixture
def burnt(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect as what kinds of hashes time was spent in vain."""
    spent: list[object] = []
    monkeypatch.setattr(passwords, "burn", spent.append)
    return spent


@pytest.mark.parametrize("scheme", [*KNOWN, *KNOWN_TO_LIBCRYPT_ONLY])
def test_a_hash_of_any_kind_verifies_its_password_only(scheme: str) -> None:
    password, stored = (KNOWN | KNOWN_TO_LIBCRYPT_ONLY)[scheme]

    assert scheme_of(stored) == scheme
    assert verify(password, stored)
    assert not verify("x" + password, stored)


@pytest.mark.usefixtures("no_libcrypt")
@pytest.mark.parametrize("scheme", KNOWN)
def test_without_libcrypt_libpass_verifies_the_same_hashes(scheme: str) -> None:
    password, stored = KNOWN[scheme]

    assert verify(password, stored)
    assert not verify("x" + password, stored)


@pytest.mark.usefixtures("no_libcrypt")
def test_without_libcrypt_yescrypt_is_never_verified_nor_made() -> None:
    assert not verify(*KNOWN_TO_LIBCRYPT_ONLY["yescrypt"])
    assert not can_hash("yescrypt")


def test_a_system_without_crypt_r_knows_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_LIBRARIES", ("libcrypt-is-not-here.so",))

    crypt = passwords._libcrypt.__wrapped__()

    assert crypt(b"North!Pass 1", NORTH) == ""


def test_a_password_is_hashed_as_its_utf_8_bytes() -> None:
    assert verify("jürgen-pw", JUERGEN)


def test_bytes_that_are_no_utf_8_make_the_round_trip() -> None:
    password = b"caf\xe9".decode("utf-8", "surrogateescape")

    assert verify(password, hash_password(password, "sha512-crypt", 1000))


@pytest.mark.parametrize(
    "scheme, rounds",
    [
        ("sha512-crypt", None),
        ("sha256-crypt", 1000),
        ("bcrypt", 4),
        ("yescrypt", 1),
        ("argon2", 1),
        ("argon2", None),
    ],
)
def test_a_new_hash_is_of_the_kind_and_cost_asked_for(scheme: str, rounds: int | None) -> None:
    made = hash_password("secret", scheme, rounds)

    assert scheme_of(made) == scheme
    assert verify("secret", made)
    assert not needs_rehash(made, scheme, rounds)


def test_a_new_argon2_hash_is_argon2id_of_the_memory_that_is_named() -> None:
    assert hash_password("secret", "argon2").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_without_its_library_argon2_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords._libpass("argon2"), "has_backend", lambda: False)

    assert not can_hash("argon2")
    with pytest.raises(ValueError, match="argon2"):
        hash_password("secret", "argon2")


def test_a_hash_that_is_made_ahead_is_like_any_other() -> None:
    made = hash_ahead("secret", "sha512-crypt", 1000)
    assert verify("secret", made.result())
    assert made.result() == made.result() != hash_password("secret", "sha512-crypt", 1000)


def test_what_cannot_be_hashed_is_refused_at_once() -> None:
    with pytest.raises(UnusablePassword):
        hash_ahead("a\0b", "sha512-crypt")
    with pytest.raises(ValueError, match="not 1"):
        hash_ahead("secret", "sha512-crypt", 1)


def test_a_costly_hash_is_made_before_anything_waits_for_it() -> None:
    assert hash_ahead("secret", "bcrypt", 4).done()
    assert hash_ahead("secret", "sha512-crypt", 10_001).done()


def test_a_hash_for_which_no_thread_is_free_is_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, make = threading.Event(), passwords._make

    def slow(*arguments: object) -> str:
        assert threading.current_thread() is threading.main_thread() or go_on.wait(60)
        return make(*arguments)  # type: ignore[arg-type]

    passwords.start_helpers()
    monkeypatch.setattr(passwords, "_make", slow)
    made = [hash_ahead("secret", "sha512-crypt", 1000) for _ in range(5)]
    assert [each.done() for each in made] == [False, False, True, True, True]
    go_on.set()
    assert all(verify("secret", each.result(60)) for each in made)


WITHOUT_THREADS = """
import threading
from vpopsql import passwords
start, started = threading.Thread.start, []
def refuse(thread):
    started.append(thread)
    if len(started) > 1:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refuse
made = passwords.hash_ahead("secret", "sha512-crypt", 1000)
assert passwords.verify("secret", made.result())
assert len(started) == 2
"""


def test_a_process_that_may_have_no_more_threads_makes_hashes_and_ends() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_THREADS], check=True, timeout=60)


def test_a_process_that_is_forked_makes_hashes_ahead_too() -> None:
    hash_ahead("secret", "sha512-crypt", 1000).result()
    child = os.fork()
    if not child:  # pragma: no cover - in another process
        made = hash_ahead("secret", "sha512-crypt", 1000).result(timeout=60)
        os._exit(0 if verify("secret", made) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.usefixtures("no_libcrypt")
@pytest.mark.parametrize("scheme, rounds", [("sha512-crypt", None), ("sha256-crypt", 1000)])
def test_libpass_makes_hashes_that_libcrypt_reads(
    scheme: str, rounds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hash_password("secret", scheme, rounds)
    monkeypatch.undo()

    assert verify("secret", made)


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("secret", "sha512-crypt") != hash_password("secret", "sha512-crypt")


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "*",
        "*0",
        "!",
        "!" + NORTH,
        "*LK*",
        "{CRYPT}",
        "{CRYPT}!" + NORTH,
        "{PLAIN}North!Pass 1",
        "North!Pass 1",
        NORTH[:-1],
        NORTH + "x",
        NORTH + "\n",
        NORTH.replace("$6$", "$9$"),
        NORTH.replace("$6$", "$6$rounds=10$"),
        NORTH.replace("$6$", "$6$rounds=999999999$"),
        NORTH.replace("DtXb6pZA", "DtX\udce96pZA"),
        "$6$$",
        "$2b$04$short",
        "$2b$31$saltstringsaltstringsefRPmv1g7My/GcfVAo7r2InIZEtJMGju",
        "$y$jFT9$/3IE/3IE/3IE/3IE/3IE//$drvC9RWauwtnjVgwzbpgQsjJHWSEeaPy95zxVsA.hP6",
        ARGON2.replace("t=1", "t=0"),
        ARGON2.replace("m=8", "m=1"),
    ],
)
def test_damaged_locked_and_missing_hashes_are_never_verified(stored: str | None) -> None:
    assert not verify("North!Pass 1", stored)


@settings(deadline=None, max_examples=200)
@given(st.text(), st.text())
def test_verifying_any_text_against_any_text_never_raises(password: str, stored: str) -> None:
    assert not verify(password, stored)


@pytest.mark.parametrize("prefix", ["{CRYPT}", "{SHA512-CRYPT}", "{ssha.x}"])
def test_a_prefix_naming_the_scheme_is_ignored(prefix: str) -> None:
    assert verify("North!Pass 1", prefix + NORTH)
    assert scheme_of(prefix + NORTH) == "sha512-crypt"


@pytest.mark.parametrize("password", ["a\0b", "x" * 512, "\ud800"])
def test_a_password_that_crypt_would_cut_short_is_refused(password: str) -> None:
    assert not verify(password, NORTH)
    with pytest.raises(UnusablePassword):
        hash_password(password, "sha512-crypt")


def test_bcrypt_refuses_to_hash_what_it_would_not_read() -> None:
    with pytest.raises(UnusablePassword, match="72"):
        hash_password("x" * 73, "bcrypt", 4)


def test_bcrypt_verifies_long_passwords_as_crypt_does() -> None:
    stored = hash_password("x" * 72, "bcrypt", 4)

    assert verify("x" * 80, stored)


@pytest.mark.parametrize(
    "scheme, rounds", [("md5-crypt", None), ("argon2", 33), ("sha512-crypt", 999)]
)
def test_kinds_and_costs_that_may_not_be_made_are_refused(scheme: str, rounds: int | None) -> None:
    with pytest.raises(ValueError, match=scheme):
        hash_password("secret", scheme, rounds)


@pytest.mark.parametrize(
    "stored, scheme, rounds, expected",
    [
        (NORTH, "sha512-crypt", None, False),
        (NORTH, "sha512-crypt", 6000, True),
        (NORTH, "sha512-crypt", 4000, False),
        (NORTH, "bcrypt", None, True),
        ("{CRYPT}" + NORTH, "sha512-crypt", None, False),
        (KNOWN["sha256-crypt"][1], "sha256-crypt", None, False),
        (KNOWN["sha256-crypt"][1], "sha256-crypt", 10_001, True),
        (KNOWN["md5-crypt"][1], "sha512-crypt", None, True),
        (KNOWN_TO_LIBCRYPT_ONLY["bcrypt"][1], "bcrypt", 4, False),
        (KNOWN_TO_LIBCRYPT_ONLY["bcrypt"][1], "bcrypt", None, True),
        (KNOWN_TO_LIBCRYPT_ONLY["yescrypt"][1], "yescrypt", None, True),
        (KNOWN_TO_LIBCRYPT_ONLY["bcrypt"][1], "sha512-crypt", None, False),
        (ARGON2, "yescrypt", None, False),
        (ARGON2, "argon2", None, True),
        # One round through much memory is no less than two through little.
        (ARGON2.replace("m=8", "m=65536"), "argon2", None, False),
        (ARGON2.replace("m=8", "m=65536"), "argon2", 4, True),
        ("*", "sha512-crypt", None, False),
        ("", "sha512-crypt", None, False),
        ("what", "sha512-crypt", None, False),
    ],
)
def test_a_hash_is_made_anew_for_a_stronger_scheme_or_a_higher_cost(
    stored: str, scheme: str, rounds: int | None, expected: bool
) -> None:
    assert needs_rehash(stored, scheme, rounds) is expected


@pytest.mark.parametrize(
    "stored, kind",
    [("", "empty"), ("{CRYPT}", "empty"), ("*", "locked"), ("!x", "locked"), ("what", "unknown")],
)
def test_what_is_no_hash_has_a_kind_too(stored: str, kind: str) -> None:
    assert scheme_of(stored) == kind


@pytest.mark.parametrize(
    "stored, times",
    [(None, 1), ("", 1), ("*", 1), ("what", 1), (KNOWN["des"][1], 1), (NORTH, 0)],
)
def test_every_failure_costs_a_hash_of_the_default_scheme(
    stored: str | None, times: int, burnt: list[object]
) -> None:
    assert not verify("wrong", stored)

    assert burnt == [None] * times


@pytest.mark.parametrize(
    "stored, made, times",
    [
        (None, ("bcrypt", 4), 1),
        (NORTH, ("bcrypt", 4), 1),
        (NORTH, ("sha512-crypt", 100_000), 1),
        (NORTH, ("sha512-crypt", None), 0),
        (KNOWN_TO_LIBCRYPT_ONLY["bcrypt"][1], ("bcrypt", 4), 0),
        (KNOWN_TO_LIBCRYPT_ONLY["bcrypt"][1], ("sha512-crypt", None), 0),
    ],
)
def test_every_failure_costs_a_hash_as_the_site_makes_them(
    stored: str | None, made: tuple[str, int | None], times: int, burnt: list[object]
) -> None:
    assert not verify("wrong", stored, made)

    assert burnt == [made] * times


def test_success_costs_nothing_more(burnt: list[object]) -> None:
    assert verify(*KNOWN["des"])

    assert burnt == []


def test_burning_takes_as_long_as_a_failing_verification() -> None:
    failed = _seconds(lambda: verify("wrong", NORTH))

    assert failed / 4 < _seconds(burn) < failed * 4
    assert failed / 4 < _seconds(lambda: burn(("sha512-crypt", None))) < failed * 4


def test_this_machine_makes_every_kind_that_may_be_made() -> None:
    assert [scheme for scheme in ROUNDS if not can_hash(scheme)] == []


def test_threads_do_not_disturb_each_other() -> None:
    start = threading.Barrier(8)

    def check(number: int) -> list[bool]:
        stored = hash_password(f"secret {number}", "sha512-crypt", 1000)
        start.wait()
        return [verify(f"secret {number}", stored) for _ in range(50)]

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(check, range(8)))

    assert results == [[True] * 50] * 8


def _seconds(action: Callable[[], object]) -> float:
    """Return the shortest of several runs, which other load disturbs least."""
    action()
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)
