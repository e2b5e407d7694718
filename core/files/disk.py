"""A full disk, told from other errors: torch, NumPy, faiss, SQLite and child processes each report it in words of their own."""

import errno
import tempfile
from pathlib import Path

_PROBE_BYTES = 64 << 10  # more than what is left where something larger did not fit
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")


def is_full(folder: Path, error: BaseException) -> bool:
    """Whether an error came of a full disk: it says so, or ``folder`` takes no further bytes."""
    return any(words in str(error) for words in _WORDS) or not _takes_bytes(folder)


def _takes_bytes(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(_PROBE_BYTES)) == _PROBE_BYTES
    except OSError as error:
        return error.errno not in _FULL
