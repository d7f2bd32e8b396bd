"""The transport of one worker process: connections that wait cost no thread, those that speak do.

All sockets are in one epoll, which a few threads wait at. Whoever is given a socket that is ready
goes on with its connection until that would have to wait again. Threads that are held up, by
another writer or a slow disk, are made up for by new ones, so they hold up nobody else.

Workers share the socket that is listened on. Whoever accepts a connection hands it over to the
worker that has the fewest, so that a few clients that stay are spread evenly, too.
"""

import contextlib
import functools
import os
import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

import structlog

from vpopsql.config import Address
from vpopsql.daemon.admission import HEADER_S, Admission, Ends
from vpopsql.daemon.connection import OVER, READABLE, WRITABLE, Connection
from vpopsql.daemon.conversation import TOO_MANY_CONNECTIONS, Service
from vpopsql.daemon.encryption import HANDSHAKE_S, Certificate
from vpopsql.daemon.roster import Place, Roster, usual_form
from vpopsql.errors import CannotListen, TooManyConnections

THREADS = 2
"""Threads that are not held up, in one process.

One goes on while the other waits for the database. With four, which hand Python's lock to one
another all the time, there were a sixth fewer logins of eight clients at once.
"""

_HELD_UP_S = 0.02
"""How long a thread may be at work before another one makes up for it."""

_SWEEP_S = 0.05
"""How often at most it is looked whose time is up."""

_BACKLOG = 1024
"""Connections that the kernel accepts for us; it cuts the number to what the system allows."""

_DESCRIPTOR = struct.Struct("i")
"""A descriptor as it is sent from one process to another."""

_HANDED_OVER = struct.Struct("?IIQ")
"""What is sent with it: whether TLS is spoken from the beginning, and the place in the roster."""

_COMES = READABLE | select.EPOLLET
"""For what connections come by: one thread is woken for each, not all that wait."""

_AFTER_FAILURE_S = 0.1
"""How long to accept nothing when that failed, usually for want of descriptors."""


class Listener(socketserver.TCPServer):
    """A socket that is listened on, whose connections go to a worker instead of a thread.

    It does not wait by itself: the threads of a worker wait for everything at once, and call
    `accept` when a connection may be there.

    :param there: an address, or a socket that listens already.
    :param is_tls: whether TLS is spoken there from the beginning.
    :param key: the setting that has the address.
    :raises CannotListen: the address cannot be had.
    """

    allow_reuse_address = True
    request_queue_size = _BACKLOG

    def __init__(
        self, there: Address | socket.socket, *, is_tls: bool = False, key: str = "daemon.listen"
    ) -> None:
        self.is_tls = is_tls
        self.worker: Server | None = None
        """Who serves the connections, in this process."""
        if isinstance(there, socket.socket):
            super().__init__(there.getsockname()[:2], _served_by_worker, bind_and_activate=False)
            self.socket.close()
            self.socket = there
            self.server_address = there.getsockname()
            return
        self.address_family = socket.AF_INET6 if ":" in there.host else socket.AF_INET
        try:
            super().__init__((there.host, there.port), _served_by_worker)
        except OSError as error:
            raise CannotListen(f"{key}: cannot listen on {there}: {error}") from error

    @property
    def port(self) -> int:
        """Return the port that is listened on, also when the system chose it."""
        return int(self.socket.getsockname()[1])

    def accept(self) -> bool:
        """Take a connection; tell whether one was there.

        :raises OSError: none can be taken for now.
        """
        try:
            request, client = self.get_request()
        except BlockingIOError:
            return False
        except ConnectionError:
            # The client has gone.
            return True
        self.process_request(request, client)
        return True

    def process_request(self, request: object, client_address: object) -> None:
        """Give a connection to the worker, who ends it."""
        del client_address
        if self.worker is None:
            raise AssertionError("connections are served once there is a worker")
        self.worker.take(cast("socket.socket", request), is_tls=self.is_tls)


def _served_by_worker(*_request: object) -> NoReturn:
    raise AssertionError("process_request gives connections to a worker")


