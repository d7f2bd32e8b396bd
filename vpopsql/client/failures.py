"""What can go wrong between a client and a daemon.

No text here shows what was sent or received, except a refusal's own text: there are passwords in
both directions.
"""

from vpopsql.errors import VpopsqlError


class ClientError(VpopsqlError):
    """A command was not carried out, or nobody knows whether it was."""


class Refused(ClientError):
    """The daemon said no.

    :ivar code: such as ``8.207``; empty: it gave none.
    :ivar text: what it says to people.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}".strip())
        self.code = code
        self.text = text


class Disconnected(ClientError):
    """The connection cannot be made, or broke; a command under way may have been carried out."""


class TimedOut(Disconnected):
    """The daemon did not answer in time; the connection is closed."""


class ProtocolError(ClientError):
    """What came is no answer to what was asked; the connection is closed."""
