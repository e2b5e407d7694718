"""The encoder: a residual network, a linear head to d dimensions and unit norm.

Parameter names of what torchvision's networks have too are torchvision's (``layer1.0.conv1``, ``bn1``, and for large
images ``conv1``), so that its models load the body with ``strict=False``; ``stem`` (for small images) and ``head`` are ours.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from trainer.config import ConfigError, TrainConfig
from trainer.randomness import generator

_IMAGENET = ("resnet18", "resnet34", "resnet50")  # backbones with weights in torchvision
SMALL_IMAGE = 64  # sides up to this use the small-image stem

Block = type[BasicBlock] | type[Bottleneck]

# Kind of block, and number of blocks and planes of each stage (He et al. 2016, table 1).
_STAGES: dict[str, tuple[Block, tuple[tuple[int, int], ...]]] = {
    "resnet10": (BasicBlock, ((1, 32), (1, 64), (1, 128), (1, 128))),
    "resnet18": (BasicBlock, ((2, 64), (2, 128), (2, 256), (2, 512))),
    "resnet34": (BasicBlock, ((3, 64), (4, 128), (6, 256), (3, 512))),
    "resnet50": (Bottleneck, ((3, 64), (4, 128), (6, 256), (3, 512))),
}


class Encoder(nn.Module):
    """f(x): images to unit vectors, with the colour normalisation inside.

    The stem for sides up to 64 is 3x3 without pooling (He et al. 2016, section 4.2), above that torchvision's.
    """

    def __init__(self, backbone: str, dim: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        block, stages = _STAGES[backbone]
        width = stages[0][1]
        self.small = image_size <= SMALL_IMAGE
        if self.small:
            # Small images keep their resolution; resnet10 halves it, for three times the speed on a CPU.
            self.stem = nn.Conv2d(3, width, 3, 2 if backbone == "resnet10" else 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        for number, (blocks, planes) in enumerate(stages, start=1):
            layer = []
            for index in range(blocks):
                layer.append(_block(block, width, planes, stride=2 if number > 1 and index == 0 else 1))
                width = planes * block.expansion
            setattr(self, f"layer{number}", nn.Sequential(*layer))
        self.head = nn.Linear(width, dim)
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.register_buffer("pixel_std", torch.full((3,), 0.25))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def set_moments(self, mean: Tensor, std: Tensor) -> None:
        """Take the collection's mean and standard deviation of each channel in 0..1, (3,) each."""
        self.get_buffer("pixel_mean").copy_(mean)
        self.get_buffer("pixel_std").copy_(std)

    def body(self, images: Tensor) -> Tensor:
        """Features of the last block, (B, 3, H, W) in 0..1 to (B, C, h, w)."""
        mean, std = self.get_buffer("pixel_mean"), self.get_buffer("pixel_std")
        x = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        x = self.relu(self.bn1(self.stem(x))) if self.small else self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return cast(Tensor, x)

    def pooled(self, images: Tensor) -> Tensor:
        """Features of the last block averaged over the image, (B, 3, H, W) in 0..1 to (B, C)."""
        return self.body(images).mean(dim=(2, 3))

    def project(self, features: Tensor) -> Tensor:
        """Pooled features (B, C) to unit vectors (B, d)."""
        embeddings: Tensor = self.head(features)
        return F.normalize(embeddings.float(), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0..1 to unit vectors (B, d)."""
        return self.project(self.pooled(images))


def _block(kind: Block, inplanes: int, planes: int, stride: int) -> nn.Module:
    outplanes = planes * kind.expansion
    downsample = None
    if stride != 1 or inplanes != outplanes:
        downsample = nn.Sequential(nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes))
    return kind(inplanes, planes, stride, downsample)  # type: ignore[no-any-return]


def build_encoder(config: TrainConfig) -> Encoder:
    """A freshly initialised encoder; its weights are a function of ``config.seed`` alone."""
    assert config.image_size is not None, "resolve the configuration first"
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(config.seed, "weights").get_state())
        return Encoder(config.backbone, config.dim, config.image_size)


def load_initial_weights(encoder: Encoder, source: str, backbone: str) -> list[str]:
    """Warm start; what does not fit, such as a head of another length or torchvision's classifier, is left as it is.

    Args:
        encoder: takes the weights.
        source: a safetensors file with torchvision's names, or ``imagenet`` for torchvision's own weights, which are
            downloaded unless torch's cache holds them.
        backbone: its name in the configuration.

    Returns:
        Names of the parameters that were loaded.

    Raises:
        ConfigError: the weights cannot be had, or nothing in them fits.
    """
    weights = _imagenet(backbone) if source == "imagenet" else _read_weights(source)
    own = encoder.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not any(value.ndim == 4 for value in fitting.values()):  # not one convolution
        raise ConfigError(f"init: nothing in {source} fits {backbone} at {encoder.image_size} pixels")
    encoder.load_state_dict(fitting, strict=False)
    return sorted(fitting)


def _read_weights(path: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"init: cannot read weights from {path} ({error}); "
            "give random, imagenet, a model's id (in a job) or a safetensors file"
        ) from error


def _imagenet(backbone: str) -> dict[str, Tensor]:
    if backbone not in _IMAGENET:
        raise ConfigError(f"init: torchvision has no ImageNet weights for {backbone}, only for {', '.join(_IMAGENET)}")
    weights = get_model_weights(backbone).DEFAULT
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"init: ImageNet weights cannot be downloaded from {weights.url} ({error}); "
            f"put the file into {torch.hub.get_dir()}/checkpoints, or give random or a safetensors file"
        ) from error
