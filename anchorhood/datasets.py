"""``client.datasets``."""

import errno
import logging
import os
import re
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from anchorhood.errors import ApiError
from anchorhood.jobs import Job, Jobs
from anchorhood.packing import LeftOut, left_out_lines, pack
from anchorhood.progress import Counted, Progress
from anchorhood.records import Dataset, Image, LeaveOneOut, Rejection, id_of, record
from anchorhood.transport import Transport, path_of
from anchorhood.values import as_ints, label_rows, sendable

log = logging.getLogger("anchorhood")


class Datasets:
    """Collections of images."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._jobs = transport, Jobs(transport)

    def upload(
        self, path: str | os.PathLike[str], *, name: str | None = None, labels: str = "none", progress: bool = False
    ) -> Dataset:
        """Upload a folder, or a zip, tar or tar.gz. What cannot be taken of a folder is logged and in ``Dataset.left_out``.

        Args:
            path: the folder or the archive.
            name: by default that of the folder or file.
            labels: ``folders``: the top folder is the class, for evaluation and classification only; or ``none``.
            progress: show how much is sent.

        Raises:
            OSError: the path cannot be read.
            ValueError: a folder without a file that can be.
        """
        source = Path(os.fsdecode(path))
        with archive(source, self._ignored, progress) as (file, left_out):
            form = {"name": name or _name(source), "labels": labels}
            answer = self._transport.json("POST", "/datasets", data=form, files={"file": (_name(source), file)})
        return record(Dataset, answer, transport=self._transport, left_out=tuple(left_out))

    def add(self, dataset: Dataset | str, path: str | os.PathLike[str], *, progress: bool = False) -> Job:
        """Add images later: one, a folder or an archive; found by searches when the job has succeeded."""
        source = Path(os.fsdecode(path))
        with archive(source, self._ignored, progress) as (file, left_out):
            files = {"file": (_name(source), file)}
            answer = self._transport.json("POST", path_of("datasets", id_of(dataset), "images"), files=files)
        return record(Job, answer, transport=self._transport, left_out=tuple(left_out))

    def list(self, *, name: str | None = None) -> Iterator[Dataset]:
        """All datasets, or those of a name."""
        datasets = (self._dataset(values) for values in self._transport.pages("/datasets", name=name))
        return (dataset for dataset in datasets if name is None or dataset.name == name)

    def get(self, dataset_id: str) -> Dataset:
        """One dataset as it is now."""
        return self._dataset(self._transport.json("GET", path_of("datasets", dataset_id)))

    def update(self, dataset: Dataset | str, *, name: str | None = None, metadata: dict[str, Any] | None = None) -> Dataset:
        """Give it another name, or other metadata of yours (all of it, as JSON); what is ``None`` stays."""
        changes = {key: value for key, value in (("name", name), ("metadata", metadata)) if value is not None}
        return self._dataset(self._transport.json("PATCH", path_of("datasets", id_of(dataset)), again=True, json=changes))

    def delete(self, dataset: Dataset | str) -> None:
        """Delete it with its images, jobs and models."""
        self._transport.json("DELETE", path_of("datasets", id_of(dataset)))

    def images(self, dataset: Dataset | str, *, label: str | None = None, unlabelled: bool | None = None) -> Iterator[Image]:
        """Its images, oldest first."""
        pages = self._transport.pages(
            path_of("datasets", id_of(dataset), "images"), limit=1000, label=label, unlabelled=unlabelled
        )
        return (record(Image, image) for image in pages)

    def rejections(self, dataset: Dataset | str, *, job: Job | str | None = None) -> Iterator[Rejection]:
        """The files that are not in it, and why, of a failed one too; perhaps only those that an addition brought."""
        job_id = id_of(job)
        path = path_of("datasets", id_of(dataset), "rejections")
        rejections = (record(Rejection, values) for values in self._transport.pages(path, limit=1000, job_id=job_id))
        return (rejection for rejection in rejections if job_id is None or rejection.job_id in (job_id, None))

    def unlisted_rejections(self, dataset: Dataset | str, *, job: Job | str | None = None) -> dict[str, int]:
        """How many refused files ``rejections`` does not name, by code: of each upload and reason it names the first 10,000."""
        path = path_of("datasets", id_of(dataset), "rejections")
        params = {name: value for name, value in {"limit": 1, "job_id": id_of(job)}.items() if value is not None}
        counts: Counter[str] = Counter()
        for more in self._transport.json("GET", path, params=params).get("more", []):
            counts[more["code"]] += more["count"]
        return dict(counts)

    def label(self, dataset: Dataset | str, labels: Mapping[str, str | None] | Mapping[int, str | None]) -> dict[str, int]:
        """Give images, by path or by id, their labels; ``None`` takes one away. All or nothing.

        Returns:
            Counts ``set``, ``removed`` and ``ignored``.

        Raises:
            ValueError: a label that is neither a text nor ``None``, such as a NaN of a table; its path is named.
        """
        rows = label_rows(labels)
        counts: dict[str, int] = self._transport.json("PUT", path_of("datasets", id_of(dataset), "labels"), json=rows)
        return counts

    def label_table(self, dataset: Dataset | str, path: str | os.PathLike[str]) -> dict[str, int]:
        """The same from a table with the columns ``path`` (or ``image_id``) and ``label``, sent as its bytes are: the
        service reads UTF-8, or UTF-16 with a byte order mark, with commas, semicolons or tabs. An empty label takes one away."""
        table = Path(os.fsdecode(path)).read_bytes()
        headers = {"Content-Type": "text/csv"}
        where = path_of("datasets", id_of(dataset), "labels")
        counts: dict[str, int] = self._transport.json("PUT", where, content=table, headers=headers)
        return counts

    def leave_one_out(
        self, dataset: Dataset | str, k: int | None = None, min_labels: int = 3, limit: int = 100, offset: int = 0
    ) -> LeaveOneOut:
        """Accuracy and confusions of the labels given so far: each labelled image is classified by the others.

        Args:
            k: number of voters; by default the most accurate of several.
            min_labels: labelled images that each of two classes must have, else nothing is judged.
            limit: most classes and confusions, up to 1,000.
            offset: those to pass over.
        """
        request = {"min_labels": min_labels, "limit": limit, "offset": offset, **({} if k is None else {"k": k})}
        return record(
            LeaveOneOut, self._transport.json("GET", path_of("datasets", id_of(dataset), "leave-one-out"), params=request)
        )

    def classify(self, dataset: Dataset | str, k: int | None = None, min_confidence: float = 0.0, min_labels: int = 3) -> Job:
        """Classify every image by the labelled ones, as a job; ``jobs.classifications`` reads its table, and the job's
        ``progress`` has the ``k`` that was chosen, or why the votes ``abstained``. Arguments as of ``leave_one_out``."""
        request = {"k": k, "min_confidence": min_confidence, "min_labels": min_labels}
        return self._jobs.post(path_of("datasets", id_of(dataset), "classifications"), request)

    def delete_images(self, dataset: Dataset | str, image_ids: Sequence[int]) -> int:
        """Delete many images, all of them or none: out of every answer at once. Returns how many."""
        path = path_of("datasets", id_of(dataset), "deletions")
        deleted: int = self._transport.json("POST", path, json={"image_ids": as_ints(image_ids, "image_ids")})["deleted"]
        return deleted

    def compact(self, dataset: Dataset | str) -> Job:
        """Take what was added and deleted into the model's files, as a job; the service does it by itself when enough changed."""
        answer = self._transport.json("POST", path_of("datasets", id_of(dataset), "compactions"), again=True)
        return record(Job, answer, transport=self._transport)

    def use_model(self, dataset: Dataset | str, model_id: str) -> Dataset:
        """Answer from another of its models."""
        return self._dataset(
            self._transport.json("PUT", path_of("datasets", id_of(dataset), "model"), json={"model_id": model_id})
        )

    def _dataset(self, data: dict[str, Any]) -> Dataset:
        return record(Dataset, data, transport=self._transport)

    def _ignored(self) -> re.Pattern[str] | None:
        """Paths that the service passes over; an older one does not say."""
        try:
            return re.compile(self._transport.json("GET", "/formats")["ignored"])
        except ApiError as error:
            if error.status == 404:
                return None
            raise


@contextmanager
def archive(
    path: Path, ignored: Callable[[], re.Pattern[str] | None], progress: bool
) -> Iterator[tuple[IO[bytes], list[LeftOut]]]:
    """An archive or an image as it is, or a folder packed as a tar in the temporary folder, with what was left out of it."""
    kind = path.stat().st_mode  # FileNotFoundError names the path
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "is neither a file nor a folder", str(path))
    with tempfile.TemporaryFile() if stat.S_ISDIR(kind) else open(path, "rb") as file:
        left_out = pack(path, file, ignored()) if stat.S_ISDIR(kind) else []
        size = os.fstat(file.fileno()).st_size
        with Progress("uploading", progress) as bar:
            yield cast(IO[bytes], Counted(file, size, bar)), left_out
    for line in left_out_lines(left_out):
        log.warning("%s", line)


def _name(path: Path) -> str:
    """A file's name as a text that can be sent."""
    return sendable(path.resolve().name)
