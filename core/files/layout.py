"""The data folder: every folder and file name in it is built and parsed here (those of runs and models in
``core/ground/folders.py``, which the trainer knows, too) and nowhere else."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.ground.folders import MAPS, RunFolder

SHARD = "shard-{:06}.tar"
_SHARDS = "shard-*.tar"
BACKED_UP = ("datasets", "models", "runs", "attention", "uploads")  # folders; the rows are copied by themselves
_MERGED = "+"  # between a model's first folder and the attempt that compacted it


def attempt_name(job_id: str, attempt: int) -> str:
    """The name of what one attempt at a job made, ``<job>-<attempt>``."""
    return f"{job_id}-{attempt}"


def attempt_of(name: str) -> tuple[str, int]:
    """The job and the attempt in such a name, or in that of a model's folder.

    Raises:
        ValueError: it is no such name.
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
    """Those of the models' folders that are of one model: the first one, and what compaction made of it.

    Args:
        directory: the name of any of them.
    """
    return [folder for folder in folders if first_folder(folder.name) == first_folder(directory)]


@dataclass(frozen=True)
class DataFolder:
    """``ANCHORHOOD_DATA_DIR``. Properties make the folder that they name where it is not there; methods only name."""

    root: Path

    @property
    def rows(self) -> Path:
        """The SQLite file, where the database is no other."""
        return self.root / "anchorhood.sqlite3"

    @property
    def uploads(self) -> Path:
        """Uploads until they are validated."""
        return self.made("uploads")

    @property
    def datasets(self) -> Path:
        return self.made("datasets")

    @property
    def models(self) -> Path:
        return self.made("models")

    @property
    def runs(self) -> Path:
        return self.made("runs")

    @property
    def attention(self) -> Path:
        return self.made("attention")

    @property
    def logs(self) -> Path:
        return self.made("logs")

    @property
    def processes(self) -> Path:
        """What running processes tell each other: the socket, the lock, signs of life."""
        return self.made("run")

    def made(self, name: str) -> Path:
        """A folder, made if it is not there."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def upload(self, name: str) -> Path:
        return self.uploads / name

    def dataset(self, dataset_id: str) -> Path:
        return self.root / "datasets" / dataset_id

    def shards(self, dataset_id: str, job_id: str, attempt: int) -> Path:
        """The folder of the shards that one attempt wrote."""
        return self.dataset(dataset_id) / attempt_name(job_id, attempt)

    def shard_folders(self, dataset_id: str) -> list[Path]:
        """Of all attempts, named ``<job>-<attempt>``, in the order of their names."""
        return sorted(self.dataset(dataset_id).glob("*-*"))

    def shard_files(self, dataset_id: str) -> Iterator[Path]:
        """Of all attempts."""
        return (path for folder in self.shard_folders(dataset_id) for path in shards_in(folder))

    def shards_of_attempt(self, job_id: str, attempt: int) -> Iterator[Path]:
        """The files that one attempt wrote, whichever dataset it was for."""
        return self.datasets.glob(f"*/{attempt_name(job_id, attempt)}/{_SHARDS}")

    def relative(self, path: Path) -> str:
        """A path as rows hold it."""
        return str(path.relative_to(self.root))

    def file(self, relative: str) -> Path:
        """The file that a row names."""
        return self.root / relative

    def model(self, directory: str) -> Path:
        """A model's folder; its files are named by ``ModelFile``."""
        return self.root / "models" / directory

    def model_folders(self, job_id: str) -> list[Path]:
        """Of all attempts at a job."""
        return list(self.models.glob(f"{job_id}-*"))

    def job(self, job_id: str) -> Path:
        """The folder of a job's attempts and results."""
        return self.root / "runs" / job_id

    def run(self, job_id: str, attempt: int) -> RunFolder:
        return RunFolder(self.job(job_id) / str(attempt))

    def classifications(self, job_id: str) -> Path:
        """The table that a job of kind ``classify`` makes."""
        return self.job(job_id) / "classifications.csv"

    def attention_of(self, model_id: str) -> Path:
        return self.root / "attention" / model_id

    def maps(self, model_id: str, directory: str) -> Path:
        """The file of attention maps that rows name."""
        return self.attention_of(model_id) / directory / MAPS

    @property
    def broker_socket(self) -> Path:
        """Of the embedded Valkey; its folder may not be there yet."""
        return self.root / "run" / "valkey.sock"

    @property
    def lock(self) -> Path:
        """Held by the one ``anchorhood serve`` that may run here."""
        return self.processes / "lock"

    @property
    def restoring(self) -> Path:
        """The rows of a backup while they are brought up to date."""
        return self.processes / "restoring.sqlite3"

    @property
    def broker_log(self) -> Path:
        """What the embedded Valkey says itself."""
        return self.processes / "valkey.log"

    def drain(self, worker_pid: int) -> Path:
        """The file whose existence tells the pool process of a worker to hand its job back."""
        return self.processes / f"drain-{socket.gethostname()}-{worker_pid}"

    def drains(self) -> Iterator[Path]:
        """Of all workers."""
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
    """Where what is to appear as ``final`` is made."""
    return final.with_name(f"{final.name}.new")
