"""Random crops, colour jitter, greyscale and flips, batched on the training device.

Every image has parameters of its own. The distributions are torchvision's (``RandomResizedCrop``, ``ColorJitter``,
``RandomGrayscale``, ``RandomHorizontalFlip``); the resampling is bilinear with antialiasing.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.machine.ranks import Ranks

_CONTRAST, _SATURATION, _HUE = 1, 2, 3  # positions in ColorJitter's parameters; brightness is 0
_CROP_TRIES = 10  # torchvision's; then the central crop
_RATIO = (3 / 4, 4 / 3)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Augmentation:
    """How each of B images is changed; drawn on the CPU, so that a run does not depend on the device's random numbers."""

    boxes: Tensor  # (B, 4) left, top, width, height of the crop as fractions of the image's width and height
    flips: Tensor  # bool (B,)
    orders: Tensor  # int64 (B, 4): which colour adjustment comes when
    amounts: Tensor  # (B, 4): brightness, contrast and saturation factors, hue shift
    greys: Tensor  # bool (B,)

    @classmethod
    def draw(cls, sizes: Tensor, config: TrainConfig, rng: torch.Generator) -> "Augmentation":
        """Parameters for images of the given true (width, height), float32 (B, 2), from one generator."""
        batch = len(sizes)
        boxes = draw_crops(sizes, config.crop_scale, rng)
        flips = torch.rand(batch, generator=rng) < (0.5 if config.flip else 0.0)
        orders, amounts = draw_jitter(batch, config.colour_jitter, rng)
        greys = torch.rand(batch, generator=rng) < config.greyscale
        return cls(boxes, flips, orders, amounts, greys)

    def part(self, ranks: Ranks) -> "Augmentation":
        """Those of this rank's part of the batch."""
        return Augmentation(*(ranks.part(getattr(self, field.name)) for field in fields(self)))

    def then(self, other: "Augmentation") -> "Augmentation":
        """These and, after them, others."""
        return Augmentation(*(torch.cat([getattr(self, each.name), getattr(other, each.name)]) for each in fields(self)))

    def colour(self, images: Tensor) -> Tensor:
        """Colour jitter and greyscale of crops, float32 (B, 3, S, S) in 0..1, which are overwritten."""
        images = colour_jitter(images, self.orders, self.amounts.to(images.device))
        grey = self.greys.to(images.device).view(-1, 1, 1, 1)
        return torch.where(grey, _grey(images).expand_as(images), images)


def draw_crops(sizes: Tensor, scale: tuple[float, float], rng: torch.Generator) -> Tensor:
    """Crop boxes as torchvision's ``RandomResizedCrop`` draws them, but not rounded to pixels.

    Args:
        sizes: (B, 2) width and height in pixels.
        scale: range of the crop's area over the image's.
        rng: CPU generator.

    Returns:
        float32 (B, 4): left, top, width, height as fractions of the image's width and height.
    """
    batch = len(sizes)
    u = torch.rand(5, batch, _CROP_TRIES, generator=rng)
    width, height = sizes[:, :1].float(), sizes[:, 1:].float()
    area = width * height * (scale[0] + u[0] * (scale[1] - scale[0]))
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + u[1] * (high - low))
    w, h = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    fits = (w <= width) & (h <= height)
    first = torch.argmax(fits.int(), dim=1, keepdim=True)
    w, h = w.gather(1, first), h.gather(1, first)
    left, top = u[2].gather(1, first) * (width - w), u[3].gather(1, first) * (height - h)
    # No try fitted: the largest central crop whose aspect ratio is within bounds.
    fallback = ~fits.any(dim=1, keepdim=True)
    central_w, central_h = torch.minimum(width, height * _RATIO[1]), torch.minimum(height, width / _RATIO[0])
    w, h = torch.where(fallback, central_w, w), torch.where(fallback, central_h, h)
    left = torch.where(fallback, (width - w) / 2, left)
    top = torch.where(fallback, (height - h) / 2, top)
    return torch.cat([left / width, top / height, w / width, h / height], dim=1)


def crop_and_resize(pixels: Tensor, boxes: Tensor, flips: Tensor, side: int) -> Tensor:
    """Resample a box of each image to ``side`` squared by two small matrix products, one for each axis.

    Args:
        pixels: uint8 (B, 3, P, P).
        boxes: (B, 4) left, top, width, height as fractions.
        flips: bool (B,), mirror left and right.
        side: S.

    Returns:
        float32 (B, 3, S, S) in 0..1.
    """
    source = pixels.shape[-1]
    across = _resampling_matrix(boxes[:, 0], boxes[:, 2], source, side)  # (B, S, P)
    across = torch.where(flips.view(-1, 1, 1), across.flip(1), across)
    down = _resampling_matrix(boxes[:, 1], boxes[:, 3], source, side)  # (B, S, P)
    images = pixels.float().mul_(1 / 255)
    rows = torch.einsum("bsp,bcpq->bcsq", down, images)
    return torch.einsum("bcsq,btq->bcst", rows, across)


