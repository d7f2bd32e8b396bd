"""``vpopsql`` as a program that starts at once: forked by a process that has imported everything.

    python -m tests.preloaded SOCKET PROGRAM

listens on SOCKET, and writes PROGRAM, which passes its arguments, environment, directory and files
on to a process of its own there. A start of Python with SQLAlchemy takes half a second, which the
manual would spend sixty times.
"""

import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import vpopsql
from vpopsql.cli import main

_PROGRAM = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect({path!r})
request = dict(argv=sys.argv, environ=dict(os.environ), cwd=os.getcwd())
socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
sys.exit(int(server.recv(16) or 70))
"""
_MESSAGE_MAX = 1 << 18


def serve(path: Path, program: Path) -> None:
    """Serve until the process is ended."""
    for module in pkgutil.walk_packages(vpopsql.__path__, "vpopsql."):
        if not module.name.startswith("vpopsql._") and "__main__" not in module.name:
            importlib.import_module(module.name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    draft = program.with_suffix(".draft")
    draft.write_text(_PROGRAM.format(python=sys.executable, path=str(path)))
    draft.chmod(0o755)
    draft.rename(program)
    while True:
        client, _ = listener.accept()
        with client:
            if os.fork() == 0:
                listener.close()
                _answer(client)
                os._exit(0)


def _answer(client: socket.socket) -> None:
    """Run one command in a process of its own, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(client, _MESSAGE_MAX, 3)
    if (child := os.fork()) == 0:
        client.close()
        _become(json.loads(message), files)
    for file in files:
        os.close(file)
    _, status = os.waitpid(child, 0)
    client.send(str(os.waitstatus_to_exitcode(status) % 256).encode())


def _become(request: Any, files: list[int]) -> None:
    """Be the command; does not return."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = request["argv"]
    code = 70
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:]))
