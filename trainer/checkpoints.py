"""Checkpoints: complete, atomic, and named by their own content's hash, so that a damaged one is recognised."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_NAME = re.compile(r"r(\d{2})-e(\d{5})-s(\d{6})-([0-9a-f]{16})\.pt")
KEEP = 2  # newest within the round under way; the end of every round is always kept


@dataclass(frozen=True, order=True)
class Position:
    """The next step to take: round, epoch within it, step within that. A round's end is epoch 0 of the next."""

    round: int = 0
    epoch: int = 0
    step: int = 0

    @property
    def ends_round(self) -> bool:
        return self.round > 0 and self.epoch == 0 and self.step == 0


def save(folder: Path, position: Position, state: dict[str, Any]) -> Path:
    """Write ``state`` so that it is either wholly there or not at all, and drop what it makes superfluous."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "writing.tmp"
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    stem = f"r{position.round:02}-e{position.epoch:05}-s{position.step:06}"
    path = folder / f"{stem}-{_digest(temporary)}.pt"
    os.replace(temporary, path)
    sync_folder(folder)
    passing = [old for at, old in found(folder) if not at.ends_round]
    for old in passing[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def found(folder: Path) -> list[tuple[Position, Path]]:
    """Checkpoints in a folder by position, oldest first, not verified."""
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.glob("*.pt"))
    return sorted((Position(*map(int, match.groups()[:3])), path) for match, path in matches if match)


def newest(folders: Iterable[Path]) -> tuple[Position, Path] | None:
    """The furthest intact checkpoint in any of the folders; damaged ones are passed over."""
    everything = sorted((entry for folder in folders for entry in found(folder)), reverse=True)
    return next(((position, path) for position, path in everything if intact(path)), None)


def intact(path: Path) -> bool:
    """Whether a checkpoint's content is what its name says."""
    match = _NAME.fullmatch(path.name)
    try:
        return match is not None and match.group(4) == _digest(path)
    except OSError:
        return False


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, tensors on the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def round_ends(folder: Path) -> list[tuple[int, Path]]:
    """(round, path) of the intact checkpoints at the end of each round."""
    return [(at.round - 1, path) for at, path in found(folder) if at.ends_round and intact(path)]


def adopt_round_ends(folders: Iterable[Path], into: Path) -> None:
    """Bring earlier attempts' round ends into this attempt's folder, by a hard link where possible."""
    into.mkdir(parents=True, exist_ok=True)
    have = {at for at, _ in found(into)}
    for folder in folders:
        for at, path in found(folder):
            if at.ends_round and at not in have and intact(path):
                have.add(at)
                try:
                    os.link(path, into / path.name)
                except OSError:
                    (into / "writing.tmp").write_bytes(path.read_bytes())
                    os.replace(into / "writing.tmp", into / path.name)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is either wholly there or not at all."""
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
