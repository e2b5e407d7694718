"""The image sets that are not made but found: the folder ``shared/data`` beside the checkout."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "shared/data"


def shared(name: str) -> Path:
    """A file of the shared folder; ends the program with one line that names it where it is missing."""
    path = FOLDER / name
    if not path.exists():
        sys.exit(f"error: {path} is missing: this benchmark measures with it; --tiny, where there is one, runs without")
    return path
