"""Notices: what the validation of images did without refusing a file, and a person should still know. Codes are stable."""

from collections.abc import Mapping
from typing import TypedDict

FIRST_PAGE_ONLY, FIRST_FRAME_ONLY, HIDDEN = "first_page_only", "first_frame_only", "hidden_files"

_WORDS = {  # for one and for several
    FIRST_PAGE_ONLY: (
        "1 further page of a TIFF file is left out: the first page is the image",
        "{:,} further pages of TIFF files are left out: the first page of each file is the image",
    ),
    FIRST_FRAME_ONLY: (
        "1 file holds several frames: the first one is the image",
        "{:,} files hold several frames: the first one of each is the image",
    ),
    HIDDEN: ("1 hidden or system file or folder was passed over", "{:,} hidden or system files and folders were passed over"),
}


class Notice(TypedDict):
    code: str
    message: str
    count: int


def code_of_further(format: str) -> str:
    """The code for pages or frames after the first.

    Args:
        format: Pillow's name of the file's format.
    """
    return FIRST_PAGE_ONLY if format == "TIFF" else FIRST_FRAME_ONLY


def messages(counts: Mapping[str, int]) -> list[Notice]:
    """A notice for each code that was counted at least once, in a fixed order."""
    return [
        {"code": code, "message": one if counts[code] == 1 else several.format(counts[code]), "count": counts[code]}
        for code, (one, several) in _WORDS.items()
        if counts.get(code)
    ]
