"""The stored bytes of images."""

from core.errors import ImageNotFound
from core.files.shards import read_range
from core.settings import Settings
from core.store.db import Database
from core.store.tables import Image


def read(db: Database, settings: Settings, image: Image) -> bytes:
    """An image's file as it was uploaded, also where compaction has moved it since its row was read.

    Raises:
        ImageNotFound: it was deleted meanwhile.
    """
    try:
        return read_range(settings.layout.file(image.shard), image.offset, image.length)
    except FileNotFoundError:
        with db.read() as session:
            moved = session.get(Image, image.id)
        if moved is None or moved.shard == image.shard:
            raise ImageNotFound(image.id) from None
        return read_range(settings.layout.file(moved.shard), moved.offset, moved.length)
