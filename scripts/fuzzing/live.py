"""Lines that nobody would send, to a daemon on a socket, over several connections at once.

Each connection sends batches without waiting for answers. Behind each comes a *sentinel*, a
command whose answer is known and another one for each batch, so that one that is missing or late
would be seen. Of every other batch, which has no lines that belong to another,
the answers are counted as well: one for each line that is not blank.
"""

import contextlib
import itertools
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.fuzzing import Broken, require
from scripts.fuzzing.mutation import Mutator
from scripts.fuzzing.stages import PASSWORD, ROLES, SENTINELS, make_site, require_outside
from scripts.fuzzing.targets import corpus_of
from scripts.fuzzing.words import WORDS
from scripts.serving import Daemon, DaemonFailed
from vpopsql.client import ClientError, commands, connect
from vpopsql.client.replies import ReplyReader
from vpopsql.daemon.commands import COMMANDS, INTERNAL_ERROR, QUIT_VERBS
from vpopsql.daemon.server import THREADS
from vpopsql.daemon.workers import usual_workers
from vpopsql.protocol import HTTP_VERBS, decode, parse_command

_BATCH = 250
"""Lines sent at once."""
_POOL = 3000
"""Lines that are made at once; a batch takes some of them."""
_BATCHES_OF_A_POOL = 60
_PATIENCE_S = 60.0
_TRIES = 10
"""To log in, with an account that others change meanwhile."""

_SAMPLES = 12
"""How often the daemon is looked at while it runs, besides the beginning and the end."""

_ENDS = {*QUIT_VERBS, *HTTP_VERBS}
_WITH_BODY = {verb.encode() for verb, command in COMMANDS.items() if command.has_body}
_CHANGING = tuple(f"{verb} ".encode() for verb in ("add_domain", "del_domain", "add_user"))


class _Run:
    """What the connections share."""

    def __init__(self, port: int, lines: int, seconds: float, seed: int) -> None:
        self.port = port
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.defect: str | None = None
        self._left = lines
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._mending = threading.Lock()

    def take(self) -> bool:
        """Tell whether there is to be another batch."""
        with self._lock:
            self._left -= _BATCH
            is_over = self._left <= -_BATCH or time.monotonic() > self._deadline
            return not is_over and self.defect is None

    def count(self, **numbers: int) -> None:
        """Add to the counts."""
        with self._lock:
            self.counts.update(numbers)

    def mend(self) -> None:
        """Make the accounts again that somebody has deleted or changed."""
        again = (
            commands.add_domain("example.com", PASSWORD),
            commands.add_user("alice@example.com", PASSWORD),
            *(commands.mod_user(address, password=PASSWORD) for address in ROLES[1:]),
        )
        with self._mending, connect(port=self.port, timeout_s=_PATIENCE_S) as client:
            client.login(ROLES[0], PASSWORD)
            for _ in client.run_all(again):
                pass


