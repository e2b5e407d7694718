"""The labels that a request asks for, by path or image id, kept on the disk: a table may name a million images."""

import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from core.errors import BadLabels
from core.ground.label_text import label_text
from core.untrusted import label_lists, label_tables

MAX_ENTRIES = label_tables.MAX_ROWS
_MAX_LABEL = 200  # characters
_MAX_ID = 2**63 - 1  # what a database's integers hold
_TABLES = (
    "CREATE TABLE asked (number INTEGER PRIMARY KEY, key UNIQUE, label TEXT, place TEXT)",
    "CREATE TABLE found (id INTEGER PRIMARY KEY, key, label TEXT)",
)


class RequestedLabels:
    """Labels by path or image id, ``None`` to remove one, with the place in the request where each stands.

    They lie in a database of their own, in a file that has no name any more: what is in memory are its few pages. It is used by
    one thread and closed at the end of the block.
    """

    def __init__(self, folder: Path) -> None:
        """Args: folder: where the file lies as long as it is open."""
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            self._database = sqlite3.connect(file.name, isolation_level=None)
            for setting in ("journal_mode=OFF", "locking_mode=EXCLUSIVE", "synchronous=OFF", "cache_size=-8000"):
                self._database.execute(f"PRAGMA {setting}")
            for statement in (*_TABLES, "BEGIN"):
                self._database.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def __len__(self) -> int:
        count: int = self._database.execute("SELECT count(*) FROM asked").fetchone()[0]
        return count

    def ask(self, key: str | int, label: str | None, at_key: str = "", at_label: str = "") -> None:
        """Take down what an entry asks for.

        Raises:
            BadLabels: an entry before asks for another label of the same path or image id.
        """
        row = (key, label, at_key)
        if self._database.execute("INSERT OR IGNORE INTO asked (key, label, place) VALUES (?, ?, ?)", row).rowcount:
            return
        before, place = self._database.execute("SELECT label, place FROM asked WHERE key = ?", (key,)).fetchone()
        if before != label:
            here, there = (repr(text) if text else "none" for text in (label, before))
            raise BadLabels(f"{at_label}: {key} has two labels, {here} here and {there} in {place}")

    def asked(self, batch: int) -> Iterator[dict[str | int, tuple[str | None, str]]]:
        """Labels and places by path or image id, in the order of the request, so many at once."""
        rows = self._database.execute("SELECT key, label, place FROM asked ORDER BY number")
        while some := rows.fetchmany(batch):
            yield {key: (label, place) for key, label, place in some}

    def find(self, image_id: int, key: str | int, label: str | None) -> None:
        """Take down which image a path or an image id is.

        Raises:
            BadLabels: it has another label by its other name.
        """
        if self._database.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", (image_id, key, label)).rowcount:
            return
        other, before = self._database.execute("SELECT key, label FROM found WHERE id = ?", (image_id,)).fetchone()
        if before != label:
            raise BadLabels(f"{key} and {other} are one image with two labels, so nothing was changed")

    def found(self, batch: int) -> Iterator[dict[int, str | None]]:
        """Labels by image, in the order of their ids, so many at once."""
        rows = self._database.execute("SELECT id, label FROM found ORDER BY id")
        while some := rows.fetchmany(batch):
            yield dict(some)


def take_csv(requested: RequestedLabels, file: BinaryIO) -> None:
    """Read a table (``label_tables``) with the columns ``path`` or ``image_id`` and ``label``; an empty label removes one.

    Raises:
        BadLabels: no such table; the message names row and column.
    """
    _take(requested, ((f"row {number}, column ", entry) for number, entry in label_tables.rows(file)), named=True)


def take_json(requested: RequestedLabels, file: BinaryIO) -> None:
    """Read ``[{"path" or "image_id", "label"}]`` or ``{path: label}``; a label of null removes one.

    Raises:
        BadLabels: neither of them.
    """
    _take(requested, ((f"entry {number}", entry) for number, entry in label_lists.entries(file)))


def _take(requested: RequestedLabels, entries: Iterable[tuple[str, object]], named: bool = False) -> None:
    """Errors begin with the entry's place, in a table (``named``) followed by the column."""
    count = 0
    for count, (place, entry) in enumerate(entries, start=1):
        if count > MAX_ENTRIES:
            raise BadLabels(f"more than {MAX_ENTRIES:,} labels, which is the most at once")
        if not isinstance(entry, dict) or set(entry) not in label_tables.COLUMNS:
            raise BadLabels(f"{place}: must hold path or image_id, and label")
        key_name = "path" if "path" in entry else "image_id"
        at_key, at_label = (f"{place}{name}" if named else place for name in (key_name, "label"))
        key = entry["path"] if key_name == "path" else _id(at_key, entry["image_id"])
        if key_name == "path" and (not isinstance(key, str) or not key or "\0" in key):
            raise BadLabels(f"{at_key}: the path must be a text without NUL, and not empty")
        label = entry["label"]
        if label is not None and (not isinstance(label, str) or len(label) > _MAX_LABEL or "\0" in label):
            raise BadLabels(f"{at_label}: the label of {key} must be a text of at most {_MAX_LABEL} characters without NUL")
        requested.ask(key, None if label is None else label_text(label), at_key, at_label)
    if not count:
        raise BadLabels("no label given")


def _id(place: str, value: object) -> int:
    """An image id, as a number or, as in a CSV, as its digits."""
    id_ = int(value) if isinstance(value, str) and re.fullmatch(r"[ ]*[0-9]{1,19}[ ]*", value) else value
    if not isinstance(id_, int) or isinstance(id_, bool) or not 0 <= id_ <= _MAX_ID:
        raise BadLabels(f"{place}: image_id must be a whole number from 0 to {_MAX_ID}")
    return id_
