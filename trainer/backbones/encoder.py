"""What every encoder is, and encoding a collection with one: images to unit vectors by a backbone, a linear head and a norm."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

S = TypeVar("S")
T = TypeVar("T")
BLOCK = 16_384  # images at a time: their features in double precision are small beside all of them


class Encoder(nn.Module, ABC):
    """f(x): images to unit vectors, with the colour normalisation inside.

    A backbone is a subclass that gives ``features``, ``stages`` and ``path``, and adds a head.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.sobel = False  # whether it sees the images' edges in the place of their colours
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.register_buffer("pixel_std", torch.full((3,), 0.25))
        self.register_load_state_dict_pre_hook(_without_centre)  # type: ignore[no-untyped-call]

    def add_head(self, width: int, dim: int) -> None:
        """The linear map from C features, less their ``centre`` (zero unless a run starts from weights), to d dimensions."""
        self.head = nn.Linear(width, dim)
        self.register_buffer("centre", torch.zeros(width))

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features of the last block, (B, 3, H, W) of normalised colours to (B, C, h, w)."""

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """Modules whose features may stand for what the encoder sees, finest first."""

    @abstractmethod
    def path(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        """The blocks from the first to the last, and the modules between them and the head."""

    def set_moments(self, mean: Tensor, std: Tensor) -> None:
        """Take the collection's mean and standard deviation of each channel in 0..1, (3,) each."""
        self.get_buffer("pixel_mean").copy_(mean)
        self.get_buffer("pixel_std").copy_(std)

    def pooled(self, images: Tensor) -> Tensor:
        """Features of the last block averaged over the image, (B, 3, H, W) in 0..1 to (B, C)."""
        mean, std = self.get_buffer("pixel_mean"), self.get_buffer("pixel_std")
        seen = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        return self.features(edges(seen) if self.sobel else seen).mean(dim=(2, 3))

    def linear(self, features: Tensor) -> Tensor:
        """Pooled features (B, C) to embeddings (B, d) before they are divided by their norm."""
        embeddings: Tensor = self.head(features - self.get_buffer("centre"))
        return embeddings

    def project(self, features: Tensor) -> Tensor:
        """Pooled features (B, C) to unit vectors (B, d)."""
        return F.normalize(self.linear(features).float(), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0..1 to unit vectors (B, d)."""
        return self.project(self.pooled(images))


def _without_centre(encoder: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights that were saved before there was one."""
    state.setdefault(f"{prefix}centre", torch.zeros_like(encoder.get_buffer("centre")))


def edges(images: Tensor) -> Tensor:
    """Sobel's filters of the grey image, as DeepCluster takes them (Caron et al. 2018): normalised colours (B, 3, H, W) to the
    change from left to right, that from top to bottom, and zero: the backbones take three channels, and there is no third filter.

    By differences and not by a convolution, which autocast would compute in bfloat16.
    """
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")  # where an image ends is no edge
    across, down = grey[..., 2:] - grey[..., :-2], grey[..., 2:, :] - grey[..., :-2, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return torch.cat([across, down, torch.zeros_like(across)], dim=1)


def encode(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """Unit vectors of images in evaluation mode and full precision.

    Args:
        encoder: on ``device``; left in evaluation mode.
        batches: uint8 (B, S, S, 3) each, as ``pixels.evaluation_batches`` gives them.
        device: where to compute.

    Returns:
        float32 (N, d) on the CPU.
    """
    return torch.cat([embeddings for embeddings, _ in _encoded(encoder, batches, device)])


def encode_blocks(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """As ``encode``, and beside the unit vectors the last block's features, averaged over the image: float32 (N, C)."""
    embeddings, blocks = zip(*_encoded(encoder, batches, device), strict=True)
    return torch.cat(embeddings), torch.cat(blocks)


def encode_features(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Tensor:
    """As ``encode``, but the last block's features alone, averaged over the image: float32 (N, C)."""
    return torch.cat([features for _, features in _encoded(encoder, batches, device)])


def _encoded(encoder: Encoder, batches: Iterable[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    encoder.eval()

    def one(batch: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            features = encoder.pooled(as_input(batch.to(device)))
            return encoder.project(features).cpu(), features.cpu()

    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(one, batches)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from _in_order(pool, one, batches, 2 * threads)
    finally:
        torch.set_num_threads(threads)


def _in_order(pool: Executor, work: Callable[[S], T], items: Iterable[S], ahead: int) -> Iterator[T]:
    """As ``map``, in a pool, with few items under way: threads that take a batch each never wait for each other, as those of one
    operation do."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def scatter_about(features: Tensor, mean: Tensor) -> Tensor:
    """Sum of (x - mean)(x - mean)^T over the rows x of (N, C), float64 (C, C), by blocks."""
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=features.device)
    for block in torch.split(features, BLOCK):
        centred = block.double() - mean
        scatter.addmm_(centred.T, centred)
    return scatter


def as_input(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) to what an encoder takes: float32 (B, 3, S, S) in 0..1, in channels-last layout."""
    return images.permute(0, 3, 1, 2).float() / 255