def _resampling_matrix(start: Tensor, extent: Tensor, source: int, side: int) -> Tensor:
    """Rows of bilinear weights, widened where the crop is larger than the result, as Pillow's antialiasing does."""
    step = extent * source / side  # source pixels for each result pixel
    grid = torch.arange(side, device=start.device, dtype=torch.float32) + 0.5
    centre = (start * source)[:, None] + grid * step[:, None]  # (B, S)
    position = torch.arange(source, device=start.device, dtype=torch.float32) + 0.5
    support = step.clamp(min=1.0)[:, None, None]
    weights = (1 - (position - centre[:, :, None]).abs() / support).clamp_(min=0)  # (B, S, P)
    # A crop ends at its own edge: pixels wholly outside it have no weight.
    low = (start * source)[:, None, None]
    high = low + (extent * source)[:, None, None]
    edge = (extent * source * 0.25).clamp(max=1e-4)[:, None, None]
    inside = (position + 0.5 > low + edge) & (position - 0.5 < high - edge)
    weights = weights * inside
    return weights / weights.sum(dim=2, keepdim=True)


def draw_jitter(batch: int, strength: tuple[float, float, float, float], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Orders and amounts of colour adjustments as torchvision's ``ColorJitter`` draws them.

    Args:
        batch: B.
        strength: a factor is uniform in [max(0, 1 - s), 1 + s], a hue shift in [-s, s] of the circle.
        rng: CPU generator.

    Returns:
        int64 (B, 4), a permutation of the adjustments for each image, -1 for one of no strength; float32 (B, 4).
    """
    orders = torch.rand(batch, 4, generator=rng).argsort(dim=1)
    u = torch.rand(batch, 4, generator=rng)
    low = torch.tensor([max(0.0, 1 - s) for s in strength[:3]] + [-strength[3]])
    high = torch.tensor([1 + s for s in strength[:3]] + [strength[3]])
    idle = torch.tensor([s == 0 for s in strength])
    return orders.masked_fill(idle[orders], -1), low + u * (high - low)


def colour_jitter(images: Tensor, orders: Tensor, amounts: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue in an order of its own for every image.

    Args:
        images: float32 (B, 3, S, S) in 0..1; overwritten.
        orders: int64 (B, 4) on the CPU: which adjustment comes when, -1 for none.
        amounts: float32 (B, 4) on the images' device.

    Returns:
        float32 (B, 3, S, S) in 0..1.
    """
    factors = amounts.clone()
    factors[:, _HUE] = 1.0
    for turn in range(4):
        which = orders[:, turn].to(images.device)
        # Brightness, contrast and saturation all move an image away from a base of its own by a factor: from black, from
        # its mean grey, from its grey version. A factor of 1 leaves the others as they are.
        factor = factors.gather(1, which.clamp(min=0)[:, None]).masked_fill(which[:, None] < 0, 1.0).view(-1, 1, 1, 1)
        grey = _grey(images)
        base = grey * (which == _SATURATION).view(-1, 1, 1, 1)
        base += (grey.mean(dim=(2, 3)) * (which == _CONTRAST).view(-1, 1)).view(-1, 1, 1, 1)
        images = torch.lerp(base, images, factor).clamp_(0, 1)
        turned = torch.nonzero(orders[:, turn] == _HUE).flatten().to(images.device)
        images[turned] = _hue(images[turned], amounts[turned, _HUE].view(-1, 1, 1, 1))
    return images


def _grey(images: Tensor) -> Tensor:
    red, green, blue = torch.split(images, 1, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate hue by ``shift`` of the circle in HSV (Smith 1978)."""
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp(min=1e-12).reciprocal_()
    hue = torch.where(value == green, (blue - red).mul_(scale).add_(2), (red - green).mul_(scale).add_(4))
    hue = torch.where(value == red, (green - blue).mul_(scale), hue).add_(6 * shift.view(-1, 1, 1))  # in sixths of the circle
    result = torch.empty_like(images)
    for channel, offset in enumerate((3.0, 1.0, -1.0)):
        distance = hue + offset  # from the hue that lacks this channel most
        distance.sub_((distance / 6).round_(), alpha=6).abs_()
        lacking = distance.neg_().add_(2).clamp_(0, 1)
        torch.addcmul(value, lacking, chroma, value=-1, out=result[:, channel])
    return result
