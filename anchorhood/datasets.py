"""``client.datasets``."""

import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tqdm import tqdm

from anchorhood.records import Dataset, Image, Job, LeaveOneOut, Rejection, record

if TYPE_CHECKING:
    from anchorhood.client import Client


def id_of(thing: Any) -> Any:
    """The id of a record, or an id as it is."""
    return getattr(thing, "id", thing)


class Datasets:
    """Collections of images."""

    def __init__(self, client: "Client") -> None:
        self._client, self._transport = client, client.transport

    def upload(
        self, path: str | os.PathLike[str], *, name: str | None = None, labels: str = "none", progress: bool = False
    ) -> Dataset:
        """Upload a folder, or a zip, tar or tar.gz.

        Args:
            path: the folder or the archive.
            name: by default that of the folder or file.
            labels: ``folders``: the top folder is the class, for evaluation and classification only; or ``none``.
            progress: show a bar of the bytes sent.
        """
        with _archive(Path(path), progress) as file:
            form = {"name": name or Path(path).resolve().name, "labels": labels}
            files = {"file": (Path(path).resolve().name, file)}
            return self._dataset(self._transport.json("POST", "/datasets", data=form, files=files))

    def add(self, dataset: Dataset | str, path: str | os.PathLike[str]) -> Job:
        """Add images later: one, a folder or an archive; found by searches when the job has succeeded."""
        with _archive(Path(path), False) as file:
            files = {"file": (Path(path).resolve().name, file)}
            answer = self._transport.json("POST", f"/datasets/{id_of(dataset)}/images", files=files)
        return record(Job, answer, client=self._client)

    def list(self) -> Iterator[Dataset]:
        """All datasets."""
        return (self._dataset(found) for found in self._transport.pages("/datasets"))

    def get(self, dataset_id: str) -> Dataset:
        """One dataset as it is now."""
        return self._dataset(self._transport.json("GET", f"/datasets/{dataset_id}"))

    def delete(self, dataset: Dataset | str) -> None:
        """Delete it with its images, jobs and models."""
        self._transport.json("DELETE", f"/datasets/{id_of(dataset)}")

    def images(self, dataset: Dataset | str, *, label: str | None = None, unlabelled: bool | None = None) -> Iterator[Image]:
        """Its images, oldest first."""
        found = self._transport.pages(f"/datasets/{id_of(dataset)}/images", limit=1000, label=label, unlabelled=unlabelled)
        return (record(Image, image) for image in found)

    def rejections(self, dataset: Dataset | str) -> Iterator[Rejection]:
        """The files that are not in it, and why."""
        return (record(Rejection, found) for found in self._transport.pages(f"/datasets/{id_of(dataset)}/rejections", limit=1000))

    def label(self, dataset: Dataset | str, labels: Mapping[str, str | None] | Mapping[int, str | None]) -> dict[str, int]:
        """Give images, by path or by id, their labels; ``None`` takes one away. All or nothing.

        Returns:
            Counts ``set``, ``removed`` and ``ignored``.
        """
        rows = [{"image_id" if isinstance(key, int) else "path": key, "label": label} for key, label in labels.items()]
        counts: dict[str, int] = self._transport.json("PUT", f"/datasets/{id_of(dataset)}/labels", json=rows)
        return counts

    def leave_one_out(self, dataset: Dataset | str, k: int | None = None, min_labels: int = 3) -> LeaveOneOut:
        """Accuracy and confusion of the labels given so far: each labelled image is classified by the others.

        Args:
            k: number of voters; by default the most accurate of several.
            min_labels: labelled images that each of two classes must have, else nothing is judged.
        """
        asked = {"min_labels": min_labels} if k is None else {"k": k, "min_labels": min_labels}
        return record(LeaveOneOut, self._transport.json("GET", f"/datasets/{id_of(dataset)}/leave-one-out", params=asked))

    def classify(self, dataset: Dataset | str, k: int | None = None, min_confidence: float = 0.0, min_labels: int = 3) -> Job:
        """Classify every image by the labelled ones, as a job; ``jobs.classifications`` reads its table, and the job's
        ``progress`` has the ``k`` that was chosen, or why the votes ``abstained``. Arguments as of ``leave_one_out``."""
        asked = {"k": k, "min_confidence": min_confidence, "min_labels": min_labels}
        return self._client.jobs.post(f"/datasets/{id_of(dataset)}/classifications", asked)

    def delete_images(self, dataset: Dataset | str, image_ids: Sequence[int]) -> int:
        """Delete many images, all of them or none: out of every answer at once. Returns how many."""
        path = f"/datasets/{id_of(dataset)}/deletions"
        deleted: int = self._transport.json("POST", path, json={"image_ids": [*image_ids]})["deleted"]
        return deleted

    def compact(self, dataset: Dataset | str) -> Job:
        """Take what was added and deleted into the model's files, as a job; the service does it by itself when enough changed."""
        answer = self._transport.json("POST", f"/datasets/{id_of(dataset)}/compactions", again=True)
        return record(Job, answer, client=self._client)

    def use_model(self, dataset: Dataset | str, model_id: str) -> Dataset:
        """Answer from another of its models."""
        return self._dataset(self._transport.json("PUT", f"/datasets/{id_of(dataset)}/model", json={"model_id": model_id}))

    def _dataset(self, data: dict[str, Any]) -> Dataset:
        return record(Dataset, data, client=self._client)


@contextmanager
def _archive(path: Path, progress: bool) -> Iterator[IO[bytes]]:
    """An archive or an image as it is, or a folder packed as a tar in the temporary folder."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    with tempfile.TemporaryFile() if path.is_dir() else open(path, "rb") as file:
        if path.is_dir():
            with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
                for found in sorted(path.rglob("*")):
                    if found.is_file():
                        archive.add(found, found.relative_to(path).as_posix(), recursive=False)
            file.seek(0)
        size = os.fstat(file.fileno()).st_size
        with tqdm.wrapattr(file, "read", total=size, desc="uploading", disable=not progress) as counted:
            yield counted
