"""Tables of labels as people's tools write them: ``path,label`` or ``image_id,label``."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from core.errors import BadLabels
from core.ground.cells import unquoted

COLUMNS = ({"path", "label"}, {"image_id", "label"})
_NAMES = frozenset().union(*COLUMNS)
MAX_ROWS = 1_000_000
_MAX_ROW = 100_000  # characters
_SEPARATORS = ",;\t"
_HALF = "half-characters"  # how errors of UTF-16 are taken
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")


def rows(file: BinaryIO) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of each row by the names of their columns, with the row's number; empty rows are skipped.

    A table is in UTF-8, or in UTF-16 with a byte order mark. Its first line names its columns, in any order, and shows
    what separates cells: commas, semicolons or tabs. No cell spans lines, so that a quote that is not closed
    cannot swallow the next row. It is read row by row. An apostrophe before what would be a formula is taken off, as our own
    tables have it. Rows and columns are counted from 1, as spreadsheets do.

    Raises:
        BadLabels: anything else; the message names row and column.
    """
    lines = enumerate(_lines(file), start=1)
    number, header = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    separator, names = _header(header, number)
    for number, line in lines:
        if number > MAX_ROWS:
            raise BadLabels(f"more than {MAX_ROWS:,} rows, which is the most at once")
        cells = _cells(line, separator, number, names)
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(names):  # it must not pass for the empty label that removes one
            raise BadLabels(
                f"{place(number, names[len(cells)])}: is missing; an empty label removes one, but needs its separator"
            )
        if len(cells) > len(names):
            raise BadLabels(f"{place(number, len(names) + 1)}: the first line names no such column; quote what holds a separator")
        yield number, dict(zip(names, cells, strict=True))


def place(row: int, column: str | int) -> str:
    """A position in a table, in words."""
    return f"row {row}, column {column}"


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a table without their ends, of too long ones the beginning. Bytes that are not text become lone surrogates,
    so that they can be refused with their row and column."""
    mark = file.read(2)
    file.seek(0)
    wide = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", _HALF) if wide else ("utf-8-sig", "surrogateescape")
    text = io.TextIOWrapper(file, encoding, errors)  # which takes \r\n, \r and \n for ends
    try:
        while line := text.readline(_MAX_ROW + 2):
            yield line.removesuffix("\n")
    finally:
        with suppress(ValueError):  # the file was closed first
            text.detach()  # it is its opener's


def _half(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udc00", error.end


codecs.register_error(_HALF, _half)


def _header(line: str, row: int) -> tuple[str, Sequence[str]]:
    """The separator of cells, and the names of the columns."""
    bad = _NO_TEXT.search(line)
    if bad:
        raise BadLabels(f"{place(row, 1)}: {_fault(bad.group())}; a table is in UTF-8, or in UTF-16 with a byte order mark")
    candidates: list[tuple[int, list[str]]] = []
    for separator in _SEPARATORS:
        names = [name.strip().lower() for name in next(csv.reader([line[:1000]], delimiter=separator), [])]
        if len(names) == 2 and set(names) in COLUMNS:
            return separator, names
        candidates.append((len(_NAMES & set(names)), names))
    known, names = max(candidates, key=lambda candidate: candidate[0])
    wanted = "the first line of the CSV must be path,label or image_id,label, with commas, semicolons or tabs between"
    extra = next((number for number, name in enumerate(names) if name not in _NAMES or name in names[:number]), len(names) - 1)
    named = f"; {names[extra][:100]!r} is one column too many" if known and len(names) > 2 else ""
    raise BadLabels(f"{place(row, extra + 1 if known else 1)}: {wanted}{named}")


def _cells(line: str, separator: str, row: int, names: Sequence[str]) -> list[str]:
    if len(line) > _MAX_ROW:
        raise BadLabels(f"{place(row, names[0])}: a row of more than {_MAX_ROW:,} characters")
    try:
        cells = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        # As many cells as are well-formed, and the one that is not.
        good = re.compile(rf'(?:(?:"(?:[^"]|"")*"|(?!")[^{separator}]*){separator})*').match(line)
        column = len(next(csv.reader([f"{good.group() if good else ''}x"], delimiter=separator))) - 1
        what = "a quote that does not end in its line" if "end of data" in str(error) else str(error)
        raise BadLabels(f"{place(row, names[column] if column < len(names) else column + 1)}: {what}") from error
    for column, cell in enumerate(cells):
        if bad := _NO_TEXT.search(cell):
            raise BadLabels(f"{place(row, names[column] if column < len(names) else column + 1)}: {_fault(bad.group())}")
    return [unquoted(cell) for cell in cells]


def _fault(character: str) -> str:
    if character == "\0":
        return "NUL is not allowed"
    byte = ord(character) - 0xDC00
    return f"the byte 0x{byte:02x} is not UTF-8; save the table as UTF-8" if 0x80 <= byte < 0x100 else "half of a character"
