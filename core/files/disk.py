"""Recognises errors of a full disk: torch, NumPy, faiss, SQLite and child processes each report it with another message."""

import errno
import tempfile
from pathlib import Path

_PROBE_BYTES = 64 << 10  # more than is free where a larger file did not fit
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")


def is_full(folder: Path, error: BaseException) -> bool:
    """Whether a full disk caused an error: its message says so, or nothing more can be written to ``folder``."""
    return any(words in str(error) for words in _WORDS) or not _is_writable(folder)


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(_PROBE_BYTES)) == _PROBE_BYTES
    except OSError as error:
        return error.errno not in _FULL
