"""``client.models``."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np

from anchorhood.arrays import Attention, AttentionRound, Map
from anchorhood.datasets import Datasets
from anchorhood.errors import AnchorhoodError, ApiError
from anchorhood.jobs import Job, Jobs
from anchorhood.records import Dataset, Model, id_of, record
from anchorhood.transport import Transport, path_of
from anchorhood.values import as_int, as_ints

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")  # no folder, drive, stream, hidden file or control character


class Models:
    """Published models."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._datasets, self._jobs = transport, Datasets(transport), Jobs(transport)

    def list(self, dataset: Dataset | str | None = None) -> Iterator[Model]:
        """All models, or those of a dataset."""
        return (record(Model, values) for values in self._transport.pages("/models", dataset_id=id_of(dataset)))

    def get(self, model_id: str) -> Model:
        """One model with its manifest."""
        return record(Model, self._transport.json("GET", path_of("models", model_id)))

    def current(self, dataset: Dataset | str | None = None) -> str:
        """The id of a dataset's current model; without a dataset, of the only dataset that has one.

        Raises:
            ApiError: there is none, or it is not clear which.
        """
        if dataset is not None:
            models = [self._datasets.get(id_of(dataset)).model_id]
        else:
            models = [each.model_id for each in self._datasets.list() if each.model_id]
        if len(models) != 1 or models[0] is None:
            what = "no model yet" if models in ([], [None]) else f"{len(models)} datasets have a model; name one"
            raise ApiError(409, "no_model", what)
        return models[0]

    def download(self, model_id: str, name: str, path: str | os.PathLike[str]) -> Path:
        """One of a model's files, such as ``encoder.onnx``, written to ``path``."""
        with writing(path) as file:
            self._copy(path_of("models", model_id, "files", name), file)
        return Path(os.fsdecode(path))

    def download_all(self, model_id: str, folder: str | os.PathLike[str]) -> Sequence[Path]:
        """The manifest and every file that it names, written into a folder that there is.

        Raises:
            AnchorhoodError: the manifest names a file that would not lie in the folder, or a link there has such a name; then
                nothing is written.
        """
        names = ["manifest.json", *(self.get(model_id).manifest or {}).get("files", ())]
        paths = [_inside(Path(os.fsdecode(folder)), name) for name in names]
        return [self.download(model_id, name, path) for name, path in zip(names, paths, strict=True)]

    def export(self, model_id: str, file: IO[bytes], format: str = "npz") -> None:
        """Write all embeddings with their images' ids, paths and labels, as ``npz`` or ``csv``, to an open file."""
        self._copy(path_of("models", model_id, "embeddings"), file, format=format)

    def map(self, model_id: str) -> Map:
        """Where all images lie in two dimensions, and how they were learned."""
        answer = self._transport.json("GET", path_of("models", model_id, "map"))
        names = np.array([*answer["names"], ""])  # the index -1, no label, is the last
        return Map(
            ids=np.array(answer["ids"], np.int64),
            places=np.array([answer["x"], answer["y"]], np.float32).T,
            labels=names[np.array(answer["labels"], np.int64)],
            entropy=np.array(answer["entropy"], np.float32),
            anchor_round=np.array(answer["anchor_round"], np.int64),
        )

    def compute_attention(self, model_id: str, image_ids: Sequence[int]) -> Job:
        """See, as a job, where the encoder of each round of the model looks in up to 256 images."""
        return self._jobs.post(path_of("models", model_id, "attention"), {"image_ids": as_ints(image_ids, "image_ids")})

    def attention(self, model_id: str, image_id: int) -> Attention:
        """The rounds of which there are maps of an image; ``ApiError`` 404 before ``compute_attention``."""
        answer = self._transport.json(
            "GET", path_of("images", as_int(image_id, "image_id"), "attention"), params={"model_id": model_id}
        )
        rounds = [record(AttentionRound, values) for values in answer.pop("rounds")]
        return record(Attention, answer, rounds=rounds)

    def attention_map(self, model_id: str, image_id: int, round: int) -> bytes:
        """A PNG of 224 x 224 pixels: the image under the map of a round, red where its encoder looks most."""
        path = path_of("images", as_int(image_id, "image_id"), "attention", as_int(round, "round"))
        return self._transport.send("GET", path, again=True, params={"model_id": model_id}).content

    def delete(self, model_id: str) -> None:
        """Delete a model that is not its dataset's current one."""
        self._transport.json("DELETE", path_of("models", model_id))

    def _copy(self, path: str, file: IO[bytes], **params: Any) -> None:
        try:
            with self._transport.stream(path, params=params) as response:
                for part in response.iter_bytes(1 << 20):
                    file.write(part)
        except httpx.TransportError as error:
            raise self._transport.unreachable(error) from error


def _inside(folder: Path, name: object) -> Path:
    """A file of a folder. A server may be anybody's, so that its names are taken only as what every system calls a plain name."""
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        raise AnchorhoodError(
            f"the model's manifest names a file {str(name)[:100]!r}, which is no plain name; nothing was written"
        )
    path = folder / name
    if path.is_symlink():
        raise AnchorhoodError(f"{path} is a link, which is not followed; nothing was written")
    return path


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that appears at ``path`` when it is whole, and not at all where that fails.

    Raises:
        OSError: it cannot be written; it is named.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    apart = not target.exists() or target.is_file()  # a device or a pipe is written to as it is
    aside = target.with_name(f"{target.name}.part") if apart else target
    try:
        if apart:
            aside.unlink(missing_ok=True)  # of a command that was killed; a link there is not followed
        with open(aside, "xb" if apart else "wb") as file:
            yield file
        if apart:
            os.replace(aside, target)
    except BaseException as error:
        if apart:
            with suppress(OSError):
                aside.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
