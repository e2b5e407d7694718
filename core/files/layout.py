"""The data folder. Every folder and file name in it is built and parsed here and nowhere else, except that
``core/ground/folders.py`` names the files of runs and models, which the trainer uses too."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.ground import durable
from core.ground.folders import MAPS, RunFolder
from core.ground.processes import PRIVATE

SHARD = "shard-{:06}.tar"
_SHARDS = "shard-*.tar"
BACKED_UP = ("datasets", "models", "runs", "attention", "uploads")  # folders; the rows are copied by themselves
_MERGED = "+"  # between a model's first folder and the attempt that compacted it


def is_plain(name: str) -> bool:
    """Whether a name is that of something in a folder, and leads nowhere else. Rows and manifests may be a stranger's backup."""
    return name not in ("", ".", "..") and not set("/\0") & set(name)


def _below(folder: Path, *names: str) -> Path:
    """Raises ``ValueError`` where a name leads out of the folder."""
    for name in names:
        if not is_plain(name):
            raise ValueError(f"{name[:100]!r} is no name of a file in the data folder")
    return folder.joinpath(*names)


def attempt_name(job_id: str, attempt: int) -> str:
    """The name of the output of one attempt at a job, ``<job>-<attempt>``."""
    return f"{job_id}-{attempt}"


def attempt_of(name: str) -> tuple[str, int]:
    """The job and the attempt in a name by ``attempt_name``, or in the name of a model's folder.

    Raises:
        ValueError: the name has no attempt.
    """
    job_id, _, attempt = first_folder(name).rpartition("-")
    return job_id, int(attempt)


def merged_name(directory: str, job_id: str, attempt: int) -> str:
    """The name of the folder that a compaction makes of a model's: ``<first>+<job>-<attempt>``."""
    return f"{first_folder(directory)}{_MERGED}{attempt_name(job_id, attempt)}"


def first_folder(directory: str) -> str:
    """The name that a model's folder had before any compaction."""
    return directory.partition(_MERGED)[0]


def folders_of_model(folders: Iterable[Path], directory: str) -> list[Path]:
    """Those of the given folders that belong to one model: its first folder, and those that compactions made of it.

    Args:
        directory: the name of any folder of the model.
    """
    return [folder for folder in folders if first_folder(folder.name) == first_folder(directory)]


