"""Images: a row by its id, and the stored bytes."""

from typing import BinaryIO

from sqlalchemy.orm import Session

from core.errors import ImageNotFound
from core.files.shards import open_range
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Dataset, Image, Label


def get(session: Session, image_id: int) -> Image:
    """Raises ``ImageNotFound``."""
    image = session.get(Image, image_id)
    if image is None:
        raise ImageNotFound(image_id)
    return image


def label_and_model(session: Session, image: Image) -> tuple[str | None, str | None]:
    """An image's label, and the current model of its dataset."""
    label = session.get(Label, image.id)
    return label.label if label else None, session.get_one(Dataset, image.dataset_id).model_id


def find(db: Database, image_id: int) -> Image:
    """An image's row, read on its own.

    Raises:
        ImageNotFound: no such image.
    """
    with db.read() as session:
        return get(session, image_id)


def open_file(db: Database, settings: Settings, image: Image) -> BinaryIO:
    """An image's file as it was uploaded, to be closed, also where compaction has moved it since its row was read.

    Raises:
        ImageNotFound: it was deleted meanwhile.
    """
    try:
        return open_range(settings.layout.file(image.shard), image.offset, image.length)
    except FileNotFoundError:
        with db.read() as session:
            moved = session.get(Image, image.id)
        if moved is None or moved.shard == image.shard:
            raise ImageNotFound(image.id) from None
        return open_range(settings.layout.file(moved.shard), moved.offset, moved.length)
