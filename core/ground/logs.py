"""Log lines, as text or as a JSON object each: they name the request and the job that they are about, and no secret. Those of a
command that a person runs are plain."""

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

_about: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@]+@"), r"\1***@"),  # a password in a URL
    (re.compile(r"(ah_[0-9a-f]{12}_)[A-Za-z0-9_-]+"), r"\1***"),  # an API key; what is left of it is its public id
    (re.compile(r"(?i)\b(authorization['\"]?\s*[=:]\s*['\"]?)[^'\",\n]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer\s+)(?!ah_)[^\s'\",]+"), r"\1***"),
    (re.compile(r"(?i)\b(password['\"]?\s*[=:]\s*['\"]?)[^\s'\",]+"), r"\1***"),
)


def about() -> dict[str, object]:
    """What the lines logged here and now are about: ``request_id``, ``job_id``, ``attempt``, each where it is known."""
    return dict(_about.get() or {})


def start(**fields: object) -> None:
    """Say what everything that follows in this context is about, such as one request's task."""
    _about.set({name: value for name, value in fields.items() if value is not None})


@contextmanager
def on(**fields: object) -> Iterator[None]:
    """Say what the lines logged within the block are about."""
    before = _about.get()
    start(**fields)
    try:
        yield
    finally:
        _about.set(before)


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
            **about(),
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.about = "".join(f" {name}={value}" for name, value in about().items())
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
    text = _Text("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")
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
