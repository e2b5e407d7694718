"""What a run says on stderr: plain lines, or a JSON object a line for whoever started it."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("trainer")


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        return prefix + super().format(record)


class _JsonLines(logging.Formatter):
    def __init__(self, context: dict[str, Any]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage(), **self._context}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(context: dict[str, Any] | None) -> None:
    """Write ``log``'s lines to stderr.

    Args:
        context: fields of every line, which is a JSON object then, those of other libraries, of warnings and of an
            exception that ends the process too; ``None`` for plain lines.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain() if context is None else _JsonLines(context))
    log.setLevel(logging.INFO)
    if context is None:
        log.handlers, log.propagate = [handler], False
    else:
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
        logging.captureWarnings(True)
        sys.excepthook = lambda *error: log.critical("uncaught exception", exc_info=error)
