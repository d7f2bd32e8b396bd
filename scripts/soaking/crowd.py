"""What all clients of a run share, and the threads that they are."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from scripts.soaking import Wrong
from scripts.soaking.ours import AWAY, PASSWORD, ROLES, SYSTEM, USERS, Domain, Step, Talk, expect
from vpopsql.client import Client, ClientError, Refused, connect

PATIENCE_S = 60.0
"""How long an answer may take on a machine that has much else to do."""

SLOW_S = 1.0
"""What takes longer is counted."""

_PUT_OFF_MOST = 0.1
"""The part of all steps that may be put off, as the machine has too much else to do."""

_ROLES = ("postmaster", "postmaster", "postmaster", SYSTEM, USERS[0])
_SESSION_STEPS = (5, 60)


class Crowd:
    """Clients that come together and leave together.

    :param port: where the daemon listens, on loopback.
    :param pause_s: how long a client that has a domain of its own waits between two steps, on
        average.
    """

    def __init__(self, port: int, pause_s: float, seed: int) -> None:
        self.port = port
        self.pause_s = pause_s
        self.seed = seed
        self.defect: str | None = None
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._serial = itertools.count(1)

    @property
    def serial(self) -> "itertools.count[int]":
        """Return numbers, none of which comes twice."""
        return self._serial

    @property
    def is_over(self) -> bool:
        """Tell whether it is time to leave."""
        return self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, unless it is time to leave."""
        self._over.wait(seconds)

    def count(self, what: str, number: int = 1) -> None:
        """Count what has happened."""
        with self._lock:
            self.counts[what] += number

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count an exchange, and how long it took."""
        began = time.monotonic()
        yield
        took_s = time.monotonic() - began
        with self._lock:
            self.counts[what] += 1
            self.counts["slow"] += took_s > SLOW_S
            self.slowest_s = max(self.slowest_s, took_s)

    @contextmanager
    def present(self, members: "list[Member]") -> Iterator[None]:
        """Let members come, and wait until all have left."""
        self._over.clear()
        for member in members:
            member.start()
        try:
            yield
        finally:
            self._over.set()
            deadline = time.monotonic() + 2 * PATIENCE_S
            for member in members:
                member.join(max(0.0, deadline - time.monotonic()))
                if member.is_alive():
                    self.defect = self.defect or f"{member.name} does not come to its end"


class Member(threading.Thread):
    """One thread of a crowd, which does its work over and over until it is time to leave."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._crowd = crowd
        self._rng = random.Random(f"{crowd.seed} {name}")  # noqa: S311 - must be repeatable

    def run(self) -> None:
        """Work; note the first defect."""
        try:
            while not (self._crowd.is_over or self._crowd.defect):
                self.work()
        except (Wrong, ClientError, OSError) as error:
            found = f"{self.name}: {type(error).__name__}: {error}"
            self._crowd.defect = self._crowd.defect or found
        finally:
            self.leave()

    def work(self) -> None:
        """Do something that does not take long."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close what is open."""


class Owner(Member):
    """A client that changes what is its own alone, in one session after the other."""

    def __init__(self, crowd: Crowd, domain: Domain) -> None:
        super().__init__(crowd, f"owner of {domain.name}")
        self._domain = domain

    def work(self) -> None:
        """Have one session."""
        crowd, rng = self._crowd, self._rng
        self._pause()
        if crowd.is_over:
            return
        role = rng.choice(_ROLES)
        address = role if "@" in role else f"{role}@{self._domain.name}"
        with connect(port=crowd.port, timeout_s=PATIENCE_S) as client:
            try:
                with crowd.timed("logins"):
                    client.login(address, PASSWORD, verb=rng.choice(("slogin", "clogin")))
            except Refused as refused:
                expect(refused.code, AWAY, f"login of {address}")
                self._put_off()
                return
            self._converse(client, ROLES[role])

    def _put_off(self) -> None:
        self._crowd.count("put off")
        if self._crowd.counts["put off"] > _PUT_OFF_MOST * (self._crowd.counts["steps"] + 1000):
            raise Wrong("more is put off than the machine can be to blame for")
        # Also when it is time to leave: what has begun is finished.
        time.sleep(1)

    def _converse(self, client: Client, steps: Sequence[Step]) -> None:
        talk = Talk(client, self._domain, self._rng, self._crowd.serial, self._put_off)
        for _ in range(self._rng.randrange(*_SESSION_STEPS)):
            self._pause()
            if self._crowd.is_over:
                return
            with self._crowd.timed("steps"):
                self._rng.choice(steps)(talk)

    def _pause(self) -> None:
        # So that they do not fall into step, and never so long that the daemon lets go of them.
        pause_s = self._crowd.pause_s
        self._crowd.wait(min(self._rng.expovariate(1 / pause_s), 4 * pause_s))