class Server:
    """What one process serves, from `start` until `stop`.

    :param listeners: where connections come from; the caller closes them.
    :param roster: who is connected to all workers; None: there is only this one.
    :param number: of this worker, from 0.
    :param inboxes: one for each worker, through which others hand it connections: what it
        receives from, and what they send to.
    :param certificate: None: there is no TLS.
    """

    def __init__(
        self,
        service: Service,
        listeners: Sequence[Listener],
        roster: Roster | None = None,
        number: int = 0,
        inboxes: Sequence[tuple[socket.socket, socket.socket]] = (),
        certificate: Certificate | None = None,
    ) -> None:
        self.service = service
        self._settings = service.config.daemon
        self._listeners = listeners
        self._roster = roster or Roster(self._settings.max_connections)
        self._certificate = certificate
        self._admission = Admission(service, self._roster, certificate)
        self._number = number
        self._inbox = inboxes[number][0] if inboxes else None
        self._outboxes = [there for _, there in inboxes]
        self._log = structlog.get_logger("vpopsql.daemon")
        self._open: dict[int, Connection] = {}
        self._parked: dict[int, Connection] = {}
        """Those that wait; whoever takes one out has it to himself."""
        self._busy: dict[int, float] = {}
        """Which threads are at work, and since when."""
        self._threads: set[threading.Thread] = set()
        self._looking = threading.Thread(target=self._look_after, name="timeouts", daemon=True)
        self._is_crowded = threading.Event()
        """Set when all threads are at work, and to stop."""
        self._is_open = True
        """Whether connections are still taken."""
        self._is_stopping = False
        self._closed = threading.Condition()
        self._epoll = select.epoll()
        self._over = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @property
    def port(self) -> int:
        """Return the port that is listened on, also when the system chose it."""
        return self._listeners[0].port

    # --- beginning and end ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve, in threads of its own."""
        self._epoll.register(self._over, READABLE)
        for listener in self._listeners:
            listener.worker = self
            # What is accepted has it, too.
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.socket.setblocking(False)  # noqa: FBT003 - takes no keyword
            self._epoll.register(listener.socket, _COMES | select.EPOLLEXCLUSIVE)
        if self._inbox:
            self._epoll.register(self._inbox, _COMES)
        for _ in range(THREADS):
            self._add_thread()
        self._roster.join(self._number)
        self._looking.start()

    def stop(self) -> None:
        """Stop accepting, let every running command finish, then close what is left."""
        self._is_open = False
        for listener in self._listeners:
            self._epoll.unregister(listener.socket)
        if self._inbox:
            self._epoll.unregister(self._inbox)
        deadline = time.monotonic() + self._settings.drain_timeout_s
        while self._open and (left := deadline - time.monotonic()) > 0:
            # Again and again, for those that are at work meanwhile.
            for connection in list(self._parked.values()):
                connection.hurry()
                if connection.waits_for == READABLE and self._take(connection):
                    self._park(connection, READABLE | WRITABLE)
            with self._closed:
                if self._open:
                    self._closed.wait(min(left, _SWEEP_S))
        if self._open:
            self._log.warning("connections cut off", count=len(self._open))
        self._is_stopping = True
        os.eventfd_write(self._over, 1)
        self._is_crowded.set()
        # Once it has ended nobody starts another thread.
        self._looking.join()
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        os.close(self._over)

    def reload(self) -> None:
        """Read the certificate again, for connections from now on."""
        if self._certificate:
            self._certificate.reload()

    # --- threads --------------------------------------------------------------------------------

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="client", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        """Go on with whatever is ready, one after the other."""
        me = threading.current_thread()
        busy, number = self._busy, threading.get_ident()
        inputs: dict[int, Callable[[], object]] = {
            each.fileno(): functools.partial(self._accept, each) for each in self._listeners
        }
        if self._inbox:
            inputs[self._inbox.fileno()] = functools.partial(self._receive_all, self._inbox)
        while not self._is_stopping:
            # One at a time: what else is ready is for the other threads.
            for descriptor, _ in self._epoll.poll(maxevents=1):
                busy[number] = time.monotonic()
                if len(busy) >= len(self._threads) and not self._is_crowded.is_set():
                    self._is_crowded.set()
                try:
                    if connection := self._parked.pop(descriptor, None):
                        self._go_on(connection, connection.proceed)
                    elif descriptor in inputs:
                        inputs[descriptor]()
                except Exception:  # noqa: BLE001 - the thread goes on, and says what it was
                    self._log.exception("transport broke")
                finally:
                    del busy[number]
            if len(self._threads) > THREADS and len(busy) < THREADS:
                # It has made up for another one, which is back.
                break
        self._threads.discard(me)

    def _look_after(self) -> None:
        """End what has waited too long, and make up for threads that are held up."""
        pause = 0.0
        while not self._is_stopping:
            if self._is_crowded.wait(pause):
                time.sleep(_HELD_UP_S)
                self._is_crowded.clear()
                since = time.monotonic() - _HELD_UP_S
                held_up = sum(began < since for began in list(self._busy.values()))
                most = self._settings.max_connections + THREADS
                for _ in range(min(THREADS + held_up, most) - len(self._threads)):
                    self._add_thread()
                if len(self._busy) >= len(self._threads):
                    # They have all begun meanwhile, and will say nothing more if they are held up.
                    self._is_crowded.set()
            pause = max(self._sweep() - time.monotonic(), _SWEEP_S)

    def _sweep(self) -> float:
        """End what has waited too long; return when to look again."""
        now = time.monotonic()
        # No connection that comes meanwhile has less time.
        following = now + min(self._settings.idle_timeout_s, HANDSHAKE_S, HEADER_S)
        for connection in list(self._parked.values()):
            if connection.deadline > now:
                following = min(following, connection.deadline)
            elif self._take(connection):
                if connection.deadline <= now:
                    connection.give_up()
                    self._park(connection, READABLE | WRITABLE)
                    # Whoever has just parked it may yet ask for less.
                    following = now
                else:
                    self._park(connection, connection.waits_for)
        return following

    # --- connections ----------------------------------------------------------------------------

    def _accept(self, listener: Listener) -> None:
        """Take all connections that are there."""
        is_one_there = True
        while is_one_there and self._is_open:
            try:
                is_one_there = listener.accept()
            except OSError as error:
                self._log.error("cannot accept", error=str(error))
                time.sleep(_AFTER_FAILURE_S)

    def take(self, accepted: socket.socket, *, is_tls: bool) -> None:
        """Serve a connection, or have a worker serve it who has fewer."""
        try:
            place = self._roster.enter(self._number, spread=bool(self._outboxes))
        except TooManyConnections as error:
            self._refuse(accepted, str(error), is_tls=is_tls)
            return
        if place.worker != self._number:
            message = _HANDED_OVER.pack(is_tls, *place)
            try:
                socket.send_fds(self._outboxes[place.worker], [message], [accepted.fileno()])
            except OSError:
                # It has more than it can take already.
                self._roster.move(place, self._number)
            else:
                accepted.close()
                return
        self._begin(accepted, place.row, is_tls=is_tls)

    def _receive_all(self, inbox: socket.socket) -> None:
        """Take the connections that other workers have accepted."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._receive(inbox)

    def _receive(self, inbox: socket.socket) -> None:
        """Take a connection that another worker has accepted. :raises BlockingIOError: none."""
        message, ancillary, _, _ = inbox.recvmsg(
            _HANDED_OVER.size, socket.CMSG_LEN(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC
        )
        for _, _, data in ancillary:
            accepted = socket.socket(fileno=_DESCRIPTOR.unpack(data)[0])
            is_tls, *numbers = _HANDED_OVER.unpack(message)
            place = Place(*numbers)
            try:
                if not self._roster.is_held(place):
                    # It was meant for a worker that has been killed.
                    place = self._roster.enter(self._number)
            except TooManyConnections as error:
                self._refuse(accepted, str(error), is_tls=is_tls)
                return
            self._begin(accepted, place.row, is_tls=is_tls)

    def _begin(self, accepted: socket.socket, row: int, *, is_tls: bool) -> None:
        """Begin a conversation."""
        accepted.setblocking(False)  # noqa: FBT003 - takes no keyword
        try:
            remote, local = accepted.getpeername()[0], accepted.getsockname()[0]
        except OSError:
            # It has gone already.
            self._roster.leave(row)
            accepted.close()
            return
        self.service.metrics.opened()
        stream = self._admission.stream(Ends(usual_form(remote), usual_form(local), is_tls), row)
        connection = Connection(accepted, stream, self._settings.idle_timeout_s, row)
        self._open[accepted.fileno()] = connection
        # No command yet, which may take its time: others who have come wait for this thread.
        self._go_on(connection, connection.begin, self._epoll.register)

    def _refuse(self, accepted: socket.socket, why: str, *, is_tls: bool) -> None:
        """Hang up on a client, and say why if it would understand."""
        self.service.metrics.came(is_taken=False)
        with contextlib.suppress(OSError):
            self._log.warning("too many connections", peer=accepted.getpeername()[0], error=why)
            accepted.setblocking(False)  # noqa: FBT003 - takes no keyword
            if not is_tls:
                accepted.send(b"".join(TOO_MANY_CONNECTIONS.render()))
            accepted.shutdown(socket.SHUT_WR)
        accepted.close()

    def _go_on(
        self,
        connection: Connection,
        step: Callable[[], int],
        arm: Callable[[int, int], None] | None = None,
    ) -> None:
        try:
            awaited = step()
        except Exception:  # noqa: BLE001 - the others go on
            self._log.exception("connection broke")
            awaited = OVER
        if awaited:
            self._park(connection, awaited, arm)
        else:
            self._end(connection)

    def _park(
        self,
        connection: Connection,
        events: int,
        arm: Callable[[int, int], None] | None = None,
    ) -> None:
        """Leave a connection to whoever finds it ready.

        From here on another thread may have it, and may even have ended it.
        """
        descriptor = connection.socket.fileno()
        self._parked[descriptor] = connection
        with contextlib.suppress(OSError):
            (arm or self._epoll.modify)(descriptor, events | select.EPOLLONESHOT)

    def _take(self, connection: Connection) -> bool:
        """Take a parked connection, unless another thread has just been quicker."""
        descriptor = connection.socket.fileno()
        taken = self._parked.pop(descriptor, None)
        if taken and taken is not connection:
            self._park(taken, taken.waits_for)
        return taken is connection

    def _end(self, connection: Connection) -> None:
        """Hang up, and count a connection out."""
        del self._open[connection.socket.fileno()]
        # First, so that a client that sees the end may come again.
        self._roster.leave(connection.row)
        connection.close()
        self.service.metrics.closed()
        if not self._open:
            with self._closed:
                self._closed.notify_all()
