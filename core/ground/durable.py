"""Files and folders that survive a power cut, because they and their names are synced before anything relies on them."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Sync a file's data, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, where they are missing."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(exist_ok=True)  # another process may be faster
    sync(path.parent)


def replace(written: Path, path: Path) -> None:
    """Give a complete file, or a folder whose content is synced, its final name in the same folder."""
    if not written.is_dir():
        sync(written)
    os.replace(written, path)
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is either complete or absent."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    replace(temporary, path)
