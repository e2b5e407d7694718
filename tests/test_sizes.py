"""How large a file and a folder of source may be, so that either can be read at a sitting."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.drift
ROOT = Path(__file__).parent.parent
PACKAGES = ("anchorhood", "core", "service", "trainer", "worker", "migrations", "benchmarks")
SOURCE = frozenset({".py", ".js", ".css"})
MOST_LINES, MOST_MODULES, LINES_OF_A_ROOM = 250, 15, 2


def sources() -> Iterator[Path]:
    """The files of source, relative to the checkout."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in SOURCE and path.is_file():
                yield path.relative_to(ROOT)


def test_no_file_is_too_long() -> None:
    lines = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in sources()}
    long = {path: count for path, count in lines.items() if count > MOST_LINES}
    assert not long, f"over {MOST_LINES} lines: {long}"


def test_no_folder_has_too_many_modules() -> None:
    """Files of one language in one folder; migrations only ever grow in number."""
    counts: dict[tuple[str, str], int] = {}
    for path in sources():
        if path.name != "__init__.py" and path.parent.name != "versions":
            counts[str(path.parent), path.suffix] = counts.get((str(path.parent), path.suffix), 0) + 1
    full = {folder: count for folder, count in counts.items() if count > MOST_MODULES}
    assert not full, f"over {MOST_MODULES} modules: {full}"


def test_every_room_of_core_says_what_lives_there_and_what_may_be_touched() -> None:
    """Two lines, and nothing else in its ``__init__.py``."""
    rooms = sorted(path for path in (ROOT / "core").glob("*/__init__.py"))
    assert rooms
    for path in rooms:
        content = ast.parse(path.read_text(encoding="utf-8"))
        said = ast.get_docstring(content) or ""
        assert len(content.body) == 1, f"{path.relative_to(ROOT)}: only a docstring"
        assert len(said.splitlines()) == LINES_OF_A_ROOM, f"{path.relative_to(ROOT)}: {said!r}"
