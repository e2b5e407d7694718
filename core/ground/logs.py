"""Log lines, as text or as one JSON object each. A line carries the ids of its request and its job as fields; API keys and
passwords are masked. The lines of a command that a person runs are plain text."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import TracebackType

from core.ground import finite

_context: ContextVar[dict[str, object] | None] = ContextVar("log_fields", default=None)
_LONGEST = 16_384  # characters of a message or of a traceback; of a longer one its two ends are written
_ESCAPE = r"(?:%(?:25){0,8}|\\{1,8}(?:u00|x))"  # before a character's two digits: in a URL, quoted however often, and in JSON
_KEY_PREFIX = (
    rf"(?:a|{_ESCAPE}[46]1)(?:h|{_ESCAPE}[46]8)(?:_|{_ESCAPE}5f)(?:[0-9a-f]|{_ESCAPE}[0-9a-f]{{2}}){{12}}(?:_|{_ESCAPE}5f)"
)
# Each pattern takes linear time for any text: nothing that one may try to match at every place is longer than a few characters.
_SECRETS = (
    # An API key in any spelling; what is left of it is its public id.
    (re.compile(rf"(?i)({_KEY_PREFIX})(?:[a-z0-9_-]|{_ESCAPE}[0-9a-f]{{2}})+"), r"\1***"),
    (re.compile(r"(?i)\b((?:authorization|cookie)['\"]?\s*[=:]\s*['\"]?)[^'\",\n]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer\s+)(?!ah_)[^\s'\",]+"), r"\1***"),
    (re.compile(r"(?i)\b(password['\"]?\s*[=:]\s*['\"]?)[^\s'\",]+"), r"\1***"),
    # What PostgreSQL and pydantic tell of values that they refuse: labels and paths could be among them.
    (re.compile(r"(?m)^([ \t]{0,16}(?:DETAIL|CONTEXT):[ \t]*).+"), r"\1***"),
    (re.compile(r"(?m)(\binput_value=).*?(?=, input_type=|$)"), r"\1***"),
)
_PASSWORD = re.compile(r"(://[^:/]*:).+")  # of what stands before the last @ of a word

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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
    """The text without API keys, passwords in URLs, what Authorization and Cookie headers hold and the values that an error of
    the database or of validation names; no longer than twice ``_LONGEST``."""
    if len(text) > _LONGEST:
        text = _ends(text)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    if "@" in text:
        text = "".join(map(_without_password, re.split(r"(\s+)", text)))
    return text


def _ends(text: str) -> str:
    """The two ends of a long text. The second one is whole lines, so that no part of a key is cut from its beginning."""
    _, _, last = text[-_LONGEST // 2 :].partition("\n")
    return f"{text[: _LONGEST // 2]} … ({len(text):,} characters) … {last}"


def _without_password(word: str) -> str:
    if "://" not in word:
        return word
    before, at, host = word.rpartition("@")
    return _PASSWORD.sub(r"\1***", before) + at + host


class _WithoutQuery(logging.Filter):
    """Of uvicorn's lines on requests: a query holds labels, paths and whatever else is asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(part.partition("?")[0] if isinstance(part, str) else part for part in record.args)
        return True


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
        return finite.dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.fields = "".join(f" {name}={value}" for name, value in context_fields().items())
        return redacted(super().format(record))


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        text = prefix + super().format(record)
        return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)  # names must not command a terminal


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
    logging.getLogger("uvicorn.access").filters = [_WithoutQuery()]
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
