import tomllib
from dataclasses import FrozenInstanceError
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from vpopsql import db, passwords
from vpopsql.cli import cli
from vpopsql.config import Address, Config, Database, explain, keys, load, mask_url, reference
from vpopsql.errors import ConfigError

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
ALLOWED = {key.path: key.allowed for key in keys()}


def write(directory: Path, text: str) -> Path:
    path = directory / "vpopsql.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return str(caught.value).splitlines()


def test_without_file_and_environment_every_key_has_its_default() -> None:
    assert load(environ={}) == Config()


def test_the_file_overrides_the_default_and_the_environment_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[daemon]\nmax_connections = 7\nlogin_attempts = 2\n")

    config = load(path, {"VPOPSQL_DAEMON_LOGIN_ATTEMPTS": "9"})

    assert config.daemon.max_connections == 7
    assert config.daemon.login_attempts == 9
    assert config.daemon.idle_timeout_s == 60


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[log]\nlevel = "debug"\n')

    assert load(environ={"VPOPSQL_CONFIG": str(path)}).log.level == "debug"


def test_the_file_given_outranks_the_one_that_the_environment_names(tmp_path: Path) -> None:
    path = write(tmp_path, '[log]\nlevel = "debug"\n')

    assert load(path, {"VPOPSQL_CONFIG": "/nowhere"}).log.level == "debug"


