"""Structured logs on standard error: one event a line, with its facts as fields."""

import json
import logging
import sys

import structlog
from structlog.typing import EventDict

from vpopsql.config import Log


class _Libraries(logging.Handler):
    """What libraries complain of, as events like ours.

    Of an exception only the class is told: a driver's message may quote whole rows.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on."""
        kind = record.exc_info and record.exc_info[0]
        said = {"library": record.name, "error": kind.__name__ if kind else None}
        structlog.get_logger("vpopsql.libraries").log(
            max(record.levelno, logging.WARNING), record.getMessage(), **said
        )


# `json.dumps` would make one for each event.
_to_json = json.JSONEncoder(default=repr).encode


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    return _to_json(event)


def configure(settings: Log) -> None:
    """Send events of ``settings.level`` and above to standard error, as JSON or for people."""
    renderer = (
        _as_json
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        # Each event by one call, with its end: several processes write to one file.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    for name in ("sqlalchemy", "psycopg"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [_Libraries(logging.WARNING)], False
