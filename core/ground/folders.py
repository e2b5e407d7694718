"""Folders that the trainer writes and the worker and the service read: the names of all files in them stand here alone."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ModelFile(StrEnum):
    """What training publishes (docs/encoder.md): the names of the files in a model's folder."""

    MANIFEST = "manifest.json"
    ENCODER = "encoder.onnx"
    WEIGHTS = "encoder.safetensors"
    EMBEDDINGS = "embeddings.npy"
    IDS = "ids.npy"
    INDEX = "index.faiss"
    NEIGHBOURHOODS = "neighbourhoods.npz"
    PROJECTION = "projection.npy"
    METRICS = "metrics.jsonl"
    SAMPLES = "samples.png"  # pictures that a generator made up, where the method has one
    PATHS = "paths.npy"  # of the model's images, in the order of its rows


@dataclass(frozen=True)
class RunFolder:
    """The folder of one attempt at a training: the trainer's input and output, including the model until it is published."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, in which every parameter has a value."""
        return self.path / "config.json"

    @property
    def images(self) -> Path:
        """The list of images."""
        return self.path / "images.jsonl"

    @property
    def labels(self) -> Path:
        return self.path / "labels.json"

    @property
    def taught(self) -> Path:
        """The labels that a method learns from which reads them: those at the job's beginning, whatever becomes of them."""
        return self.path / "taught.json"

    @property
    def held_out(self) -> Path:
        """The list of images to judge on."""
        return self.path / "held-out.jsonl"

    @property
    def held_out_labels(self) -> Path:
        return self.path / "held-out-labels.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def progress(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def threads(self) -> Path:
        """How many threads the steps of training took (``trainer/machine/threads.py``)."""
        return self.path / "threads.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "trainer.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The folder of a model before it is published."""
        return self.path / "model"

    @property
    def earlier(self) -> Path:
        """An earlier round, exported to be published in place of the last."""
        return self.path / "earlier"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def evaluation_progress(self) -> Path:
        return self.path / "evaluation-progress.jsonl"

    @property
    def maps(self) -> Path:
        """A folder of attention maps before it is published."""
        return self.path / "maps"

    def command(self, name: str) -> Path:
        """The input of a command of the trainer (``run``, ``evaluate``, ``export``, ``attention``)."""
        return self.path / f"{name}.json"

    @classmethod
    def of_checkpoint(cls, path: Path) -> "RunFolder":
        """The folder that a checkpoint lies in."""
        return cls(path.parent.parent)


MAPS = "maps.npz"  # in a folder of attention maps
_CHECKPOINT = re.compile(r"r(\d{2})-e(\d{5})-s(\d{6})-([0-9a-f]{16})\.pt")


@dataclass(frozen=True, order=True)
class Position:
    """The next step to take: round, epoch within it, step within that. A round's end is epoch 0 of the next."""

    round: int = 0
    epoch: int = 0
    step: int = 0

    @property
    def ends_round(self) -> bool:
        return self.round > 0 and self.epoch == 0 and self.step == 0

    def __str__(self) -> str:
        return f"r{self.round:02}-e{self.epoch:05}-s{self.step:06}"


def checkpoint_name(position: Position, digest: str) -> str:
    """The file name of a checkpoint; names sort by position.

    Args:
        digest: the first 16 hexadecimal digits of its content's SHA-256.
    """
    return f"{position}-{digest}.pt"


def parse_checkpoint_name(name: str) -> tuple[Position, str] | None:
    """Position and digest, ``None`` of another file's name."""
    match = _CHECKPOINT.fullmatch(name)
    return (Position(*map(int, match.groups()[:3])), match.group(4)) if match else None


def checkpoints_in(folder: Path) -> list[tuple[Position, Path]]:
    """Checkpoints in a folder by position, oldest first, not verified."""
    named = ((parse_checkpoint_name(path.name), path) for path in folder.glob("*.pt"))
    return sorted((name[0], path) for name, path in named if name)


def checkpoints_of_job(home: Path) -> list[tuple[Position, Path]]:
    """Those of all attempts at a job, by position, oldest first, not verified.

    Args:
        home: the folder of its attempts.
    """
    return sorted(entry for attempt in home.glob("*") for entry in checkpoints_in(RunFolder(attempt).checkpoints))
