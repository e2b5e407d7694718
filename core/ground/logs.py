"""Log lines, as text or as one JSON object each. A line carries the ids of its request and its job as fields; API keys and
passwords are masked. The lines of a command that a person runs are plain text."""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

_context: ContextVar[dict[str, object] | None] = ContextVar("log_fields", default=None)
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@]+@"), r"\1***@"),  # a password in a URL
    (re.compile(r"(ah_[0-9a-f]{12}_)[A-Za-z0-9_-]+"), r"\1***"),  # an API key; what is left of it is its public id
    (re.compile(r"(?i)\b(authorization['\"]?\s*[=:]\s*['\"]?)[^'\",\n]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer\s+)(?!ah_)[^\s'\",]+"), r"\1***"),
    (re.compile(r"(?i)\b(password['\"]?\s*[=:]\s*['\"]?)[^\s'\",]+"), r"\1***"),
)


def context_fields() -> dict[str, object]:
    """The fields of lines that are logged in the current context: those of ``request_id``, ``job_id`` and ``attempt`` that are
    known."""
    return dict(_context.get() or {})


def set_fields(**fields: object) -> None:
    """Set the fields of every line that is logged from now on in the current context, such as the task of one request."""
    _context.set({name: value for name, value in fields.items() if value is not None})


@contextmanager
def with_fields(**fields: object) -> Iterator[None]:
    """Set the fields of every line that is logged within the block."""
    before = _context.get()
    set_fields(**fields)
    try:
        yield
    finally:
        _context.set(before)


def redacted(text: str) -> str:
    """The text without API keys, passwords in URLs and what an Authorization header holds."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class _JsonLines(logging.Formatter):
    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **self._fields,
            **context_fields(),
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.fields = "".join(f" {name}={value}" for name, value in context_fields().items())
        return redacted(super().format(record))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        return prefix + super().format(record)


def configure(
    format: str, program: str = "anchorhood", fields: Mapping[str, object] | None = None, level: int = logging.INFO
) -> None:
    """Send every record of this process, uncaught exceptions and warnings too, to stderr.

    Args:
        format: ``json`` or ``text``.
        program: the logger of an uncaught exception.
        fields: of every JSON line, whatever thread it comes from.
        level: of loggers that have none of their own.
    """
    handler = logging.StreamHandler()
    text = _Text("%(asctime)s %(levelname)s %(name)s: %(message)s%(fields)s")
    handler.setFormatter(_JsonLines(fields or {}) if format == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = partial(_uncaught, logging.getLogger(program))


def configure_plain(program: str) -> None:
    """Send the records of one logger to stderr as a person reads them: a warning and an error say what they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    log = logging.getLogger(program)
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [handler], False


def _uncaught(log: logging.Logger, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("uncaught exception", exc_info=(kind, error, trace))
