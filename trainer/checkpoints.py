"""Checkpoints: complete, atomic, and named by their own content's hash, so that a damaged one is recognised."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from core.ground import durable
from core.ground.folders import Position, checkpoint_name, checkpoints_in, parse_checkpoint_name

KEEP = 2  # newest within the round under way; the end of every round is always kept


def save(folder: Path, position: Position, state: dict[str, Any]) -> Path:
    """Write ``state`` so that it is either wholly there or not at all, and drop what it makes superfluous."""
    durable.make_folder(folder)
    temporary = folder / "writing.tmp"
    with open(temporary, "wb") as file:
        torch.save(state, file)
    path = folder / checkpoint_name(position, _digest(temporary))
    durable.replace(temporary, path)
    passing = [old for at, old in checkpoints_in(folder) if not at.ends_round]
    for old in passing[:-KEEP]:
        old.unlink(missing_ok=True)
    return path


def newest(folders: Iterable[Path]) -> tuple[Position, Path] | None:
    """The furthest intact checkpoint in any of the folders; damaged ones are passed over."""
    everything = sorted((entry for folder in folders for entry in checkpoints_in(folder)), reverse=True)
    return next(((position, path) for position, path in everything if intact(path)), None)


def intact(path: Path) -> bool:
    """Whether a checkpoint's content is what its name says."""
    name = parse_checkpoint_name(path.name)
    try:
        return name is not None and name[1] == _digest(path)
    except OSError:
        return False


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, tensors on the CPU."""
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def round_ends(folder: Path) -> list[tuple[int, Path]]:
    """(round, path) of the intact checkpoints at the end of each round."""
    return [(at.round - 1, path) for at, path in checkpoints_in(folder) if at.ends_round and intact(path)]


def adopt_round_ends(folders: Iterable[Path], into: Path) -> None:
    """Bring earlier attempts' round ends into this attempt's folder, by a hard link where possible."""
    durable.make_folder(into)
    have = {at for at, _ in checkpoints_in(into)}
    for folder in folders:
        for at, path in checkpoints_in(folder):
            if at.ends_round and at not in have and intact(path):
                have.add(at)
                try:
                    os.link(path, into / path.name)
                    durable.sync(into)
                except OSError:
                    (into / "writing.tmp").write_bytes(path.read_bytes())
                    durable.replace(into / "writing.tmp", into / path.name)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
