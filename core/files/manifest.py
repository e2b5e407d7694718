"""``manifest.json``: what a model is, and the size and SHA-256 of every file in it."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.files.layout import is_plain
from core.ground import durable, finite
from core.ground.folders import ModelFile
from core.ground.reports import Evaluation

SCHEMA_VERSION = 1


class DamagedModel(RuntimeError):
    """A model's folder does not hold what its manifest says."""


def write(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of all other files in ``folder``; returns it."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.name != ModelFile.MANIFEST
    }
    manifest = {"schema_version": SCHEMA_VERSION, **content, "files": files}
    (folder / ModelFile.MANIFEST).write_text(_text(manifest), encoding="utf-8")
    return manifest


def add_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """What was found of a model after it was published. A folder that was deleted meanwhile stays so."""
    path = folder / ModelFile.MANIFEST
    with suppress(FileNotFoundError):
        content = finite.loads(path.read_text(encoding="utf-8"))
        durable.write_text(path, _text({**content, "evaluation": evaluation}))


def read(folder: Path, *, hashes: bool = False) -> dict[str, Any]:
    """Read a manifest and compare the files with it: their sizes, and on demand their hashes.

    Raises:
        DamagedModel: the manifest or a file is missing or differs.
    """
    try:
        manifest: dict[str, Any] = finite.loads((folder / ModelFile.MANIFEST).read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            if not is_plain(name):
                raise DamagedModel(f"{folder}: its manifest names {name[:100]!r}, which is no file of the folder")
            path = folder / name
            if path.stat().st_size != expected["bytes"] or (hashes and sha256_of(path) != expected["sha256"]):
                raise DamagedModel(f"{path} is not the file that was published")
    except (OSError, ValueError, KeyError) as error:
        raise DamagedModel(f"{folder}: {error}") from error
    return manifest


def _text(content: dict[str, Any]) -> str:
    return finite.dumps(content, indent=2, ensure_ascii=False) + "\n"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
