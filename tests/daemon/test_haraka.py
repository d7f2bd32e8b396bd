"""A real Haraka asks the daemon who may send, with its own plugin."""

import os
import smtplib
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests import databases, haraka
from tests.conftest import SHARED, unpack_tree
from tests.daemon.conftest import Running, settings
from tests.sites import import_tree
from vpopsql.db import Database

REQUIRED = os.environ.get("VPOPSQL_TEST_REQUIRE_HARAKA") == "1"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("haraka")]


@pytest.fixture(scope="module")
def port(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a Haraka that asks a daemon over the sample site."""
    shared = request.config.stash[SHARED]
    try:
        program = haraka.install(shared)
    except haraka.NotToBeHad as error:
        say = pytest.fail if REQUIRED else pytest.skip
        say(f"no Haraka: {error}")
    directory = tmp_path_factory.mktemp("haraka")
    url = databases.SQLite(shared, directory).create(migrated=True)
    with closing(Database(url)) as database:
        root = unpack_tree("base", directory)
        import_tree(database, root)
        daemon = Running(settings(url, root), database)
        try:
            with haraka.serving(program, directory / "site", daemon.address) as port:
                yield port
        finally:
            daemon.stop()


def code(port: int, method: str, user: str, password: str) -> int:
    """Return what is answered at last to AUTH."""
    context = ssl.create_default_context(cafile=haraka.CERTIFICATE)
    with smtplib.SMTP("localhost", port, local_hostname="test.example", timeout=60) as client:
        client.starttls(context=context)
        client.ehlo()
        assert method in client.esmtp_features["auth"].split()
        client.user, client.password = user, password
        answers: dict[str, Any] = {
            "PLAIN": client.auth_plain,
            "LOGIN": client.auth_login,
            "CRAM-MD5": client.auth_cram_md5,
        }
        try:
            return client.auth(method, answers[method])[0]
        except smtplib.SMTPAuthenticationError as refused:
            return refused.smtp_code


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_haraka_tells_a_right_password_from_a_wrong_one(port: int, method: str) -> None:
    assert code(port, method, "alice@example.com", "alicepw") == 235
    assert code(port, method, "alice@example.com", "bobpw") == 535
    assert code(port, method, "nobody@example.com", "alicepw") == 535
    assert code(port, method, "alice@example-alias.org", "alicepw") == 235


def test_haraka_logs_in_fifty_at_once(port: int) -> None:
    asked = [
        (port, method, f"{name}@example.com", f"{word}pw")
        for method in ("PLAIN", "LOGIN")
        for name in ("alice", "bob", "carol", "al", "dadmin")
        for word in (name, name, name, "not the ", name)
    ]

    with ThreadPoolExecutor(len(asked)) as clients:
        codes = list(clients.map(lambda one: code(*one), asked))

    assert codes == [235, 235, 235, 535, 235] * 10
