"""What commands are given as files: JSON, and images."""

import json
import logging
from pathlib import Path
from typing import Any

from core.ground import notices
from core.ground.label_text import label_text
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


def labels_of(images: ImageList, labels_file: str | None) -> list[str | None]:
    """Labels from a JSON file {id: label}, else each image's top folder."""
    if labels_file:
        by_id = read_json(Path(labels_file))
        return [label_text(by_id.get(str(image.id)) or "") for image in images.images]
    folders = [image.path.split("/") for image in images.images]
    return [label_text(parts[0]) if len(parts) > 1 else None for parts in folders]


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
