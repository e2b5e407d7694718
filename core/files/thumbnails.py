"""Thumbnails kept on the disk, so that looking at a collection again decodes nothing. They may be deleted at any time."""

import hashlib
import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

from core.files.layout import DataFolder

log = logging.getLogger(__name__)
MOST_BYTES = 256 << 20  # of all; 60,000 thumbnails or more


class Thumbnails:
    """The thumbnails of a data folder. Where they become too many, those go that were not asked for longest. Thread-safe, and
    several processes may share the folder.

    Args:
        most_bytes: of all together, looked at each time that this process has written a sixteenth of it.
    """

    def __init__(self, layout: DataFolder, most_bytes: int = MOST_BYTES) -> None:
        self._layout, self._most = layout, most_bytes
        self._lock = threading.Lock()
        self._written = 0

    def read(self, dataset_id: str, image_id: int, tag: str) -> bytes | None:
        """A thumbnail, if it is there.

        Args:
            tag: names everything that it depends on.
        """
        path = self._path(dataset_id, image_id, tag)
        try:
            data = path.read_bytes()
            os.utime(path)  # it was asked for now
        except OSError:
            return None
        return data if _is_whole(data) else None

    def write(self, dataset_id: str, image_id: int, tag: str, data: bytes) -> None:
        """Keep a thumbnail; where that fails, as on a full disk, it is made anew next time."""
        path = self._path(dataset_id, image_id, tag)
        new = path.with_name(f"{uuid4().hex}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(data)
            os.replace(new, path)  # not synced: what a power cut takes is made anew
        except OSError as error:
            log.warning("a thumbnail could not be kept: %s", error.strerror)
            _delete(new)
        self._written += len(data)
        if self._written > self._most // 16 and self._lock.acquire(blocking=False):
            try:
                self._written = 0
                self._make_room()
            finally:
                self._lock.release()

    def forget(self, dataset_id: str, image_ids: Collection[int]) -> None:
        """Delete the thumbnails of deleted images."""
        ids = set(map(str, image_ids))
        for path in self._layout.thumbnails_of(dataset_id).glob("*-*"):
            if path.name.partition("-")[0] in ids:
                _delete(path)

    def _path(self, dataset_id: str, image_id: int, tag: str) -> Path:
        digest = hashlib.sha256(tag.encode()).hexdigest()[:32]
        return self._layout.thumbnails_of(dataset_id) / f"{image_id}-{digest}.webp"

    def _make_room(self) -> None:
        """Delete what was not asked for longest until a quarter is free."""
        found = []
        for path in self._layout.thumbnails.glob("*/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        too_many = sum(size for _, size, _ in found) - self._most
        if too_many <= 0:
            return
        too_many += self._most // 4
        for _, size, path in sorted(found):
            if too_many <= 0:
                break
            _delete(path)
            too_many -= size


def _is_whole(data: bytes) -> bool:
    """Whether a WebP file is as long as it says, since files here are not synced."""
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data)


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a thumbnail could not be deleted: %s", error.strerror)
