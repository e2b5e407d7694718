"""Publishing folders: they are written elsewhere, synced and renamed into place, so that no reader sees an incomplete one."""

import os
import shutil
from pathlib import Path

from core.ground.durable import make_folder, replace, sync


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below ``folder`` to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def publish(staged: Path, final: Path) -> None:
    """Rename a finished folder to its final name, on the same file system, and sync the rename.

    Raises:
        FileExistsError: something is there already: published folders are immutable.
    """
    sync_tree(staged)
    if final.exists():
        raise FileExistsError(f"{final} is already published")
    make_folder(final.parent)
    replace(staged, final)


def fresh_folder(path: Path) -> Path:
    """Create an empty folder; whatever was there before is deleted."""
    shutil.rmtree(path, ignore_errors=True)
    make_folder(path)
    return path
