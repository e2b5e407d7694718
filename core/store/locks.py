"""The order in which rows are locked: a job's own, its dataset's, a model's, then those of images and what refers to them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.store.tables import Dataset


def lock_dataset(session: Session, dataset_id: str) -> None:
    """Lock a dataset's row until the transaction ends. Whoever locks several rows of images, or of what refers to images, does so
    first: then nobody else has any of them, in whatever order they are locked."""
    session.execute(select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(key_share=True))
