"""The entries of a tar or tar.gz, read as a stream."""

import gzip
import io
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, cast

from core.errors import BadArchive
from core.ground.names import clean, escaped
from core.ground.pictures.formats import is_ignored
from core.untrusted.entries import IGNORED, NAME_LENGTH, Budget, Entry, Folders, read_entry, refuse_kind, refuse_name

_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONG_HEADER_BYTES = 32 << 10  # Python's parser takes time by the square of it: 2 s
_GLOBAL_HEADERS, _GLOBAL_CHARACTERS = 1000, 1 << 20  # of a whole archive; they are kept, and copied for each entry
_READ_BYTES = 128 << 10


class _Header(tarfile.TarInfo):
    """A tar header that refuses names of gigabytes and sparse files, which could unpack to gigabytes of zeros, and reports damage
    instead of taking it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_HEADERS and self.size > _LONG_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {self.size:,} bytes")
        if len(tarfile_.pax_headers) > _GLOBAL_HEADERS:
            raise tarfile.ReadError(f"more than {_GLOBAL_HEADERS:,} global headers")
        if sum(map(len, tarfile_.pax_headers.values())) > _GLOBAL_CHARACTERS:
            raise tarfile.ReadError(f"more than {_GLOBAL_CHARACTERS:,} characters of global headers")
        return super()._proc_member(tarfile_)  # type: ignore[misc, no-any-return]

    def _no_sparse(self, *_: object) -> tarfile.TarInfo:
        raise BadArchive("the tar archive holds sparse files; make it without --sparse")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _no_sparse


class _Counted(io.RawIOBase):
    """A stream that counts all bytes that are read from it, including those of skipped files."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file, self._budget = file, budget

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._budget.spend(len(data))
        return data


def tar_entries(archived: IO[bytes], kind: str, budget: Budget) -> Iterator[Entry]:
    """Every file of a ``tar`` or ``tar.gz`` in its order.

    Raises:
        BadArchive: it exceeds the budget, or holds sparse files.
        Exception: any of tarfile's and gzip's for one that is damaged.
    """
    folders = Folders()
    stream = _Counted(cast(IO[bytes], gzip.GzipFile(fileobj=archived)) if kind == "tar.gz" else archived, budget)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, bufsize=_READ_BYTES, encoding="utf-8") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # or every header stays in memory
            budget.spend_entry()
            stored = member.name[: NAME_LENGTH + 1]  # of a longer one it is only told that it is too long
            name, other = clean(stored), escaped(stored)
            if name in ("", "."):
                continue
            if is_ignored(name) and not refuse_name(name):
                if not member.isdir():
                    yield Entry(name, code=IGNORED)
                continue
            mode = stat.S_IFREG if member.isreg() else stat.S_IFLNK if member.issym() or member.islnk() else stat.S_IFIFO
            refusal = refuse_name(name) or (None if member.isdir() else refuse_kind(mode))
            if refusal:
                yield refusal.entry(name)
                continue
            folders.see(name, member.isdir())
            if member.isdir():
                continue
            file = archive.extractfile(member)
            if file is not None:
                entry = read_entry(name, file, budget.limits.file_bytes)
                yield replace(entry, other_path=other) if other != name else entry
    yield from folders.refusals()
