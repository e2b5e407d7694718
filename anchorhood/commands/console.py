"""What all commands share: results as text or JSON, one line for what went wrong, names on whatever console there is."""

import dataclasses
import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import click

from anchorhood.client import Client
from anchorhood.errors import AnchorhoodError, JobFailed, Unreachable
from anchorhood.jobs import Job
from anchorhood.packing import LeftOut, left_out_lines
from anchorhood.progress import printable
from anchorhood.records import Dataset, Rejection

UNREACHABLE = 3  # exit code where no service answers
WRONG_USE = 2
_MOST = 20  # refused files that are named where nobody asked for them
F = TypeVar("F", bound=Callable[..., Any])


def prepare() -> None:
    """Escape what the console cannot show, rather than fail, and leave what the client logs to the commands."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    log = logging.getLogger("anchorhood")
    log.addHandler(logging.NullHandler())
    log.propagate = False


def say(*lines: str, err: bool = False) -> None:
    """Lines on stdout or stderr, and the only way there; to click's ``echo`` an ASCII console is a mistake that it puts right."""
    click.echo("\n".join(map(printable, lines)), file=sys.stderr if err else sys.stdout)


def fail(error: Exception, code: int = 1) -> NoReturn:
    """Say what is wrong, the file first where it is one that the system refused, and end."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    lines = [text] if isinstance(error, AnchorhoodError) else text.split("\n")  # a server's words make no lines
    say(f"error: {lines[0]}", *lines[1:], err=True)
    sys.exit(code)


@contextmanager
def service() -> Iterator[Client]:
    """The client of the service that ``--url`` and ``--key`` name; its errors are one line and an exit code."""
    options = click.get_current_context().find_root().params
    try:
        client = Client(options["url"], options["key"])
    except ValueError as error:
        fail(error, WRONG_USE)
    try:
        with client:
            yield client
    except Unreachable as error:
        say(f"error: {error}; is it running? `anchorhood serve` starts one", err=True)
        sys.exit(UNREACHABLE)
    except (AnchorhoodError, OSError, ValueError) as error:
        fail(error)


def json_option(command: F) -> F:
    """``--json``: print the result as JSON, and nothing else, on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def emit(as_json: bool, result: Any, lines: Iterable[str]) -> None:
    """Print a result, as JSON or as text."""
    if as_json:
        say(json.dumps(to_json(result), allow_nan=False).replace("\x7f", "\\u007f"))  # the only control that JSON leaves as it is
    else:
        say(*lines)


def to_json(value: Any) -> Any:
    """What JSON can hold of records: without their connection, and a number that is none as ``None``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [attribute.name for attribute in dataclasses.fields(value) if attribute.name != "transport"]
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value


def dataset_line(dataset: Dataset) -> str:
    counts = ", ".join(f"{getattr(dataset, name):,} {name}" for name in ("images", "classes", "rejected", "duplicates"))
    return f"{dataset.id}  {dataset.status:10}  {counts}  {dataset.model_id or 'no model':20}  {dataset.name}"


def job_line(job: Job) -> str:
    progress = job.progress or {}
    where = f"round {progress['round']} epoch {progress['epoch']}" if progress.get("epoch") is not None else ""
    return f"{job.id}  {job.kind:8}  {job.status:9}  {where:20}  {job.model_id or '':20}  {job.name or ''}".rstrip()


def notice_lines(dataset: Dataset) -> list[str]:
    """What validation did that a person should know, and why it failed."""
    error = [f"  error: {dataset.error['message']} ({dataset.error['code']})"] if dataset.error else []
    return [*error, *(f"  note: {notice['message']}" for notice in dataset.notices)]


def refused_lines(refused: Iterable[Rejection], unlisted: Mapping[str, int] | None = None) -> list[str]:
    """The files that are not in a dataset, and why; ``unlisted`` counts by code those that the service does not name."""
    named = [f"  refused {rejection.path}: {rejection.reason} ({rejection.code})" for rejection in refused]
    return [*named, *(f"  and {count:,} more of this reason ({code})" for code, count in (unlisted or {}).items())]


@contextmanager
def explained(client: Client, dataset_id: str, left_out: Iterable[LeftOut], job: Job | None = None) -> Iterator[None]:
    """Say on stderr, at the end, what was left out of a folder, and where the service refused all of it, which files and why."""
    try:
        yield
    except JobFailed:
        refused = [rejection for rejection in client.datasets.rejections(dataset_id, job=job) if rejection.code != "duplicate"]
        more = [f"  and {len(refused) - _MOST:,} more: anchorhood datasets show {dataset_id}"] if len(refused) > _MOST else []
        say(*refused_lines(refused[:_MOST]), *more, err=True)
        raise
    finally:
        if lines := left_out_lines(list(left_out)):
            say(*lines, err=True)
