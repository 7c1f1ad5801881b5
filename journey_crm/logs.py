"""Logs: one line an event, key=value, plain tracebacks. Never local variables: they hold addresses and secrets."""

import logging
import re

import structlog

_ADDRESS = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")


class Discreet(logging.Formatter):
    """Hides what looks like an e-mail address, in whatever anybody logs: database errors quote the row they refuse."""

    def format(self, record: logging.LogRecord) -> str:
        return _ADDRESS.sub("…@…", super().format(record))


def configure() -> None:
    """Sends structlog through the standard library's logging, whose handlers settings.LOGGING names."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["event"], bool_as_flag=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    )