class _Connection(threading.Thread):
    def __init__(self, number: int, run: _Run) -> None:
        super().__init__(daemon=True)
        self._run = run
        self._role = ROLES[number % len(ROLES)]
        self._rng = random.Random(f"{run.seed} {number}")  # noqa: S311 - must be repeatable
        self._batches = itertools.count()
        words = [word for word in WORDS if not word.startswith(_CHANGING)]
        self._mutator = Mutator(f"{run.seed} {number} lines", words)
        kept = [data[1:] for data in corpus_of("conversation").values()]
        self._seeds = [line for data in kept for line in data.split(b"\n") if line] or [b"help"]
        self._pool: list[bytes] = []
        self._socket: socket.socket | None = None

    def run(self) -> None:
        """Send batches until it is enough."""
        try:
            while self._run.take():
                self._batch(next(self._batches))
            self._hang_up()
        except (Broken, OSError, ClientError) as error:
            self._run.defect = self._run.defect or f"{type(error).__name__}: {error}"

    def _lines(self, number: int) -> list[bytes]:
        if number % _BATCHES_OF_A_POOL == 0:
            made = (self._mutator.make(self._seeds) for _ in range(_POOL))
            self._pool = [line for data in made for line in data.split(b"\n")]
        return self._rng.choices(self._pool, k=_BATCH)

    def _batch(self, number: int) -> None:
        lines = self._lines(number)
        is_counted = number % 2 == 0
        if is_counted:
            lines = [line for line in lines if _is_alone(line)]
        connection = self._connected()
        address = SENTINELS[number % len(SENTINELS)]
        wanted = f"+OK+\r\n{address} sentinel.example\r\n.\r\n".encode()
        sent = b"".join(line + b"\n" for line in lines) + f".\nget_ip_map {address}\n".encode()
        said = self._exchange(connection, sent, wanted)
        require(INTERNAL_ERROR.status.encode() not in said, "no internal error")
        if not said.endswith(wanted):
            ends = [line for line in lines if _verb(line) & _ENDS]
            require(ends, f"the daemon hangs up when told to: {said[-300:]!r}")
            self._run.count(hang_ups=1)
            self._hang_up()
        elif is_counted:
            due = sum(1 for line in lines if _verb(line) or b"\0" in line) + 1
            found = len(list(ReplyReader().feed(said[: len(said) - len(wanted)])))
            require(found == due, f"{due} answers to {due} lines, there are {found}")
            self._run.count(answers_counted=found)
        self._run.count(lines=len(lines) + 2, batches=1)

    def _exchange(self, connection: socket.socket, sent: bytes, wanted: bytes) -> bytes:
        """Send, and read meanwhile, until the sentinel has its answer or the daemon hangs up."""
        said = bytearray()
        deadline = time.monotonic() + _PATIENCE_S
        connection.settimeout(_PATIENCE_S)
        sender = threading.Thread(target=_send, args=(connection, sent), daemon=True)
        sender.start()
        while not said.endswith(wanted):
            if time.monotonic() > deadline:
                raise Broken(f"no answer to the sentinel: {bytes(said[-300:])!r}")
            try:
                data = connection.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            except TimeoutError:
                raise Broken(f"no answer to the sentinel: {bytes(said[-300:])!r}") from None
            if not data:
                break
            said += data
        sender.join()
        return bytes(said)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            answer = b""
            for _ in range(_TRIES):
                made = socket.create_connection(("127.0.0.1", self._run.port), _PATIENCE_S)
                made.sendall(f"slogin {self._role} {PASSWORD}\n".encode())
                said = made.makefile("rb")
                if said.readline() and (answer := said.readline()).startswith(b"+OK"):
                    self._socket = made
                    break
                made.close()
                self._run.mend()
            else:
                raise Broken(f"{self._role} cannot log in: {answer!r}")
        return self._socket

    def _hang_up(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def _verb(line: bytes) -> set[str]:
    verb = parse_command(decode(line))[0]
    return {verb} if verb else set()


def _is_alone(line: bytes) -> bool:
    """Tell whether a line is answered at once, and followed by no lines of its own."""
    return not (_verb(line) & _ENDS) and not any(verb in line.lower() for verb in _WITH_BODY)


def run(lines: int, seconds: float, connections: int, seed: int) -> dict[str, Any]:
    """Send lines to a daemon of its own; return what was counted and measured.

    :param lines: so many, or fewer if they take longer than ``seconds``.

    :raises Broken: an answer is missing, or is one too many; or the daemon is not as it was.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vpopsql-fuzz-") as name,
        _serving(Path(name)) as there,
    ):
        directory, daemon = Path(name), there
        state = _Run(daemon.port, lines, seconds, seed)
        began = time.monotonic()
        before = daemon.measures()
        threads = [_Connection(number, state) for number in range(connections)]
        for thread in threads:
            thread.start()
        samples = [before]
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            daemon.forget_log()
            if state.counts["lines"] >= lines * len(samples) / _SAMPLES:
                samples.append(daemon.measures())
        if state.defect:
            raise Broken(state.defect)
        time.sleep(0.5)
        after = daemon.measures()
        daemon.forget_log()
        require_outside(directory)
        # In each worker a connection to a client may be one for reading and one for writing
        # to SQLite, of three descriptors each; they are kept, and used again.
        most = before["database_descriptors"] + 6 * (connections + 2) * usual_workers()
        # Threads that made up for others end when something happens to them.
        made_up = THREADS * usual_workers()
        so_far = f"after {state.counts['lines']} lines: {before}, {after}"
        require(after["database_descriptors"] <= most, f"no connection leaks {so_far}")
        require(after["descriptors"] <= before["descriptors"], f"no descriptor leaks {so_far}")
        require(after["threads"] <= before["threads"] + made_up, f"no thread is left {so_far}")
        return {
            **state.counts,
            "connections": connections,
            "seed": seed,
            "seconds": round(time.monotonic() - began, 1),
            "samples": [*samples, after],
        }


@contextlib.contextmanager
def _serving(directory: Path) -> Iterator[Daemon]:
    url = f"sqlite:///{directory}/vpopsql.db"
    make_site(directory, url)
    settings = {
        "VPOPSQL_DATABASE_URL": url,
        "VPOPSQL_PATHS_ROOT": str(directory / "root"),
        "VPOPSQL_DAEMON_LISTEN": "127.0.0.1:0",
        "VPOPSQL_PASSWORDS_SCHEME": "sha512-crypt",
        "VPOPSQL_PASSWORDS_ROUNDS": "1000",
    }
    try:
        daemon = Daemon(settings, directory / "daemon.log")
        try:
            yield daemon
        finally:
            daemon.stop()
    except DaemonFailed as error:
        raise Broken(str(error)) from None
