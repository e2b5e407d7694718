"""What a finished run leaves behind: encoder, embeddings, neighbourhoods, metrics and a map, in one folder."""

import itertools
import math
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from core.ground import finite
from core.ground.folders import ModelFile, Position
from trainer.backbones.encoder import Encoder, as_input, encode
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.machine.threads import free_cpus
from trainer.progress import Progress
from trainer.run import Run

PARITY = 1e-4  # largest difference allowed between an ONNX Runtime and a torch embedding, per component
MAP_LIMIT = 200_000  # above this the map is a linear projection: t-SNE would take hours
_STEPS, _EXAGGERATED = 750, 250  # of t-SNE, and those of them with which it begins
_TOLD_EVERY = 50
_SHARED_FROM = 3_000  # points, from which on threads of t-SNE gain more than they wait for each other
_SAMPLES = 64  # pictures in a grid, a square number


def export(config: TrainConfig, run: Run, images: ImageList, folder: Path, progress: Progress | None = None) -> None:
    """Write the run's results; rows are in the order of ``images``.

    Files: ``encoder.onnx``, ``encoder.safetensors``, ``embeddings.npy`` float32 (N, d), ``ids.npy`` int64 (N,),
    ``neighbourhoods.npz`` (``entropy`` float32 (R, N) at the end of each round; ``anchor_round`` int64 (N,), -1 for never;
    ``neighbours`` int64 (N, k), ids of the images an anchor was last trained towards, -1 for none), ``projection.npy``
    float32 (N, 2), ``metrics.jsonl``; ``samples.png`` of a method that makes up pictures.

    Raises:
        RuntimeError: the exported encoder does not agree with the trained one, or an embedding is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = run.bank.rows.device
    assert config.image_size is not None
    progress = progress or Progress()
    if config.epochs_first == 0 and run.position == Position(1):  # nothing was trained: the bank holds what the encoder gives
        embeddings = run.bank.whole().cpu()
    else:
        batches = progress.through("encoding", evaluation_batches(images, config.image_size), len(images.images))
        embeddings = encode(run.encoder, batches, device)
    if not bool(torch.isfinite(embeddings).all()):
        raise RuntimeError("the encoder gives embeddings that are not finite: lower learning_rate or set precision float32")
    ids = np.array([image.id for image in images.images], dtype=np.int64)
    np.save(folder / ModelFile.EMBEDDINGS, embeddings.numpy())
    np.save(folder / ModelFile.IDS, ids)
    towards = run.trained_towards.numpy()
    np.savez(
        folder / ModelFile.NEIGHBOURHOODS,
        entropy=torch.stack(run.entropy).numpy(),
        anchor_round=run.anchor_round.numpy(),
        neighbours=np.where(towards >= 0, ids[towards], -1),
    )
    progress.at("mapping", 0.0)
    np.save(folder / ModelFile.PROJECTION, project(embeddings.numpy(), progress))
    with open(folder / ModelFile.METRICS, "w", encoding="utf-8") as file:
        file.writelines(finite.dumps(event) + "\n" for event in run.history if event["type"] == "epoch")
    progress.at("writing", 0.0)
    if (samples := run.method.samples(_SAMPLES)) is not None:
        write_grid(samples, folder / ModelFile.SAMPLES)
    encoder = run.encoder.to("cpu").eval()
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, folder / ModelFile.WEIGHTS)
    sample = next(iter(evaluation_batches(images, config.image_size)))[:8]
    export_onnx(encoder, sample, embeddings[:8], folder / ModelFile.ENCODER)


def write_grid(pictures: Tensor, path: Path) -> None:
    """Write pictures as one PNG, in as many rows as columns.

    Args:
        pictures: uint8 (n n, S, S, 3).
        path: the file.
    """
    count, side = math.isqrt(len(pictures)), pictures.shape[1]
    grid = pictures.view(count, count, side, side, 3).transpose(1, 2).reshape(count * side, count * side, 3)
    Image.fromarray(grid.numpy()).save(path, "PNG")


class _FromBytes(nn.Module):
    """uint8 (B, S, S, 3), as Pillow and NumPy hold images, to unit vectors."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.encoder(as_input(images))
        return embeddings


def export_onnx(encoder: Encoder, sample: Tensor, embeddings: Tensor, path: Path) -> None:
    """Write the encoder as ONNX and compare it with the embeddings of real images, wherever these were computed.

    Args:
        encoder: in evaluation mode, on the CPU.
        sample: uint8 (B, S, S, 3).
        embeddings: the sample's embeddings (B, d) as they are published.
        path: the file; its input is ``images`` uint8 (batch, S, S, 3), its output ``embeddings`` float32 (batch, d).

    Raises:
        RuntimeError: the two differ by more than ``PARITY``.
    """
    module = _FromBytes(encoder).eval()
    expected = embeddings.numpy()
    program = torch.onnx.export(
        module,
        (sample,),
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=["embeddings"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for part in (sample, sample[:1]):
        (actual,) = session.run(None, {"images": part.numpy()})
        worst = float(np.abs(actual - expected[: len(part)]).max())
        if not worst <= PARITY:
            raise RuntimeError(f"the exported encoder differs from the trained one by {worst:.2g} (allowed: {PARITY:g})")


def project(embeddings: NDArray[np.float32], progress: Progress | None = None) -> NDArray[np.float32]:
    """A map for people to look at: t-SNE of the cosine distances (van der Maaten and Hinton 2008), started from the two
    principal components; the principal components alone above ``MAP_LIMIT`` or below 50 rows.

    Args:
        embeddings: unit rows (N, d).

    Returns:
        float32 (N, 2).
    """
    centred = embeddings - embeddings.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    principal = (centred @ vectors[:, :-3:-1]).astype(np.float32)
    if not 50 <= len(embeddings) <= MAP_LIMIT:
        return np.asarray(principal)
    from openTSNE import TSNE

    told = itertools.count(1)

    def tell(*_: object) -> None:
        if progress:
            progress.at("mapping", next(told) * _TOLD_EVERY / _STEPS)

    scale = 1e-4 / max(float(principal[:, 0].std()), 1e-12)
    tsne = TSNE(
        metric="cosine",
        initialization=principal * scale,
        random_state=0,
        n_jobs=1 if len(embeddings) < _SHARED_FROM else free_cpus(),
        early_exaggeration_iter=_EXAGGERATED,
        n_iter=_STEPS - _EXAGGERATED,
        callbacks=tell,
        callbacks_every_iters=_TOLD_EVERY,
    )
    layout = tsne.fit(embeddings)
    return np.asarray(layout, dtype=np.float32)
