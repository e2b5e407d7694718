"""The encoder: a residual network, a linear head to d dimensions and unit norm.

Parameter names are torchvision's (``conv1``, ``layer1.0.conv1``, ...), so that its models can load the body.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from trainer.config import ConfigError, TrainConfig
from trainer.randomness import generator

SMALL_IMAGE = 64  # sides up to this use the small-image stem

# Number of basic blocks and width of each stage.
_STAGES: dict[str, tuple[tuple[int, int], ...]] = {
    "resnet10": ((1, 32), (1, 64), (1, 128), (1, 128)),
    "resnet18": ((2, 64), (2, 128), (2, 256), (2, 512)),
}
# The stem for small images keeps their resolution; resnet10's halves it, for three times the speed on a CPU.
_SMALL_STRIDE = {"resnet10": 2, "resnet18": 1}


class Encoder(nn.Module):
    """f(x): images to unit vectors, with the colour normalisation inside.

    The stem for sides up to 64 is 3x3 without pooling (He et al. 2016, section 4.2), above that torchvision's.
    """

    def __init__(self, backbone: str, dim: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        stages = _STAGES[backbone]
        width = stages[0][1]
        small = image_size <= SMALL_IMAGE
        stride = _SMALL_STRIDE[backbone] if small else 2
        self.conv1 = nn.Conv2d(3, width, 3 if small else 7, stride, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        for number, (blocks, planes) in enumerate(stages, start=1):
            layer = [_block(width, planes, stride=1 if number == 1 else 2)]
            layer += [_block(planes, planes, stride=1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*layer))
            width = planes
        self.fc = nn.Linear(width, dim)
        self.register_buffer("pixel_mean", torch.full((3,), 0.5))
        self.register_buffer("pixel_std", torch.full((3,), 0.25))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def body(self, images: Tensor) -> Tensor:
        """Features of the last block, (B, 3, H, W) in 0..1 to (B, C, h, w)."""
        mean, std = self.get_buffer("pixel_mean"), self.get_buffer("pixel_std")
        x = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return cast(Tensor, x)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in 0..1 to unit vectors (B, d)."""
        features = self.body(images).mean(dim=(2, 3))
        embeddings: Tensor = self.fc(features)
        return F.normalize(embeddings.float(), dim=1)


def _block(inplanes: int, planes: int, stride: int) -> BasicBlock:
    downsample = None
    if stride != 1 or inplanes != planes:
        downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
    return BasicBlock(inplanes, planes, stride, downsample)


def build_encoder(config: TrainConfig) -> Encoder:
    """A freshly initialised encoder; its weights are a function of ``config.seed`` alone."""
    assert config.image_size is not None, "resolve the configuration first"
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(config.seed, "weights").get_state())
        return Encoder(config.backbone, config.dim, config.image_size)


def load_initial_weights(encoder: Encoder, path: str) -> list[str]:
    """Warm start from a safetensors file with torchvision's names; a head of another shape is left as it is.

    Returns:
        Names of the parameters that were loaded.

    Raises:
        ConfigError: the file cannot be read, or nothing in it fits.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"init: cannot read weights from {path}: {error}") from error
    own = encoder.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not any(name.startswith(("conv1", "layer")) for name in fitting):
        raise ConfigError(f"init: nothing in {path} fits this backbone and image size")
    encoder.load_state_dict(fitting, strict=False)
    return sorted(fitting)
