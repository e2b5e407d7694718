"""Log lines, as text or as a JSON object each: they name the request and the job that they are about, and no secret."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

_about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)
_SECRETS = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@]+@"), r"\1***@"),  # a password in a URL
    (re.compile(r"(ah_[0-9a-f]{12}_)[A-Za-z0-9_-]+"), r"\1***"),  # an API key; what is left of it is its public id
    (re.compile(r"(?i)\b(authorization['\"]?\s*[=:]\s*['\"]?)[^'\",\n]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer\s+)(?!ah_)[^\s'\",]+"), r"\1***"),
    (re.compile(r"(?i)\b(password['\"]?\s*[=:]\s*['\"]?)[^\s'\",]+"), r"\1***"),
)


def about() -> dict[str, Any]:
    """What the lines logged here and now are about: ``request_id``, ``job_id``, ``attempt``, each where it is known."""
    return dict(_about.get() or {})


def start(**fields: Any) -> None:
    """Say what everything that follows in this context is about, such as one request's task."""
    _about.set({name: value for name, value in fields.items() if value is not None})


@contextmanager
def on(**fields: Any) -> Iterator[None]:
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
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **about(),
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.about = "".join(f" {name}={value}" for name, value in about().items())
        return redacted(super().format(record))


def configure(format: str) -> None:
    """Send every record of this process, uncaught exceptions and warnings too, to stderr.

    Args:
        format: ``json`` or ``text``.
    """
    handler = logging.StreamHandler()
    text = _Text("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")
    handler.setFormatter(_JsonLines() if format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("anchorhood").critical("uncaught exception", exc_info=(kind, error, trace))
