"""What all commands share: results as text or JSON, one line for what went wrong, names on whatever console there is."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import click

from anchorhood import ApiError, Client, Dataset, Job, JobFailed, LeftOut, Rejection, Unreachable
from anchorhood.packing import shown
from core.ground import finite
from core.ground.reports import evaluation_of
from core.ground.verdict import BASELINES, verdict

UNREACHABLE = 3  # exit code where no service answers
WRONG_USE = 2
_MOST = 20  # refused files that are named where nobody asked for them
# Rows of an evaluation's table: name, figures, and where those of earlier versions have the kNN accuracy; and its columns.
_JUDGED = [
    ("this embedding", "trained", "knn_accuracy"),
    ("after adapting (not published)", "adapted", ""),
    *((name, key, accuracy) for key, (name, accuracy) in BASELINES.items()),
]
_COLUMNS = {
    **dict.fromkeys(("1 label", "5 labels", "10 labels"), ""),
    "mAP": "mean_average_precision",
    "recall@1": "recall_at_1",
    "kNN": "knn_accuracy",
    "linear": "linear_embedding",
}
F = TypeVar("F", bound=Callable[..., Any])


def prepare() -> None:
    """Escape what the console cannot show, rather than fail, and leave what the client logs to the commands."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    log = logging.getLogger("anchorhood")
    log.addHandler(logging.NullHandler())
    log.propagate = False


def say(text: str, err: bool = False) -> None:
    """A line on stdout or stderr; to click's ``echo`` an ASCII console is a mistake that it puts right. Of names that the
    system holds in bytes, those that are no UTF-8 are escaped."""
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    click.echo(text, file=sys.stderr if err else sys.stdout)


def fail(error: Exception, code: int = 1) -> None:
    """Say what is wrong, the file first where it is one that the system refused, and end."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    say(f"error: {text}", err=True)
    sys.exit(code)


@contextmanager
def service() -> Iterator[Client]:
    """The client of the service that ``--url`` and ``--key`` name; its errors are one line and an exit code."""
    given = click.get_current_context().find_root().params
    try:
        client = Client(given["url"], given["key"])
    except ValueError as error:
        fail(error, WRONG_USE)
    try:
        with client:
            yield client
    except Unreachable as error:
        say(f"error: {error}; is it running? `anchorhood serve` starts one", err=True)
        sys.exit(UNREACHABLE)
    except (ApiError, JobFailed, OSError, ValueError) as error:
        fail(error)


def json_option(command: F) -> F:
    """``--json``: print the result as JSON, and nothing else, on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def emit(as_json: bool, result: Any, lines: Iterable[str]) -> None:
    """Print a result, as JSON or as text."""
    say(finite.dumps(plain(result)) if as_json else "\n".join(lines))


def plain(value: Any) -> Any:
    """What JSON can hold of records, without their client."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [known.name for known in dataclasses.fields(value) if known.name != "client"]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def dataset_line(dataset: Dataset) -> str:
    counts = ", ".join(f"{getattr(dataset, name):,} {name}" for name in ("images", "classes", "rejected", "duplicates"))
    return f"{dataset.id}  {dataset.status:10}  {counts}  {dataset.model_id or 'no model':20}  {dataset.name}"


def job_line(job: Job) -> str:
    progress = job.progress or {}
    where = f"round {progress['round']} epoch {progress['epoch']}" if progress.get("epoch") is not None else ""
    return f"{job.id}  {job.kind:8}  {job.status:9}  {where:20}  {job.model_id or '':20}  {job.name or ''}".rstrip()


def accuracy_lines(judged: dict[str, Any]) -> list[str]:
    """A table of a training's figures beside those of its baselines; what an evaluation of an earlier version lacks has no row
    or column."""
    of = "held-out images" if judged["held_out"] else "training images, each left out of its own vote"
    rows = [(name, figures) for name, key, knn in _JUDGED if (figures := _figures(judged, key, knn))]
    heads = [head for head in _COLUMNS if any(head in figures for _, figures in rows)]
    wide = max(len(name) for name, _ in rows)
    few = "; with few labels a class: the mean of 20 draws" if any("5 labels" in figures for _, figures in rows) else ""
    return [
        f"kNN accuracy, K {judged['k']}, and other figures, on {judged['queries']:,} {of}{few}:",
        f"  {'':<{wide}}" + "".join(f"{head:>10}" for head in heads),
        *(f"  {name:<{wide}}" + "".join(f"{_percent(figures.get(head)):>10}" for head in heads) for name, figures in rows),
    ]


def _figures(judged: dict[str, Any], key: str, knn: str) -> dict[str, float | None]:
    """The columns that one row has: none where the evaluation lacks it."""
    figures, accuracy = judged.get(key) or {}, judged.get(knn) if knn else None
    few = {f"{one['labels']} label{'s' if one['labels'] > 1 else ''}": one["mean"] for one in figures.get("few_label") or []}
    more = {head: figures[name] for head, name in _COLUMNS.items() if name in figures}
    return {**few, **({"kNN": accuracy} if accuracy is not None else {}), **more}


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def evaluation_lines(judged: dict[str, Any] | None) -> list[str]:
    """What a training's evaluation found, or why there is none."""
    found = verdict(evaluation_of(judged))
    said = [found.sentence] if found else []
    if not judged or judged.get("knn_accuracy") is None:
        return ["no labels, so no accuracy: upload with --labels folders, or label some images", *said]
    return [*accuracy_lines(judged), *said, *(f"warning: {warning}" for warning in judged["warnings"])]


def notice_lines(dataset: Dataset) -> list[str]:
    """What validation did that a person should know, and why it failed."""
    error = [f"  error: {dataset.error['message']} ({dataset.error['code']})"] if dataset.error else []
    return [*error, *(f"  note: {notice['message']}" for notice in dataset.notices)]


def refused_lines(refused: Iterable[Rejection]) -> list[str]:
    """The files that are not in a dataset, and why."""
    return [f"  refused {one.path}: {one.reason} ({one.code})" for one in refused]


@contextmanager
def explained(client: Client, dataset_id: str, left_out: Iterable[LeftOut], job: Job | None = None) -> Iterator[None]:
    """Say on stderr, at the end, what was left out of a folder, and where the service refused all of it, which files and why."""
    try:
        yield
    except JobFailed:
        refused = [one for one in client.datasets.rejections(dataset_id, job=job) if one.code != "duplicate"]
        more = [f"  and {len(refused) - _MOST:,} more: anchorhood datasets show {dataset_id}"] if len(refused) > _MOST else []
        for line in [*refused_lines(refused[:_MOST]), *more]:
            say(line, err=True)
        raise
    finally:
        for line in shown(list(left_out)):
            say(line, err=True)
