"""The entries of a zip. Its list of entries (APPNOTE's central directory) is read as a stream, since ``zipfile`` would make an
object of each and keep them all."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, NamedTuple

from core.errors import BadArchive
from core.ground.names import ZipFile, clean, code_page, declared_name, escaped, extra_fields, with_slashes
from core.ground.pictures.formats import is_ignored
from core.untrusted.entries import (
    IGNORED,
    NAME_LENGTH,
    Budget,
    Entry,
    Folders,
    Refusal,
    error_text,
    read_entry,
    refuse_kind,
    refuse_name,
)

_DIRECTORY_BYTES = 1 << 30  # most of the list of entries; it is read twice or thrice
_TAKEN = 10_000  # declared names that are remembered
_NAME_BYTES = 4 * (NAME_LENGTH + 1)  # what is longer is too long in any code page
_BLOCK = 1 << 20  # bytes read at once, more than the longest record
_RECORD = struct.Struct("<4s4B4HL2L5H2L")
_LONGEST = _RECORD.size + 3 * 0xFFFF
_ZIP64_RECORDS = 76  # bytes before the last record
_UNKNOWN = 0xFFFFFFFF  # it stands in the Zip64 field
_ZIP64 = 1  # kind of the extra field (APPNOTE 4.5.3)


class _Record(NamedTuple):
    """What the list says of one entry."""

    name: bytes
    extra: bytes
    flags: int
    compression: int
    checksum: int
    packed: int
    size: int
    attributes: int
    offset: int

    @property
    def declared_name(self) -> str | None:
        return declared_name(self.name, self.flags, self.extra)

    def info(self) -> zipfile.ZipInfo:
        """As ``zipfile`` opens an entry by it."""
        info = zipfile.ZipInfo(self.name.decode("cp437"))
        info.flag_bits, info.compress_type, info.CRC = self.flags, self.compression, self.checksum
        info.compress_size, info.file_size, info.header_offset = self.packed, self.size, self.offset
        return info


@dataclass(frozen=True)
class _Directory:
    """The list of entries, which each iteration reads anew."""

    file: IO[bytes]
    start: int
    end: int
    before: int  # bytes before the zip itself

    @classmethod
    def of(cls, file: IO[bytes]) -> "_Directory":
        last = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if last is None:
            raise zipfile.BadZipFile("File is not a zip file")
        signature, size, offset, location = last[0], last[5], last[6], last[9]
        if size > _DIRECTORY_BYTES:
            raise BadArchive(f"a list of entries of {size:,} bytes; at most {_DIRECTORY_BYTES:,} are allowed")
        end = location - (_ZIP64_RECORDS if signature == b"PK\x06\x06" else 0)
        if end < size:
            raise zipfile.BadZipFile("Bad offset for central directory")
        return cls(file, end - size, end, end - size - offset)

    def __iter__(self) -> Iterator[_Record]:
        position = block_start = self.start
        block = b""
        while position < self.end:
            block_end = block_start + len(block)
            if position + _LONGEST > block_end and block_end < self.end:
                self.file.seek(position)
                block, block_start = self.file.read(min(_BLOCK, self.end - position)), position
            at = position - block_start
            if len(block) - at < _RECORD.size or block[at : at + 4] != b"PK\x01\x02":
                raise zipfile.BadZipFile("Bad magic number for central directory")
            fields = _RECORD.unpack_from(block, at)
            _, *_, flags, compression, _, _, checksum, packed, size, named, extended, remarked, _, _, attributes, offset = fields
            at += _RECORD.size
            name, extra = block[at : at + named], block[at + named : at + named + extended]
            position += _RECORD.size + named + extended + remarked
            if _UNKNOWN in (packed, size, offset):
                wide = next((field for kind, field in extra_fields(extra) if kind == _ZIP64), b"")
                values = iter(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
                size, packed, offset = (next(values, each) if each == _UNKNOWN else each for each in (size, packed, offset))
            yield _Record(name, extra, flags, compression, checksum, packed, size, attributes, offset + self.before)


class _ZipFile(ZipFile):
    """Opens entries by the records of ``_Directory``, and reads no list itself."""

    _RealGetContents = staticmethod(lambda: None)  # type: ignore[assignment]


def zip_entries(file: IO[bytes], budget: Budget) -> Iterator[Entry]:
    """Every file of a zip in the order of its list. Names are UTF-8 where their records say so and they are; all others have one
    code page.

    Raises:
        BadArchive: it exceeds the budget.
        Exception: any of zipfile's for one that is damaged.
    """
    directory = _Directory.of(file)
    taken: set[int] = set()  # hashes of declared names, of which other bytes could become the same name
    for record in directory:
        budget.spend_entry()  # the number that the archive states is not trusted
        declared = record.declared_name
        if declared is not None and not declared.isascii() and len(taken) < _TAKEN:
            taken.add(hash(clean(declared[: NAME_LENGTH + 1])))
    page = code_page(lambda: (_shown(record) for record in directory if record.declared_name is None))
    folders = Folders()
    with _ZipFile(file) as archive:
        for record in directory:
            declared = record.declared_name
            stored = _shown(record).decode(page, "replace") if declared is None else declared
            stored = clean(stored[: NAME_LENGTH + 1])  # of a longer one it is only told that it is too long
            name = with_slashes(stored)
            if not name:
                continue
            if refusal := refuse_name(name):
                yield refusal.entry(stored)
                continue
            if not name.endswith("/") or not is_ignored(name):
                folders.see(name, name.endswith("/"))
            if name.endswith("/"):
                continue
            if is_ignored(name):
                yield Entry(name, code=IGNORED)
            elif refusal := refuse_kind(record.attributes >> 16) or _refuse_packing(record):
                yield refusal.entry(name)
            else:
                entry = _unzip(archive, record, name, budget)
                if declared is None and page != "utf-8":
                    other = with_slashes(escaped(_shown(record).decode("utf-8", "surrogateescape")))
                    entry = replace(entry, other_path=other, path=other if hash(stored) in taken else name)
                yield entry
    yield from folders.refusals()


def _shown(record: _Record) -> bytes:
    """The bytes of a name that decide, of one that is too long in any code page only as many as show that."""
    return record.name[:_NAME_BYTES].partition(b"\0")[0]


def _unzip(archive: _ZipFile, record: _Record, name: str, budget: Budget) -> Entry:
    unpacked = 0
    try:
        with archive.open(record.info()) as file:
            entry = read_entry(name, file, budget.limits.file_bytes)
            unpacked = file.tell()
    except Exception as error:  # one damaged entry is no reason to lose the others
        entry, unpacked = Entry(name, code="damaged", reason=f"cannot be unpacked: {error_text(error)}"), record.size
    budget.spend(unpacked)
    return entry


def _refuse_packing(record: _Record) -> Refusal | None:
    if record.flags & 0x1:
        return Refusal("encrypted", "encrypted; upload it without a password")
    if record.compression not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python unpacks the other methods without a bound on memory.
        return Refusal("unsupported_compression", "packed by another method than deflate")
    return None
