"""Texts as cells of a CSV that a spreadsheet may open: none begins as a formula does."""

import re

# A formula, or what a cell of a formula became; full-width signs count where the spreadsheet's language has them.
_FORMULA = re.compile("'*[=+\\-@\\t\\r\\n\uff0b\uff0d\uff1d\uff20]")


def quoted(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula. ``unquoted`` gives back any text."""
    return f"'{text}" if _FORMULA.match(text) else text


def unquoted(cell: str) -> str:
    """The text of a cell by ``quoted``; a cell that needed no apostrophe is the text."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