def test_each_kind_of_value_is_read_from_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [database]
        url = "postgresql://vpopsql:secret@db.example/vpopsql"
        busy_timeout_s = 1.5
        [paths]
        root = "/srv/mail/"
        [daemon]
        listen = "[::1]:8989"
        [passwords]
        store_clear_text = true
        scheme = "bcrypt"
        rounds = 12
        [export]
        reload_command = ["/bin/svc", "-h", "/service/qmail send"]
        """,
    )

    config = load(path, {})

    assert config.database.url == "postgresql://vpopsql:secret@db.example/vpopsql"
    assert config.database.busy_timeout_s == 1.5
    assert config.paths.root == "/srv/mail"
    assert config.daemon.listen == Address("::1", 8989)
    assert config.passwords.store_clear_text is True
    assert config.passwords.rounds == 12
    assert config.export.reload_command == ("/bin/svc", "-h", "/service/qmail send")


def test_each_kind_of_value_is_read_from_the_environment() -> None:
    config = load(
        environ={
            "VPOPSQL_DATABASE_URL": "sqlite:////tmp/x.db",
            "VPOPSQL_PATHS_ROOT": "",
            "VPOPSQL_DAEMON_LISTEN": "localhost:0",
            "VPOPSQL_DAEMON_IDLE_TIMEOUT_S": "0.5",
            "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
            "VPOPSQL_PASSWORDS_ROUNDS": "6000",
            "VPOPSQL_EXPORT_RELOAD_COMMAND": "/bin/svc -h '/service/qmail send'",
        }
    )

    assert config.database.url == "sqlite:////tmp/x.db"
    assert config.paths.root == ""
    assert config.daemon.listen == ("localhost", 0)
    assert config.daemon.idle_timeout_s == 0.5
    assert config.passwords.store_clear_text is True
    assert config.passwords.rounds == 6000
    assert config.export.reload_command == ("/bin/svc", "-h", "/service/qmail send")


def test_hooks_are_a_list_of_commands(tmp_path: Path) -> None:
    path = write(tmp_path, '[hooks]\ncommands = [["/bin/a", "b c"], ["/bin/d"]]\n')

    from_file = load(path, {})
    from_environment = load(environ={"VPOPSQL_HOOKS_COMMANDS": "/bin/a 'b c'\n\n/bin/d\n"})

    expected = (("/bin/a", "b c"), ("/bin/d",))
    assert (from_file.hooks.commands, from_environment.hooks.commands) == (expected, expected)
    assert 'commands = [["/bin/a", "b c"], ["/bin/d"]]' in explain(from_file)


def test_deadlines_are_dates_by_scheme(tmp_path: Path) -> None:
    path = write(tmp_path, "[passwords]\ndeadlines = {md5-crypt = 2027-12-31, des = 2027-06-30}\n")
    in_environment = {"VPOPSQL_PASSWORDS_DEADLINES": "des=2027-06-30 md5-crypt=2027-12-31"}

    from_file, from_environment = load(path, {}), load(environ=in_environment)

    deadlines = from_file.passwords.deadlines
    assert from_environment.passwords.deadlines == deadlines
    assert deadlines.last_day_of("des") == date(2027, 6, 30)
    assert deadlines.last_day_of("bcrypt") is None
    assert "deadlines = { des = 2027-06-30, md5-crypt = 2027-12-31 }" in explain(from_file)


def test_paths_derive_from_the_homes_and_are_real_below_the_root() -> None:
    paths = load(environ={"VPOPSQL_PATHS_ROOT": "/srv", "VPOPSQL_PATHS_QMAIL": "/q/"}).paths

    assert (paths.control, paths.users) == ("/q/control", "/q/users")
    assert paths.real(paths.vpopmail) == Path("/srv/home/vpopmail")


def test_all_mistakes_are_reported_at_once_with_place_key_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        """
        daemon_listen = "x"
        log = 1
        [daemn]
        [daemon]
        listen = "no port"
        idle_timout_s = 3
        """,
    )

    found = mistakes(path, VPOPSQL_EXPORT_UID="many", VPOPSQL_DATABASE_URI="x")

    assert found == [
        f"{path}: unknown section daemon_listen; did you mean daemon?",
        f"{path}: log is a section; write [log]",
        f"{path}: unknown section daemn; did you mean daemon?",
        f"{path}: daemon.listen is 'no port'; allowed: {ALLOWED['daemon.listen']}",
        f"{path}: unknown key daemon.idle_timout_s; did you mean daemon.idle_timeout_s?",
        "environment: unknown variable VPOPSQL_DATABASE_URI; did you mean VPOPSQL_DATABASE_URL?",
        f"environment VPOPSQL_EXPORT_UID: export.uid is 'many'; allowed: {ALLOWED['export.uid']}",
    ]


@pytest.mark.parametrize(
    "key, value",
    [
        ("database.url", "3"),
        ("database.url", '"mysql://h/db"'),
        ("database.url", '"not a url"'),
        ("database.url", '"sqlite://"'),
        ("database.url", '"sqlite:///relative.db"'),
        ("database.url", '"postgresql://host:port/db"'),
        ("database.pool_size", "0"),
        ("database.pool_size", "201"),
        ("database.pool_size", "true"),
        ("database.pool_size", "1.0"),
        ("database.busy_timeout_s", "true"),
        ("daemon.drain_timeout_s", "false"),
        ("database.busy_timeout_s", "nan"),
        ("database.busy_timeout_s", "inf"),
        ("database.busy_timeout_s", '"30"'),
        ("paths.root", '"srv"'),
        ("paths.root", '"/"'),
        ("paths.vpopmail", '""'),
        ("paths.vpopmail", '"/home/../etc"'),
        ("paths.qmail", '"/a:b"'),
        ("paths.qmail", '"/a\\nb"'),
        ("daemon.listen", '":89"'),
        ("daemon.listen", '"127.0.0.1:65536"'),
        ("daemon.listen", '"::1:89"'),
        ("daemon.listen", "89"),
        ("passwords.store_clear_text", "1"),
        ("passwords.store_clear_text", '"true"'),
        ("passwords.scheme", '"argon2i"'),
        ("passwords.scheme", "6"),
        ("passwords.rounds", "0"),
        ("export.reload_command", '"/bin/true"'),
        ("export.reload_command", '["true"]'),
        ("export.reload_command", '["/bin/true", 1]'),
        ("hooks.commands", '["/bin/true"]'),
        ("passwords.deadlines", "{rot13 = 2027-06-30}"),
        ("passwords.deadlines", '{des = "2027-06-30"}'),
        ("passwords.deadlines", "{des = 2027-06-30T00:00:00}"),
        ("passwords.deadlines", "[]"),
        ("daemon.auth_socket", '"run/auth"'),
        ("daemon.auth_socket", f'"/{"x" * 107}"'),
        ("daemon.auth_socket_mode", '"0777"'),
        ("hooks.commands", "[[]]"),
        ("hooks.commands", '[["true"]]'),
        ("hooks.commands", '[["/bin/true"], ["/bin/true"]]'),
        ("follow.poll_s", "0"),
        ("log.level", '"INFO"'),
    ],
)
def test_a_value_out_of_what_is_allowed_is_one_mistake(
    key: str, value: str, tmp_path: Path
) -> None:
    section, name = key.split(".")
    path = write(tmp_path, f"[{section}]\n{name} = {value}\n")

    found = mistakes(path)

    assert len(found) == 1
    assert found[0].startswith(f"{path}: {key} is")
    assert "; allowed: " in found[0]


@pytest.mark.parametrize(
    "variable, text",
    [
        ("VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT", "yes"),
        ("VPOPSQL_PASSWORDS_ROUNDS", ""),
        ("VPOPSQL_EXPORT_RELOAD_COMMAND", "'/bin/true"),
        ("VPOPSQL_EXPORT_UID", "root"),
    ],
)
def test_a_variable_out_of_what_is_allowed_is_one_mistake(variable: str, text: str) -> None:
    found = mistakes(None, **{variable: text})

    assert len(found) == 1
    assert found[0].startswith(f"environment {variable}: ")


@pytest.mark.parametrize("scheme, rounds", [("bcrypt", 5000), ("sha512-crypt", 12)])
def test_rounds_must_fit_the_scheme(scheme: str, rounds: int, tmp_path: Path) -> None:
    path = write(tmp_path, f'[passwords]\nscheme = "{scheme}"\nrounds = {rounds}\n')

    (found,) = mistakes(path)

    assert found.startswith(f"{path}: passwords.rounds is {rounds}; allowed with {scheme}: ")


def test_a_wrong_scheme_is_not_also_reported_as_wrong_rounds() -> None:
    found = mistakes(VPOPSQL_PASSWORDS_SCHEME="rot13", VPOPSQL_PASSWORDS_ROUNDS="12")

    assert len(found) == 1


def test_a_scheme_that_this_machine_cannot_make_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passwords, "_libcrypt_knows", lambda _scheme: False)

    (found,) = mistakes(VPOPSQL_PASSWORDS_SCHEME="yescrypt")

    assert found.startswith("environment VPOPSQL_PASSWORDS_SCHEME: passwords.scheme yescrypt")


@pytest.mark.parametrize("text", ["[daemon", "\udcff"])
def test_a_file_that_is_no_toml_is_one_mistake(text: str, tmp_path: Path) -> None:
    path = tmp_path / "vpopsql.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    (found,) = mistakes(path)

    assert found.startswith(f"{path}: is not TOML: ")


def test_a_missing_file_is_one_mistake_beside_those_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"

    found = mistakes(path, VPOPSQL_LOG_LEVEL="loud")

    assert found[0] == f"{path}: cannot be read: No such file or directory"
    assert len(found) == 2


def test_variables_of_the_test_suite_are_no_mistake() -> None:
    assert load(environ={"VPOPSQL_TEST_POSTGRESQL_URL": "x", "HOME": "/"}) == Config()


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        load(environ={}).log.level = "debug"  # type: ignore[misc]


@pytest.mark.parametrize(
    "url, shown",
    [
        ("sqlite:////var/x@y.db", "sqlite:////var/x@y.db"),
        ("postgresql://joe@h/db", "postgresql://joe@h/db"),
        ("postgresql://joe:secret@h:1/db", "postgresql://joe:***@h:1/db"),
        ("postgresql://:secret@h/db", "postgresql://:***@h/db"),
        ("postgresql://joe:se/c@ret@h/db", "postgresql://joe:***@h/db"),
        ("postgresql:///db?password=secret&user=joe", "postgresql:///db?password=***&user=joe"),
        (
            "postgresql:///db?user=joe&sslpassword=secret",
            "postgresql:///db?user=joe&sslpassword=***",
        ),
    ],
)
def test_a_masked_url_has_no_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_no_repr_explanation_or_mistake_shows_the_password() -> None:
    config = load(environ={"VPOPSQL_DATABASE_URL": "postgresql://joe:secret@h/db"})

    assert "secret" not in repr(config)
    assert "secret" not in repr(Database("postgresql://joe:secret@h/db"))
    assert "secret" not in explain(config)
    assert "secret" not in mistakes(VPOPSQL_DATABASE_URL="mysql://joe:secret@h/db")[0]
    assert "secret" not in mistakes(VPOPSQL_DATABASE_URL="postgresql://joe:secret@h:x/db")[0]


def test_the_explanation_names_every_value_and_its_origin(tmp_path: Path) -> None:
    path = write(tmp_path, '[daemon]\nlisten = "[::1]:8989"\n')

    lines = explain(load(path, {"VPOPSQL_EXPORT_GID": "90"})).splitlines()

    assert [line.split("  #")[0].strip() for line in lines if str(path) in line] == [
        'listen = "[::1]:8989"'
    ]
    assert [line.split() for line in lines if "gid" in line] == [
        ["gid", "=", "90", "#", "environment", "VPOPSQL_EXPORT_GID"]
    ]
    assert len([line for line in lines if line.endswith("# default")]) == len([*keys()]) - 2


def test_the_explanation_is_a_configuration_file_again(tmp_path: Path) -> None:
    config = load(
        environ={
            "VPOPSQL_PASSWORDS_STORE_CLEAR_TEXT": "true",
            "VPOPSQL_EXPORT_RELOAD_COMMAND": '/bin/x "a \\" b" ü',
            "VPOPSQL_DAEMON_IDLE_TIMEOUT_S": "0.25",
        }
    )

    assert load(write(tmp_path, explain(config)), {}) == config


def test_the_manual_describes_every_key_as_it_is() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").endswith("-->\n\n" + reference())


def test_the_example_in_the_manual_is_valid(tmp_path: Path) -> None:
    example = DOCUMENT.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]

    assert tomllib.loads(example)
    assert load(write(tmp_path, example), {}).daemon.listen == Address("::1", 89)


# --- the password's file, and what is asked of the host ---------------------------------------


def test_the_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("se@ret/\n# a comment\n", encoding="utf-8")

    config = load(
        environ={
            "VPOPSQL_DATABASE_URL": "postgresql://joe@h/db",
            "VPOPSQL_DATABASE_PASSWORD_FILE": f"{tmp_path}/password",
        }
    )

    assert make_url(config.database.url).password == "se@ret/"
    assert "se@ret" not in repr(config) + explain(config)
    assert "se%40ret" not in repr(config) + explain(config)


@pytest.mark.parametrize(
    "url, file, said",
    [
        ("postgresql://joe@h/db", "/nowhere/p", "/nowhere/p: cannot be read: No such file"),
        ("postgresql://joe:x@h/db", "/nowhere/p", "database.url has a password: leave it out"),
        ("sqlite:////x/y.db", "/nowhere/p", "database.url names no PostgreSQL"),
    ],
)
def test_a_password_that_cannot_be_had_is_a_mistake(url: str, file: str, said: str) -> None:
    (found,) = mistakes(VPOPSQL_DATABASE_URL=url, VPOPSQL_DATABASE_PASSWORD_FILE=file)

    assert found.startswith("environment VPOPSQL_DATABASE_PASSWORD_FILE: database.password_file")
    assert said in found


def checked(**environ: str) -> tuple[int, list[str]]:
    result = CliRunner(env=environ).invoke(cli, ["config", "check"])
    return result.exit_code, result.output.splitlines()


def test_a_host_that_fits_has_no_mistakes(root: Path) -> None:
    db.upgrade(f"sqlite:///{root}/site.db")

    found = checked(VPOPSQL_DATABASE_URL=f"sqlite:///{root}/site.db", VPOPSQL_PATHS_ROOT=str(root))

    assert found == (0, ["no mistakes"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the directories of a site are."""
    for path in ("home/vpopmail/domains", "var/qmail/control", "var/qmail/users"):
        (tmp_path / path).mkdir(parents=True)
    return tmp_path


