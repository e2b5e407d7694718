"""Images in tar shards, WebDataset's convention: immutable, at most 256 MiB each, random access by one ``pread``."""

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from core.files.layout import SHARD
from core.ground.durable import make_folder, sync

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SHARD_BYTES = 256 << 20
_BLOCK = tarfile.BLOCKSIZE


class ShardWriter:
    """Appends files to ``shard-000000.tar``, ``shard-000001.tar``, ... in a folder of its own."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        make_folder(folder.parent)
        folder.mkdir()
        sync(folder.parent)
        self._folder, self._limit = folder, shard_bytes
        self._number = -1
        self._start_next()

    def add(self, name: str, data: bytes) -> tuple[str, int]:
        """Append one file; returns the shard's file name and the offset of the data in it."""
        if self._file.tell() and self._file.tell() + len(data) + 4 * _BLOCK > self._limit:
            self.close()
            self._start_next()
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._file.write(info.tobuf(tarfile.PAX_FORMAT))
        offset = self._file.tell()
        self._file.write(data)
        self._file.write(bytes(-len(data) % _BLOCK))
        return self.name, offset

    def sync(self) -> None:
        """Sync everything that was added so far to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the shard and sync it to the disk."""
        if not self._file.closed:
            self._file.write(bytes(2 * _BLOCK))
            self.sync()
            self._file.close()

    def _start_next(self) -> None:
        self._number += 1
        self.name = SHARD.format(self._number)
        self._file = open(self._folder / self.name, "xb")  # noqa: SIM115 -- closed by close()
        sync(self._folder)


class _Range(io.RawIOBase):
    """``length`` bytes of a file from ``offset``, read where they lie."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self._descriptor, self._offset, self._length, self._at = os.open(path, os.O_RDONLY), offset, length, 0
        if os.fstat(self._descriptor).st_size < offset + length:
            self.close()
            raise OSError(f"{path.name} ends before byte {offset + length}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        count = os.preadv(self._descriptor, [memoryview(buffer)[: max(0, self._length - self._at)]], self._offset + self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_range(path: Path, offset: int, length: int) -> BinaryIO:
    """``length`` bytes of a file from ``offset``, as a file of their own, which is to be closed.

    Raises:
        OSError: the file is gone or shorter.
    """
    return io.BufferedReader(_Range(path, offset, length))


def read_range(path: Path, offset: int, length: int) -> bytes:
    """``length`` bytes of a file from ``offset``.

    Raises:
        OSError: the file is gone or shorter.
    """
    with open_range(path, offset, length) as file:
        return file.read(length)
