"""The files of a published model, opened for those that read them whole."""

import hashlib
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

from core.collections import published
from core.errors import FileNotInModel
from core.files import manifest
from core.ground.folders import ModelFile
from core.settings import Settings
from core.store.db import Database

_TRIES = 2  # compaction may put another folder in the place of one whose row was just read


@dataclass(frozen=True)
class OpenedFile:
    """One of a model's files, open, and the manifest that names it."""

    manifest: dict[str, Any]
    name: str
    file: BufferedReader

    def sha256(self) -> str:
        """Of the content: as the manifest says; of the manifest itself, which cannot say it, by reading."""
        known = self.manifest["files"].get(self.name)
        return str(known["sha256"]) if known else hashlib.file_digest(self.file, "sha256").hexdigest()


def open_file(db: Database, settings: Settings, model_id: str, name: str) -> OpenedFile:
    """Open one of the files that a model's manifest names, or the manifest.

    Raises:
        ModelNotFound: no such model.
        FileNotInModel: it has no file of this name.
        DamagedModel: its files are not what was published.
    """
    tries = _TRIES
    while True:
        with db.read() as session:
            folder = settings.layout.model(published.get(session, model_id).directory)
        try:
            content = manifest.read(folder)
            if name not in (ModelFile.MANIFEST, *content["files"]):
                raise FileNotInModel(f"{name} of {model_id}")
            return OpenedFile(content, name, open(folder / name, "rb"))
        except (manifest.DamagedModel, FileNotFoundError) as error:
            tries -= 1
            if not tries:
                raise manifest.DamagedModel(f"{model_id}: {error}") from error


def read_manifest(db: Database, settings: Settings, model_id: str) -> dict[str, Any]:
    """A model's manifest, after the sizes of its files were compared with it.

    Raises:
        ModelNotFound: no such model.
        DamagedModel: its files are not what was published.
    """
    opened_file = open_file(db, settings, model_id, ModelFile.MANIFEST)
    opened_file.file.close()
    return opened_file.manifest
