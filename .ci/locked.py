"""What requirements/*.txt install in the images on this kind of machine."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parent.parent / "requirements"
IMAGES = {
    "api": ("common", "faiss-cpu"),
    "worker": ("common", "faiss-cpu", "torch-cuda", "train"),
}  # the GPU's has faiss-gpu instead
_LINE = re.compile(r"^(?P<requirement>[A-Za-z0-9][^\\\n]*)\\$", re.MULTILINE)


def requirements(name: str) -> list[Requirement]:
    """Those of one list, for any machine."""
    return [Requirement(found["requirement"].strip()) for found in _LINE.finditer((FOLDER / f"{name}.txt").read_text())]


def versions(lists: tuple[str, ...]) -> dict[str, str]:
    """Canonical name and version of every package that is installed here from some lists."""
    wanted = [each for name in lists for each in requirements(name) if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in wanted}
