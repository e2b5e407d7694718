"""Tables of labels as people's tools write them: ``path,label`` or ``image_id,label``."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence

from core.errors import BadLabels

COLUMNS = ({"path", "label"}, {"image_id", "label"})
_NAMES = frozenset().union(*COLUMNS)
_MAX_ROW = 100_000  # characters
_SEPARATORS = ",;\t"
_LINE_END = re.compile(r"\r\n|\r|\n")
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")


def rows(data: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of each row by the names of their columns, with the row's number; empty rows are skipped.

    A table is in UTF-8, or in UTF-16 with a byte order mark. Its first line names its columns, in any order, and shows
    what separates cells: commas, semicolons or tabs. No cell spans lines, so that a quote that is not closed
    cannot swallow the next row. Rows and columns are counted from 1, as spreadsheets do.

    Raises:
        BadLabels: anything else; the message names row and column.
    """
    lines = _LINE_END.split(_text(data))
    header = next((number for number, line in enumerate(lines) if line.strip()), 0)
    separator, names = _header(lines[header], header + 1)
    for number, line in enumerate(lines[header + 1 :], start=header + 2):
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


def _text(data: bytes) -> str:
    """Decode a table. Bytes that are not text become lone surrogates, so that they can be refused with their row and column."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        rest = "\udc00" if len(data) % 2 else ""
        return data[: len(data) & ~1].decode("utf-16", "surrogatepass") + rest
    return data.decode("utf-8-sig", "surrogateescape")


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
    return cells


def _fault(character: str) -> str:
    if character == "\0":
        return "NUL is not allowed"
    byte = ord(character) - 0xDC00
    return f"the byte 0x{byte:02x} is not UTF-8; save the table as UTF-8" if 0x80 <= byte < 0x100 else "half of a character"
