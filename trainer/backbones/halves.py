"""What makes a network of two halves that see different things (Zhang, Isola, Efros, CVPR 2017): CIE Lab in the place of RGB, and
convolutions of two groups. The encoder is ``Halves`` in ``trainer/backbones/resnet.py``."""

import torch
from torch import Tensor, nn

# Linear sRGB to CIE XYZ (IEC 61966-2-1), each row by its sum, the white point D65's: white is then (1, 1, 1).
_ROWS = (0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)
_TO_XYZ = tuple(tuple(value / sum(row) for value in row) for row in _ROWS)
_LINEAR = 6 / 29  # of Lab: up to its cube the cube root is replaced by a straight line
_MEAN, _SPREAD = (50.0, 0.0, 0.0), (25.0, 20.0, 20.0)  # of L, a and b, about those of photographs


def lab(images: Tensor) -> Tensor:
    """sRGB to CIE 1976 Lab of the white D65, (B, 3, H, W) in 0..1 to (B, 3, H, W): L in 0..100, a and b about -110..100.

    Sums and not a matrix product, which autocast would compute in bfloat16. Powers are taken of what has a finite gradient.
    """
    straight = images <= 0.04045
    linear = torch.where(straight, images / 12.92, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear.unbind(dim=1)
    x, y, z = (_root(row[0] * red + row[1] * green + row[2] * blue) for row in _TO_XYZ)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _root(value: Tensor) -> Tensor:
    knee = _LINEAR**3
    return torch.where(value > knee, value.clamp(min=knee) ** (1 / 3), value / (3 * _LINEAR**2) + 4 / 29)


def normalised(colours: Tensor) -> Tensor:
    """Lab (B, 3, h, w) by fixed means and spreads, the same for every collection."""
    mean, spread = (colours.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _SPREAD))
    return (colours - mean) / spread


def halve(network: nn.Module) -> None:
    """Make every convolution one of two groups, with fresh weights. The first half of its channels then depends on the first half
    of the channels before it and the second half on the second; as nothing else in a residual network mixes channels, it becomes
    two networks of half the width. The convolution that saw three channels sees four, two for each half."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(module, name, _of_two_groups(child))


def _of_two_groups(conv: nn.Conv2d) -> nn.Conv2d:
    inplanes = 4 if conv.in_channels == 3 else conv.in_channels
    kernel, stride, padding = (tuple(map(int, each)) for each in (conv.kernel_size, conv.stride, conv.padding))
    halved = nn.Conv2d(inplanes, conv.out_channels, kernel, stride, padding, groups=2, bias=False)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(halved.weight, mode="fan_out", nonlinearity="relu")
    return halved
