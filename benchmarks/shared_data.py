"""The image sets in the folder ``shared/data`` beside the checkout, and a small one to do without."""

import sys
import zipfile
from pathlib import Path

from service.operations.demo import write_digits

FOLDER = Path(__file__).parents[2] / "shared/data"


def shared(name: str) -> Path:
    """A file of the shared folder; ends the program with one line that names it where it is missing."""
    path = FOLDER / name
    if not path.exists():
        sys.exit(f"error: {path} is missing: this benchmark measures with it; --tiny, where there is one, runs without")
    return path


def some_digits(work: Path, count: int = 240) -> Path:
    """A zip of a few of the handwritten digits that scikit-learn ships, in folders by class: for ``--tiny``."""
    path, whole = work / "some-digits.zip", write_digits(work)[0]
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist()[:count]:
            target.writestr(name, source.read(name))
    return path
