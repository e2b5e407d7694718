"""What commands are given as files: JSON, and images."""

import json
import logging
from pathlib import Path
from typing import Any

from core.ground import notices
from trainer.config import InputError
from trainer.data.images import ImageList
from trainer.data.sources import open_source

log = logging.getLogger("trainer")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a JSON object")
    return content


def open_and_report(source: str) -> ImageList:
    """Open a source, and name and count on standard error what in it is no usable image."""
    listed = open_source(source)
    for path, reason in listed.rejected:
        log.info("skipped %s: %s", path, reason)
    if listed.rejected:
        log.info("skipped %d files and folders in all; %d images are used", len(listed.rejected), len(listed.images))
    for notice in notices.messages(listed.noticed):
        log.info("%s", notice["message"])
    return listed
