"""No text that a table of ours holds is a formula to a spreadsheet, and our own reader gives back every text as it was."""

import csv
import io

import pytest

from core.ground.cells import quoted, unquoted
from core.untrusted import label_tables

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "＝1", "-", "'=1", "''=1", "'@"]
TEXTS = ["", "a", "'tis", "'", "''", "a=b", " =1", "1-1", '"=1"', "ä", "7"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_quoted(text: str) -> None:
    assert quoted(text) == f"'{text}"
    assert unquoted(quoted(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_whatever_is_none_stays(text: str) -> None:
    assert quoted(text) == unquoted(text) == text


@pytest.mark.parametrize("separator", ",;\t")
def test_our_reader_of_labels_undoes_it(separator: str) -> None:
    paths = [text for text in (*FORMULAS, *TEXTS) if text.strip() and not set(text) & set("\r\n")]
    file = io.StringIO()
    table = csv.writer(file, delimiter=separator)
    table.writerow(["path", "label"])
    table.writerows([quoted(path), quoted(f"-{path}")] for path in paths)
    read = [(row["path"], row["label"]) for _, row in label_tables.rows(io.BytesIO(file.getvalue().encode()))]
    assert read == [(path, f"-{path}") for path in paths]
    plain = io.BytesIO(b"path,label\n-a.png,=b\n")
    assert [row for _, row in label_tables.rows(plain)] == [{"path": "-a.png", "label": "=b"}], "what needed none has none"
