"""A backup may be a stranger's: what it names and links to must lie in the folder that it is restored into."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import BadRequest
from core.files.layout import DataFolder
from core.jobs.uses import uses
from core.store.tables import Attention, Dataset, Image, Job, Model


def require_no_links(source: Path) -> None:
    """Raises ``BadRequest`` where a backup has a link, whose target would be copied in its place."""
    for folder, folders, names in os.walk(source):
        if link := next((path for name in (*folders, *names) if (path := Path(folder, name)).is_symlink()), None):
            raise BadRequest(f"{link} is a link, and a backup has none")


def require_names_inside(session: Session, layout: DataFolder) -> None:
    """Raises ``BadRequest`` where a row names what would not lie in the data folder, and be read, sent or deleted there."""
    named: Sequence[tuple[Callable[..., object], Any]] = (
        (layout.dataset, select(Dataset.id)),
        (layout.file, select(Image.shard).distinct()),
        (layout.model, select(Model.directory)),
        (layout.job, select(Model.job_id)),
        (layout.attention_of, select(Model.id)),
        (layout.maps, select(Attention.model_id, Attention.directory).distinct()),
        (layout.job, select(Job.id)),
    )
    try:
        for path_of, wanted in named:
            for row in session.execute(wanted):
                path_of(*row)
        for job in session.scalars(select(Job)):
            needed = uses(job)
            for path_of, name in ((layout.upload, needed.upload), (layout.job, needed.checkpoints_of)):
                if name is not None:
                    path_of(name)
    except ValueError as error:
        raise BadRequest(f"the backup names a file outside of the data folder: {error}") from error
