"""Backbones: residual networks, and EfficientNet-Lite0 in ``trainer/backbones/efficientnet.py``; and the weights they start from.

Parameter names of what torchvision's networks have too are torchvision's (``layer1.0.conv1``, ``bn1``, and for large
images ``conv1``), so that its models load the body with ``strict=False``; ``stem`` (for small images) and ``head`` are ours.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from core.ground import parameters
from trainer.backbones import efficientnet
from trainer.backbones.encoder import Encoder
from trainer.backbones.halves import halve, lab, normalised
from trainer.config import ConfigError, TrainConfig
from trainer.randomness import generator

_MOMENTS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of colours in 0..1, as torchvision's weights take them
SMALL_IMAGE = 64  # sides up to this use the small-image stem

Block = type[BasicBlock] | type[Bottleneck]

# Kind of block, and number of blocks and planes of each stage (He et al. 2016, table 1).
_STAGES: dict[str, tuple[Block, tuple[tuple[int, int], ...]]] = {
    "resnet10": (BasicBlock, ((1, 32), (1, 64), (1, 128), (1, 128))),
    "resnet18": (BasicBlock, ((2, 64), (2, 128), (2, 256), (2, 512))),
    "resnet34": (BasicBlock, ((3, 64), (4, 128), (6, 256), (3, 512))),
    "resnet50": (Bottleneck, ((3, 64), (4, 128), (6, 256), (3, 512))),
}


class ResNet(Encoder):
    """A residual network (He et al. 2016). The stem for sides up to 64 is 3x3 without pooling (section 4.2), above that
    torchvision's."""

    def __init__(self, backbone: str, dim: int, image_size: int) -> None:
        super().__init__(image_size)
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
        self.add_head(width, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> Sequence[nn.Module]:
        return [self.get_submodule(f"layer{number}") for number in range(1, 5)]

    def path(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        return [block for stage in self.stages() for block in stage.children()], []

    def features(self, images: Tensor) -> Tensor:
        if self.small:
            x = self.relu(self.bn1(self.stem(images)))
        else:
            x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in self.stages():
            x = _full_precision(stage, x) if x.shape[-1] == 1 and torch.is_autocast_enabled(x.device.type) else stage(x)
        return cast(Tensor, x)


class Halves(ResNet):
    """Two residual networks side by side, each with half the planes: the first half of every block's channels sees lightness
    alone, the second colours alone (Zhang, Isola, Efros, CVPR 2017, section 3.2)."""

    def __init__(self, backbone: str, dim: int, image_size: int) -> None:
        super().__init__(backbone, dim, image_size)
        halve(self)

    def features(self, images: Tensor) -> Tensor:
        """Of normalised Lab (B, 3, H, W)."""
        return super().features(torch.cat([images[:, :1], images], dim=1))  # each half has two channels: L and L, a and b

    def maps(self, images: Tensor) -> Tensor:
        """Features of the last block, (B, 3, H, W) in 0..1 to (B, C, h, w)."""
        return self.features(normalised(lab(images)))

    def pooled(self, images: Tensor) -> Tensor:
        return self.maps(images).mean(dim=(2, 3))


def _full_precision(stage: nn.Module, x: Tensor) -> Tensor:
    """The stage without autocast. For a strided convolution over a single pixel oneDNN's bfloat16 leaves the gradient of those
    weights unwritten that see padding alone (torch 2.14): whatever the memory held, often NaN."""
    with torch.autocast(x.device.type, enabled=False):
        return cast(Tensor, stage(x.float()))


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
        encoder: Encoder
        if config.backbone == "efficientnet_lite0":
            encoder = efficientnet.EfficientNetLite0(config.dim, config.image_size)
        else:
            kind = Halves if config.method == "splitbrain" else ResNet
            encoder = kind(config.backbone, config.dim, config.image_size)
    encoder.sobel = config.sobel
    return encoder


def load_initial_weights(encoder: Encoder, source: str, backbone: str) -> list[str]:
    """Start from weights; what does not fit, such as a head of another length or a classifier, is left as it is.

    Args:
        encoder: takes the weights, and with ImageNet's the colours they expect.
        source: a safetensors file with the encoder's names, or ``imagenet``: for EfficientNet the weights of the installed
            package, for residual networks torchvision's own, which are downloaded unless torch's cache holds them.
        backbone: its name in the configuration.

    Returns:
        Names of the parameters that were loaded.

    Raises:
        ConfigError: the weights cannot be had, nothing in them fits, or they are not finite.
    """
    weights = _imagenet(encoder, backbone) if source == "imagenet" else _read_weights(source)
    own = encoder.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not any(value.ndim == 4 for value in fitting.values()):  # not one convolution
        raise ConfigError(f"init: nothing in {source} fits {backbone} at {encoder.image_size} pixels")
    broken = [name for name, value in fitting.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise ConfigError(f"init: {source} holds values that are not finite, the first in {broken[0]}")
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


def _imagenet(encoder: Encoder, backbone: str) -> dict[str, Tensor]:
    if backbone == "efficientnet_lite0":
        file = parameters.weights_file()
        if file is None:
            raise ConfigError(f"init: {parameters.WEIGHTS_MISSING}")
        encoder.set_moments(*efficientnet.MOMENTS)
        return efficientnet.published_weights(file)
    if reason := parameters.conflict({"init": "imagenet", "backbone": backbone}):
        raise ConfigError(reason)
    weights = get_model_weights(backbone).DEFAULT
    try:
        found = dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"init: ImageNet weights cannot be downloaded from {weights.url} ({error}); "
            f"put the file into {torch.hub.get_dir()}/checkpoints, or give random or a safetensors file"
        ) from error
    encoder.set_moments(*map(torch.tensor, _MOMENTS))
    return found