def test_all_mistakes_of_the_host_are_reported_at_once(root: Path) -> None:
    (root / "var/qmail/users").rmdir()
    password, program = root / "password", root / "program"
    for path in (password, program):
        path.write_text("x", encoding="utf-8")
    password.chmod(0o644)

    code, found = checked(
        VPOPSQL_DATABASE_URL=f"postgresql://joe@h/db?host={root}",
        VPOPSQL_DATABASE_PASSWORD_FILE=str(password),
        VPOPSQL_PATHS_ROOT=str(root),
        VPOPSQL_EXPORT_RELOAD_COMMAND=str(program),
        VPOPSQL_HOOKS_COMMANDS="/nowhere/hook x",
    )

    assert code == 1
    assert found[0] == f"{password}: everybody can read it, and there are secrets in it: chmod o-r"
    assert found[1].startswith("database.url: postgresql://joe:***@h/db")
    assert found[2:] == [
        f"{root}/var/qmail/users: no such directory: see [paths]",
        f"export.reload_command: {program}: no such program, or not for this user",
        "hooks.commands: /nowhere/hook: no such program, or not for this user",
    ]


def test_mistakes_of_the_settings_come_first(tmp_path: Path) -> None:
    path = write(tmp_path, "[demon]\n[daemon]\nlisten = 3\n")

    code, found = checked(VPOPSQL_CONFIG=str(path))

    assert (code, len(found)) == (1, 2)
    assert found[0] == f"{path}: unknown section demon; did you mean daemon?"


def test_a_file_with_a_password_is_not_for_everybody(root: Path) -> None:
    path = write(root, f'[database]\nurl = "postgresql://joe:x@h/db?host={root}"\n')
    path.chmod(0o644)

    _, found = checked(VPOPSQL_CONFIG=str(path), VPOPSQL_PATHS_ROOT=str(root))

    assert found[0] == f"{path}: everybody can read it, and there are secrets in it: chmod o-r"
