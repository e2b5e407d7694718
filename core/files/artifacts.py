"""Publishing files: written aside, fsynced, renamed into place. Nobody ever sees half of a folder."""

import os
import shutil
from pathlib import Path

from core.ground.durable import sync


def sync_tree(folder: Path) -> None:
    """Put every file and folder below ``folder`` on the disk for good."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def publish(staged: Path, final: Path) -> None:
    """Rename a finished folder to its final name, on the same file system, and make that last.

    Raises:
        FileExistsError: something is there already: published folders are immutable.
    """
    sync_tree(staged)
    if final.exists():
        raise FileExistsError(f"{final} is already published")
    final.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, final)
    sync(final.parent)


def fresh_folder(path: Path) -> Path:
    """An empty folder, whatever was there before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