@dataclass(frozen=True)
class DataFolder:
    """``ANCHORHOOD_DATA_DIR``. Properties create the folder that they name where it is missing; methods only name."""

    root: Path

    @property
    def rows(self) -> Path:
        """The SQLite file, used unless another database is configured."""
        return self.root / "anchorhood.sqlite3"

    @property
    def uploads(self) -> Path:
        """Uploads until they are validated."""
        return self.ensure("uploads")

    @property
    def datasets(self) -> Path:
        return self.ensure("datasets")

    @property
    def models(self) -> Path:
        return self.ensure("models")

    @property
    def runs(self) -> Path:
        return self.ensure("runs")

    @property
    def attention(self) -> Path:
        return self.ensure("attention")

    @property
    def thumbnails(self) -> Path:
        """A cache, which no backup holds."""
        return self.ensure("thumbnails")

    @property
    def logs(self) -> Path:
        return self.ensure("logs")

    @property
    def processes(self) -> Path:
        """Files by which running processes communicate: the socket, the lock, signs of life."""
        return self.ensure("run")

    def ensure(self, name: str) -> Path:
        """A folder of this name, created where it is missing."""
        path = self.root / name
        durable.make_folder(path)
        return path

    def make_private(self) -> None:
        """Take from other users what an earlier version let them read: the folders here and the rows. What is new is made so.

        The root itself stays as it is, for it may be a folder that is there for others, too.
        """
        for name in (*BACKED_UP, "logs", "run"):
            _take_from_others(self.root / name, 0o700)
        for rows in self.root.glob(f"{self.rows.name}*"):
            _take_from_others(rows, 0o600)

    def upload(self, name: str) -> Path:
        return _below(self.uploads, name)

    def dataset(self, dataset_id: str) -> Path:
        return _below(self.root / "datasets", dataset_id)

    def thumbnails_of(self, dataset_id: str) -> Path:
        return self.root / "thumbnails" / dataset_id

    def shards(self, dataset_id: str, job_id: str, attempt: int) -> Path:
        """The folder of the shards that one attempt wrote."""
        return self.dataset(dataset_id) / attempt_name(job_id, attempt)

    def shard_folders(self, dataset_id: str) -> list[Path]:
        """The shard folders of all attempts, named ``<job>-<attempt>``, sorted by name."""
        return sorted(self.dataset(dataset_id).glob("*-*"))

    def shard_files(self, dataset_id: str) -> Iterator[Path]:
        """The shards of all attempts."""
        return (path for folder in self.shard_folders(dataset_id) for path in shards_in(folder))

    def shards_of_attempt(self, job_id: str, attempt: int) -> Iterator[Path]:
        """The shards that one attempt wrote, of whichever dataset."""
        return self.datasets.glob(f"*/{attempt_name(job_id, attempt)}/{_SHARDS}")

    def relative(self, path: Path) -> str:
        """A path relative to the data folder, as rows store it."""
        return str(path.relative_to(self.root))

    def file(self, relative: str) -> Path:
        """The shard of a path that a row stores."""
        first, *names = relative.split("/")
        if first != "datasets":
            raise ValueError(f"{relative[:100]!r} is no shard")
        return _below(self.root / first, *names)

    def model(self, directory: str) -> Path:
        """A model's folder; its files are named by ``ModelFile``."""
        return _below(self.root / "models", directory)

    def model_folders(self, job_id: str) -> list[Path]:
        """The models' folders of all attempts at a job."""
        return list(self.models.glob(f"{job_id}-*"))

    def job(self, job_id: str) -> Path:
        """The folder of a job's attempts and results."""
        return _below(self.root / "runs", job_id)

    def run(self, job_id: str, attempt: int) -> RunFolder:
        return RunFolder(self.job(job_id) / str(attempt))

    def classifications(self, job_id: str) -> Path:
        """The table that a job of kind ``classify`` makes."""
        return self.job(job_id) / "classifications.csv"

    def attention_of(self, model_id: str) -> Path:
        return _below(self.root / "attention", model_id)

    def maps(self, model_id: str, directory: str) -> Path:
        """The file of attention maps in a directory that rows name."""
        return _below(self.attention_of(model_id), directory, MAPS)

    @property
    def broker_socket(self) -> Path:
        """The socket of the embedded Valkey; its folder may not exist yet."""
        return self.root / "run" / "valkey.sock"

    @property
    def lock(self) -> Path:
        """Held by the one ``anchorhood serve`` that may run here."""
        return self.processes / "lock"

    @property
    def restoring(self) -> Path:
        """The SQLite file of a backup while it is migrated."""
        return self.processes / "restoring.sqlite3"

    @property
    def broker_log(self) -> Path:
        """The log of the embedded Valkey."""
        return self.processes / "valkey.log"

    def drain(self, worker_pid: int) -> Path:
        """The file whose existence tells the pool process of a worker to hand its job back."""
        return self.processes / f"drain-{socket.gethostname()}-{worker_pid}"

    def drains(self) -> Iterator[Path]:
        """The drain files of all workers."""
        return self.processes.glob("drain-*")

    def alive(self, queue: str) -> Path:
        """The file that a worker whose database answers touches every few seconds."""
        return self.processes / f"alive-{queue}-{socket.gethostname()}"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"


def shards_in(folder: Path) -> Iterator[Path]:
    """The shards in the folder of one attempt."""
    return folder.glob(_SHARDS)


def staged_folder(final: Path) -> Path:
    """The folder in which the content of ``final`` is built before it is renamed."""
    return final.with_name(f"{final.name}.new")


def _take_from_others(path: Path, mode: int) -> None:
    with suppress(OSError):  # it is not there, or another user's
        if path.stat().st_mode & PRIVATE:
            path.chmod(mode)
