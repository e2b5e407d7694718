"""Augmentation against torchvision's transforms: exact where the parameters are given, in distribution where drawn."""

import itertools

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from trainer.config import TrainConfig
from trainer.data import augment as ours
from trainer.data.decoded import DecodedImages
from trainer.resolve import resolve


def images(count: int = 6, side: int = 20) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def augmented(pixels: torch.Tensor, config: TrainConfig, seed: int) -> torch.Tensor:
    store = DecodedImages(pixels, torch.full((len(pixels), 2), float(pixels.shape[-1])))
    drawn = ours.Augmentation.draw(store.sizes, config, torch.Generator().manual_seed(seed))
    return next(store.augmented([(torch.arange(len(pixels)), drawn)], config.image_size or 0, torch.device("cpu")))


@pytest.mark.parametrize(
    ("adjustment", "reference", "amount"),
    [
        (0, tv.adjust_brightness, 1.3),
        (1, tv.adjust_contrast, 0.7),
        (2, tv.adjust_saturation, 1.4),
        (3, tv.adjust_hue, 0.3),
        (3, tv.adjust_hue, -0.4),
    ],
)
def test_each_colour_adjustment_is_torchvisions(adjustment: int, reference, amount: float) -> None:  # type: ignore[no-untyped-def]
    x = images()
    orders = torch.full((len(x), 4), -1)
    orders[:, 2] = adjustment
    mine = ours.colour_jitter(x.clone(), orders, torch.full((len(x), 4), amount))
    assert torch.allclose(mine, reference(x, amount), atol=2e-3)


def test_adjustments_come_in_the_order_drawn_for_each_image() -> None:
    x = images(24)
    orders = torch.tensor(list(itertools.permutations(range(4))))
    amounts = torch.tensor([1.3, 0.7, 1.4, 0.2]).expand(24, 4)
    mine = ours.colour_jitter(x.clone(), orders, amounts)
    adjust = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    for image, order, result in zip(x, orders.tolist(), mine, strict=True):
        expected = image
        for which in order:
            expected = adjust[which](expected, float(amounts[0, which]))
        assert torch.allclose(result, expected, atol=5e-3)


def test_grey_is_torchvisions() -> None:
    assert torch.allclose(ours._grey(images()), tv.rgb_to_grayscale(images()), atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 20, 20), (3, 5, 11, 9), (0, 4, 16, 16)])
@pytest.mark.parametrize("side", [8, 20, 32])
def test_crop_and_resize_is_torchvisions(box: tuple[int, int, int, int], side: int) -> None:
    left, top, width, height = box
    x = (images() * 255).to(torch.uint8)
    boxes = torch.tensor([[left / 20, top / 20, width / 20, height / 20]]).expand(len(x), 4)
    mine = ours.crop_and_resize(x, boxes, torch.zeros(len(x), dtype=torch.bool), side)
    theirs = tv.resized_crop(x.float() / 255, top, left, height, width, [side, side], antialias=True)
    assert torch.allclose(mine, theirs, atol=1e-3)


def test_flips_mirror_only_the_images_chosen() -> None:
    x = (images(2) * 255).to(torch.uint8)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, 4)
    result = ours.crop_and_resize(x, whole, torch.tensor([False, True]), 20)
    assert torch.allclose(result[0], x[0].float() / 255, atol=1e-5)
    assert torch.allclose(result[1], x[1].flip(-1).float() / 255, atol=1e-5)


@pytest.mark.parametrize(("width", "height"), [(100, 100), (300, 100), (100, 1000)])
def test_crops_are_drawn_as_torchvision_draws_them(width: int, height: int) -> None:
    draws, scale = 3000, (0.2, 1.0)
    sizes = torch.tensor([[float(width), float(height)]]).expand(draws, 2)
    boxes = ours.draw_crops(sizes, scale, torch.Generator().manual_seed(0))
    assert bool((boxes[:, :2] >= -1e-6).all())
    assert bool((boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all())
    transform = v2.RandomResizedCrop(8, scale)
    torch.manual_seed(0)
    drawn = [transform.make_params([torch.zeros(3, height, width)]) for _ in range(draws)]
    theirs = torch.tensor([[p["left"] / width, p["top"] / height, p["width"] / width, p["height"] / height] for p in drawn])
    assert torch.allclose(boxes.mean(0), theirs.mean(0), atol=0.015)
    assert torch.allclose(boxes.std(0), theirs.std(0), atol=0.015)


def test_jitter_has_torchvisions_distribution() -> None:
    x = images(1, side=6).expand(4000, 3, 6, 6)
    mine = ours.colour_jitter(x.clone(), *ours.draw_jitter(4000, (0.4, 0.4, 0.4, 0.4), torch.Generator().manual_seed(0)))
    transform = v2.ColorJitter(0.4, 0.4, 0.4, 0.4)
    torch.manual_seed(0)
    theirs = torch.stack([transform(image) for image in x[:4000]])
    assert torch.allclose(mine.mean(0), theirs.mean(0), atol=0.02)
    assert torch.allclose(mine.std(0), theirs.std(0), atol=0.02)


def test_probabilities_of_grey_and_flip() -> None:
    config = resolve(TrainConfig.make({"greyscale": 0.25, "colour_jitter": [0, 0, 0, 0], "crop_scale": [1, 1]}), 4000, 16)
    ramp = torch.arange(16, dtype=torch.uint8).mul(15).expand(4000, 3, 16, 16).clone()
    ramp[:, 0] //= 2
    result = augmented(ramp, config, 0)
    grey = (result[:, 0] == result[:, 1]).flatten(1).all(1).float().mean()
    flipped = (result[:, 1, :, 0] > result[:, 1, :, -1]).float().mean()
    assert float(grey) == pytest.approx(0.25, abs=0.03)
    assert float(flipped) == pytest.approx(0.5, abs=0.03)


def test_every_image_has_parameters_of_its_own_and_the_generator_decides_them() -> None:
    config = resolve(TrainConfig.make({}), 16, 16)
    x = (images(1, 16) * 255).to(torch.uint8).expand(16, 3, 16, 16)
    first = augmented(x, config, 1)
    again = augmented(x, config, 1)
    assert torch.equal(first, again)
    assert len({image.numpy().tobytes() for image in first}) == 16


def test_a_picture_of_extreme_shape_does_no_harm() -> None:
    boxes = torch.tensor([[0.3, 0.0, 1e-5, 1.0]])
    result = ours.crop_and_resize(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8), boxes, torch.tensor([False]), 16)
    assert torch.isfinite(result).all()
